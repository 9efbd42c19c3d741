//! The search for clients that do not read what they are sent.

use std::sync::Arc;
use std::time::Duration;

use crate::compartment::Compartment;
use crate::conduct::Misbehaviour;
use crate::guard::quietly;
use crate::lagging::Lagging;
use crate::registry::Registry;
use crate::seal::Seal;

/// A client that takes nothing for so long is slow. The system tells only when about a third of a connection's send
/// buffer has been taken; of 512 KiB, as guarded listeners set them, a client of 35 KB/s takes that in five seconds.
const NOT_TAKEN: Duration = Duration::from_secs(5);
/// The same where the session's own send buffer is full as well, so that what is sent now is lost: one of 85 KB/s takes
/// a third in two seconds. A client that reads is never absent for so long, however much it is sent at once.
const FULL: Duration = Duration::from_secs(2);

/// Counts every client against itself that has taken nothing of what it is sent for a while.
pub(super) fn note_slow_consumers() {
    if !Lagging::any() {
        return;
    }
    Compartment::each_live(Registry::global().all(), |compartment, carriers| {
        if is_slow(compartment, carriers) {
            compartment.misbehaves(Misbehaviour::SlowConsumer);
        }
    });
}

fn is_slow(compartment: &Compartment, carriers: &[Arc<dyn Seal>]) -> bool {
    let any = |parts: &[Arc<dyn Seal>], asked: &dyn Fn(&dyn Seal) -> bool| {
        parts.iter().any(|part| quietly(|| asked(&**part)).unwrap_or(false))
    };
    let reaches = |time: Option<Duration>, limit| time.is_some_and(|time| time >= limit);
    any(carriers, &|part| reaches(part.not_taken(), NOT_TAKEN))
        || (any(carriers, &|part| reaches(part.absent(), FULL))
            && any(&compartment.parts(), &|part| part.is_full()))
}
