//! The search for orphans: compartments that one registry knows and another does not.
//!
//! Ours has them as long as the engine keeps the request that opened their session; a namespace has their sockets until it
//! is told of their end. When the connection is gone, or the engine has dropped the session, and nobody has told the
//! namespace, its client would be sent to for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deaf::SELDOM;
use crate::activity::Activity;
use crate::compartment::{Compartment, Orphaned};
use crate::fault::{Attribution, Fault, Report};
use crate::registry::Registry;

/// How long an orphan may be one: whoever is to end it may be about to. With the time between two looks that bounds the
/// time until it is found to one and a half seconds.
const PATIENCE: Duration = Duration::from_millis(900);

#[derive(Default)]
pub(super) struct Orphans {
    suspects: HashMap<u64, Suspect>,
    looks: u32,
}

#[derive(Clone, Copy)]
struct Suspect {
    since: Instant,
    /// A policy of the application's may leave it as it is: it is not told again.
    told: bool,
}

impl Orphans {
    /// Looks at every compartment when it is time to. Answers the faults of those that are orphans.
    pub(super) fn look(&mut self, now: Instant, recovering: bool) -> Vec<Report> {
        self.looks = self.looks.wrapping_add(1);
        let is_pending = self.suspects.values().any(|suspect| !suspect.told);
        if !recovering && !is_pending && !self.looks.is_multiple_of(SELDOM) {
            return Vec::new();
        }
        let before = std::mem::take(&mut self.suspects);
        let mut found = Vec::new();
        for compartment in Registry::global().all().into_iter().filter(|one| one.is_live()) {
            let Some(orphaned) = compartment.orphaned() else { continue };
            let key = compartment.key();
            let mut suspect = before.get(&key).copied().unwrap_or(Suspect { since: now, told: false });
            if !suspect.told && now - suspect.since >= PATIENCE {
                suspect.told = true;
                found.push(report(compartment, orphaned));
            }
            self.suspects.insert(key, suspect);
        }
        found
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
