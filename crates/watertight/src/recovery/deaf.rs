//! The search for deaf connections: bytes are waiting, and whoever should read them does not.

use std::collections::HashMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rounds::PATIENCE;
use crate::activity::Activity;
use crate::board::Board;
use crate::compartment::Compartment;
use crate::fault::{Attribution, Fault, Report};
use crate::guard::{Caught, text_of};
use crate::runtimes::Lull;
use crate::seal::{Seal, Unread};

/// Connections whose bytes were waiting at the last look.
#[derive(Default)]
pub(super) struct Deaf {
    suspects: HashMap<u64, Suspect>,
    before: HashMap<u64, Suspect>,
}

struct Suspect {
    since: Instant,
    /// Has been when nothing waits for its turn any more that did then: a reader that does is not deaf, on a server that
    /// is busy without a pause.
    lull: Option<Lull>,
    /// A policy of the application's may leave it as it is: it is not told again.
    told: bool,
}

impl Deaf {
    /// Those who are looked at next, who may be `everybody`. Who is not is none of them any more.
    pub(super) fn begin(&mut self, everybody: bool) {
        self.before = mem::take(&mut self.suspects);
        if !everybody {
            self.suspects.extend(self.before.extract_if(|_, suspect| suspect.told));
        }
    }

    /// Whom to look at soon. Nothing is to be said any more of those who were told.
    pub(super) fn suspects(&self) -> impl Iterator<Item = u64> {
        self.suspects.iter().filter(|(_, suspect)| !suspect.told).map(|(&key, _)| key)
    }

    /// Answers the fault of a connection that is deaf, or whose own code panics when it is read: of such a panic there is the
    /// text only, because the hook keeps out of this thread.
    pub(super) fn look(
        &mut self,
        compartment: &Arc<Compartment>,
        parts: &[Arc<dyn Seal>],
        now: Instant,
    ) -> Option<Report> {
        // The engine reads at all times. What a plain WebSocket's handler reads, and when, is its own affair.
        compartment.session()?;
        let key = compartment.key();
        let before = self.before.remove(&key);
        let transports = parts.iter().filter(|part| part.is_transport());
        let asked = || transports.map(|part| part.unread()).max();
        let unread = match catch_unwind(AssertUnwindSafe(asked)) {
            Ok(unread) => unread?,
            Err(payload) => {
                let text = text_of(&*payload).to_owned();
                drop(Caught::from(payload));
                let mut suspect = before.unwrap_or_else(|| Suspect::new(compartment, now));
                let is_known = mem::replace(&mut suspect.told, true);
                self.suspects.insert(key, suspect);
                return (!is_known).then(|| report(compartment, Fault::Panic, text));
            }
        };
        // Who is being worked for is read when that is done, or is a stall.
        if unread == Unread::Nothing || Board::global().works_for(key) {
            return None;
        }
        // Who has read what was found before is not deaf, however often something more is found.
        let before = before.filter(|_| unread == Unread::Waits);
        let mut suspect = before.unwrap_or_else(|| Suspect::new(compartment, now));
        let waited = now - suspect.since;
        let is_found =
            !suspect.told && waited >= PATIENCE && suspect.lull.as_ref().is_some_and(Lull::has_been);
        suspect.told |= is_found;
        self.suspects.insert(key, suspect);
        is_found.then(|| report(compartment, Fault::Deaf, not_read_for(waited)))
    }
}

impl Suspect {
    fn new(compartment: &Compartment, now: Instant) -> Self {
        Self { since: now, lull: compartment.lull(), told: false }
    }
}

fn not_read_for(time: Duration) -> String {
    format!("nobody has read what its client sent for {} ms", time.as_millis())
}

fn report(compartment: &Arc<Compartment>, fault: Fault, message: String) -> Report {
    let compartment = Some(Arc::clone(compartment));
    Report::new(fault, Attribution::Transport, compartment, Some(Activity::transport()), message)
}
