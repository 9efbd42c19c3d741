//! The search for deaf connections: bytes are waiting, and whoever should read them does not.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rounds::PATIENCE;
use super::suspects::{Suspect, Suspects};
use crate::activity::Activity;
use crate::board::Board;
use crate::compartment::Compartment;
use crate::fault::{Attribution, Fault, Origin, Report};
use crate::hook::call_clients_code;
use crate::runtimes::Lull;
use crate::seal::{Seal, Unread};

/// Connections whose bytes were waiting at the last look.
///
/// Each has a lull, which has been when nothing waits for its turn any more that did then: a reader that does is not deaf,
/// on a server that is busy without a pause.
#[derive(Default)]
pub(super) struct Deaf(Suspects<Option<Lull>>);

impl Deaf {
    pub(super) fn begin(&mut self, everybody: bool) {
        self.0.begin(everybody);
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = u64> {
        self.0.keys()
    }

    /// Answers the fault of a connection that is deaf, or whose own code panics when it is read.
    pub(super) fn look(
        &mut self,
        compartment: &Arc<Compartment>,
        carriers: &[Arc<dyn Seal>],
        now: Instant,
    ) -> Option<Report> {
        // The engine reads at all times. What a plain WebSocket's handler reads, and when, is its own affair.
        compartment.session()?;
        let key = compartment.key();
        let before = self.0.before(key);
        let transports = carriers.iter().filter(|part| part.is_transport());
        let asked = || transports.map(|part| part.unread()).max();
        let unread = match call_clients_code(asked) {
            Ok(unread) => unread?,
            Err(origin) => {
                let mut suspect = before.unwrap_or_else(|| suspect(compartment, now));
                let is_known = mem::replace(&mut suspect.told, true);
                self.0.find(key, suspect);
                return (!is_known).then(|| report(compartment, Fault::Panic, *origin));
            }
        };
        // Who is being worked for is read when that is done, or is a stall.
        if unread == Unread::Nothing || Board::global().works_for(key) {
            return None;
        }
        // Who has read what was found before is not deaf, however often something more is found.
        let before = before.filter(|_| unread == Unread::Waits);
        let mut suspect = before.unwrap_or_else(|| suspect(compartment, now));
        let waited = now - suspect.since;
        let is_found =
            !suspect.told && waited >= PATIENCE && suspect.more.as_ref().is_some_and(Lull::has_been);
        suspect.told |= is_found;
        self.0.find(key, suspect);
        is_found.then(|| report(compartment, Fault::Deaf, not_read_for(waited)))
    }
}

fn suspect(compartment: &Compartment, now: Instant) -> Suspect<Option<Lull>> {
    Suspect::new(now, compartment.lull())
}

fn not_read_for(time: Duration) -> Origin {
    Origin::now(&format!("nobody has read what its client sent for {} ms", time.as_millis()))
}

fn report(compartment: &Arc<Compartment>, fault: Fault, origin: Origin) -> Report {
    let compartment = Some(Arc::clone(compartment));
    let report = Report::new(fault, Attribution::Transport, compartment, Some(Activity::transport()), "");
    Report { origin, ..report }
}
