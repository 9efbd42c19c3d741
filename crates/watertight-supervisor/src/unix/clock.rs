//! Whether the machine was asleep.

use std::time::Duration;

/// What is shorter disturbs nobody.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONG: Duration = Duration::from_secs(1);

/// Compares a clock that goes on while the machine sleeps with one that does not. Where there are no two such clocks it never
/// was asleep; the parent then notices only that it has looked late itself.
#[derive(Debug)]
pub(super) struct Sleep {
    slept: Duration,
}

impl Sleep {
    pub(super) fn new() -> Self {
        Self { slept: slept() }
    }

    /// Whether it was, for more than a second, since it was asked last.
    pub(super) fn was_long(&mut self) -> bool {
        self.was_longer_than_before(slept())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn was_longer_than_before(&mut self, slept: Duration) -> bool {
        let before = std::mem::replace(&mut self.slept, slept);
        slept.saturating_sub(before) > LONG
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn was_longer_than_before(&mut self, slept: Duration) -> bool {
        self.slept = slept;
        false
    }
}

/// How long the machine has slept since it was started.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn slept() -> Duration {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    let since_start = |clock| {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        let (seconds, nanos) = (u64::try_from(tv_sec), u32::try_from(tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    };
    since_start(ClockId::Boottime).saturating_sub(since_start(ClockId::Monotonic))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn slept() -> Duration {
    Duration::ZERO
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_noticed_once() {
        let mut sleep = Sleep::new();
        assert!(!sleep.was_long(), "this machine is awake");
        let now = sleep.slept;
        assert!(sleep.was_longer_than_before(now + Duration::from_secs(2)));
        assert!(!sleep.was_longer_than_before(now + Duration::from_secs(2)));
    }
}
