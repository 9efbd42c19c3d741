//! The search for orphans: compartments that one registry knows and another does not.
//!
//! Ours has them as long as the engine keeps the request that opened their session; a namespace has their sockets until it
//! is told of their end. When the connection is gone, or the engine has dropped the session, and nobody has told the
//! namespace, its client would be sent to for ever.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::rounds::PATIENCE;
use crate::activity::Activity;
use crate::compartment::{Compartment, Orphaned};
use crate::fault::{Attribution, Fault, Report};
use crate::seal::Seal;

#[derive(Default)]
pub(super) struct Orphans {
    suspects: HashMap<u64, Suspect>,
    before: HashMap<u64, Suspect>,
}

#[derive(Clone, Copy)]
struct Suspect {
    since: Instant,
    /// A policy of the application's may leave it as it is: it is not told again.
    told: bool,
}

impl Orphans {
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

    /// Answers the fault of one that is an orphan.
    pub(super) fn look(
        &mut self,
        compartment: &Arc<Compartment>,
        parts: &[Arc<dyn Seal>],
        now: Instant,
    ) -> Option<Report> {
        let orphaned = compartment.orphaned(parts)?;
        let key = compartment.key();
        let mut suspect = self.before.get(&key).copied().unwrap_or(Suspect { since: now, told: false });
        let is_found = !suspect.told && now - suspect.since >= PATIENCE;
        suspect.told |= is_found;
        self.suspects.insert(key, suspect);
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
