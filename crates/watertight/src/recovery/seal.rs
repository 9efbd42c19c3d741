//! The act of sealing one compartment.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, timeout, timeout_at};

use crate::compartment::Compartment;
use crate::guard::quietly;
use crate::registry::Registry;
use crate::seal::{CloseMode, Notice, Seal, SealMode, Told};
use crate::settings::Settings;

/// How long the transport's own code gets to end it before it is cut.
const POLITE: Duration = Duration::from_millis(100);
/// How often a part that does not go is pushed again.
const PUSH_EVERY: Duration = Duration::from_millis(20);
/// How long a transport that cannot tell whether it has flushed gets to do so.
const BLIND_FLUSH: Duration = Duration::from_millis(20);
/// On top of the clean-up bound of disconnect handlers, until a seal is overdue.
const SPARE: Duration = Duration::from_millis(400);

/// One seal under way. The compartment's state is `Sealing` and this is its only sealer.
pub(super) struct Sealing {
    pub(super) compartment: Arc<Compartment>,
    pub(super) notice: Notice,
    pub(super) mode: SealMode,
    /// The transport's own tasks are dead: nothing polite will come of them.
    pub(super) transport_is_dead: bool,
}

impl Sealing {
    /// Tells the client, at once.
    pub(super) fn tell(&self) -> Telling {
        let parts = self.compartment.parts();
        self.each(&parts, |part| part.watch(&self.notice));
        let mut copies = 0;
        self.each(&parts, |part| copies += usize::from(part.tell(&self.notice) == Told::Sent));
        if self.mode == SealMode::Expel {
            self.each(&parts, |part| part.leave(SealMode::Expel));
        }
        Telling { copies }
    }

    /// Does the rest. Answers how many parts are left, which is 0 unless something is badly stuck.
    pub(super) async fn finish(&self, telling: Telling, settings: &Settings) -> usize {
        if telling.copies > 0 {
            self.flush(telling.copies, settings.grace).await;
        }
        if self.mode == SealMode::Expel {
            // Its goodbye is behind the notice, and who reads that hangs up by itself.
            let _ = timeout(POLITE, self.gone()).await;
        }
        let bound = Instant::now() + POLITE + settings.disconnect_cleanup + SPARE;
        if !self.transport_is_dead {
            self.close(CloseMode::Polite);
            if timeout(POLITE, self.gone()).await.is_ok() {
                return self.end();
            }
        }
        loop {
            self.push();
            let next = (Instant::now() + PUSH_EVERY).min(bound);
            if timeout_at(next, self.gone()).await.is_ok() || Instant::now() >= bound {
                return self.end();
            }
        }
    }

    /// Goes on with a seal that is overdue, once every `interval`, until nothing is left.
    pub(super) async fn insist(&self, interval: Duration) {
        while timeout(interval, self.gone()).await.is_err() {
            self.push();
        }
        self.end();
    }

    /// Waits until all copies of the notice have left the process, at most for `grace`.
    async fn flush(&self, copies: usize, grace: Duration) {
        let answers = || -> SmallVec<[bool; 4]> {
            let parts = self.compartment.parts();
            parts
                .iter()
                .filter_map(|part| quietly(|| part.delivered(&self.notice, copies)).flatten())
                .collect()
        };
        // A fast client is told and gone before anybody looks, and nobody is left to answer then.
        if self.compartment.is_empty() {
            return;
        }
        if answers().is_empty() {
            tokio::time::sleep(BLIND_FLUSH.min(grace)).await;
            return;
        }
        let delivered = self.compartment.progressed(|| answers().iter().all(|delivered| *delivered));
        // A client that does not read is not waited for any longer than this.
        let _ = timeout(grace, delivered).await;
    }

    async fn gone(&self) {
        self.compartment.progressed(|| self.compartment.is_empty()).await;
    }

    fn close(&self, mode: CloseMode) {
        self.each(&self.compartment.parts(), |part| part.close(mode));
    }

    /// Cuts the transport, and leaves whatever can be left now.
    fn push(&self) {
        self.close(CloseMode::Forced);
        self.each(&self.compartment.parts(), |part| part.leave(self.mode));
    }

    /// Ends the seal if nothing is left. Answers how many parts are.
    fn end(&self) -> usize {
        let left = self.compartment.left();
        if left == 0 {
            self.compartment.end_seal();
            Registry::global().forget(&self.compartment);
        }
        left
    }

    /// Calls every part in the context of the server's runtime. A part that panics does not keep the
    /// others from being closed.
    fn each(&self, parts: &[Arc<dyn Seal>], mut act: impl FnMut(&dyn Seal)) {
        self.compartment.on_runtime(|| {
            for part in parts {
                quietly(|| act(&**part));
            }
        });
    }
}

pub(super) struct Telling {
    /// How many parts have sent it.
    copies: usize,
}
