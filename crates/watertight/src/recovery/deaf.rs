//! The search for deaf connections: bytes are waiting, and whoever should read them does not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::compartment::Compartment;
use crate::fault::{Attribution, Fault, Report};
use crate::registry::Registry;
use crate::runtimes::Lull;

/// Time between two looks in recovery mode, and how long bytes have to wait: together they bound the time until a deaf
/// connection is found to one and a half seconds.
pub(super) const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(900);
/// Every how many looks there is one without recovery mode.
pub(super) const SELDOM: u32 = 10;

/// Connections whose bytes were waiting at the last look.
#[derive(Default)]
pub(super) struct Listening {
    suspects: HashMap<u64, Suspect>,
    looks: u32,
}

struct Suspect {
    since: Instant,
    /// Has been when nothing waits for its turn any more that did then: a reader that does is not deaf, on a server that
    /// is busy without a pause.
    lull: Option<Lull>,
}

impl Listening {
    /// Looks at every connection when it is time to. Answers the faults of those that are deaf.
    pub(super) fn look(&mut self, now: Instant, recovering: bool) -> Vec<Report> {
        self.looks = self.looks.wrapping_add(1);
        // Once there is a suspect, the others looks follow closely.
        if !recovering && self.suspects.is_empty() && !self.looks.is_multiple_of(SELDOM) {
            return Vec::new();
        }
        let mut suspects = HashMap::new();
        let mut deaf = Vec::new();
        for compartment in Registry::global().all() {
            // The engine reads at all times. What a plain WebSocket's handler reads, and when, is its own affair; and who
            // is being worked for is read when that is done, or is a stall.
            let must_read = compartment.is_live() && compartment.session().is_some();
            if !must_read || !compartment.is_unread() || Board::global().works_for(compartment.key()) {
                continue;
            }
            let key = compartment.key();
            let suspect = self.suspects.remove(&key).unwrap_or_else(|| Suspect::new(&compartment, now));
            if suspect.is_deaf(now) {
                deaf.push(report(compartment, now - suspect.since));
            } else {
                suspects.insert(key, suspect);
            }
        }
        self.suspects = suspects;
        deaf
    }
}

impl Suspect {
    fn new(compartment: &Compartment, now: Instant) -> Self {
        Self { since: now, lull: compartment.lull() }
    }

    fn is_deaf(&self, now: Instant) -> bool {
        now - self.since >= PATIENCE && self.lull.as_ref().is_some_and(Lull::has_been)
    }
}

fn report(compartment: Arc<Compartment>, waited: Duration) -> Report {
    let message = format!("nobody has read what its client sent for {} ms", waited.as_millis());
    let activity = crate::activity::Activity::transport();
    Report::new(Fault::Deaf, Attribution::Transport, Some(compartment), Some(activity), message)
}
