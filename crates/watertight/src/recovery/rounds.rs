//! Looks at compartments, for those who search for what nobody tells of: at all of them now and then, and soon again at those
//! where something was found.
//!
//! With tens of thousands of connections a look at all of them is most of what this thread does, so there is one for all
//! who search.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deaf::Deaf;
use super::orphans::Orphans;
use crate::compartment::Compartment;
use crate::fault::Report;
use crate::registry::Registry;

/// Time between two looks at suspects.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// Every how many looks there is one at all compartments, in recovery mode and without it. In recovery mode what is wrong is
/// found at most 1.2 s after it began, and is a fault at the third look after that: 1.8 seconds in all.
const OFTEN: u32 = 6;
const SELDOM: u32 = 25;
/// For how long something must be wrong: whoever is to mend it may be about to. Three looks, which may come a little early.
pub(super) const PATIENCE: Duration = Duration::from_millis(550);

#[derive(Default)]
pub(super) struct Rounds {
    deaf: Deaf,
    orphans: Orphans,
    looks: u32,
}

impl Rounds {
    /// Looks at whom it is time to look at. Answers the faults that are found.
    pub(super) fn look(&mut self, now: Instant, recovering: bool) -> Vec<Report> {
        self.looks = self.looks.wrapping_add(1);
        let everybody = self.looks.is_multiple_of(if recovering { OFTEN } else { SELDOM });
        let compartments = if everybody { Registry::global().all() } else { self.suspects() };
        self.deaf.begin(everybody);
        self.orphans.begin(everybody);
        let mut found = Vec::new();
        Compartment::each_live(compartments, |compartment, carriers| {
            found.extend(self.deaf.look(compartment, carriers, now));
            found.extend(self.orphans.look(compartment, carriers, now));
        });
        found
    }

    fn suspects(&self) -> Vec<Arc<Compartment>> {
        let mut keys: Vec<u64> = self.deaf.suspects().chain(self.orphans.suspects()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().filter_map(|key| Registry::global().by_key(key)).collect()
    }
}
