//! The search for orphans: compartments that one registry knows and another does not.
//!
//! Ours has them as long as the engine keeps the request that opened their session; a namespace has their sockets until it
//! is told of their end. When the connection is gone, or the engine has dropped the session, and nobody has told the
//! namespace, its client would be sent to for ever.

use std::sync::Arc;
use std::time::Instant;

use super::rounds::PATIENCE;
use super::suspects::{Suspect, Suspects};
use crate::activity::Activity;
use crate::compartment::{Compartment, Orphaned};
use crate::fault::{Attribution, Fault, Report};
use crate::seal::Seal;

#[derive(Default)]
pub(super) struct Orphans(Suspects<()>);

impl Orphans {
    pub(super) fn begin(&mut self, everybody: bool) {
        self.0.begin(everybody);
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = u64> {
        self.0.keys()
    }

    /// Answers the fault of one that is an orphan.
    pub(super) fn look(
        &mut self,
        compartment: &Arc<Compartment>,
        carriers: &[Arc<dyn Seal>],
        now: Instant,
    ) -> Option<Report> {
        let orphaned = compartment.orphaned(carriers)?;
        let key = compartment.key();
        let mut suspect = self.0.before(key).unwrap_or_else(|| Suspect::new(now, ()));
        let is_found = !suspect.told && now - suspect.since >= PATIENCE;
        suspect.told |= is_found;
        self.0.find(key, suspect);
        is_found.then(|| report(Arc::clone(compartment), orphaned))
    }
}

fn report(compartment: Arc<Compartment>, orphaned: Orphaned) -> Report {
    let message = match orphaned {
        Orphaned::Connection => "its connection is gone, and nobody has ended it",
        Orphaned::Session => "the engine does not know its session any more, and nobody has ended it",
    };
    let activity = Some(Activity::transport());
    Report::new(Fault::Orphan, Attribution::Transport, Some(compartment), activity, message)
}
