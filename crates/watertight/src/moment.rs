//! One moment on two clocks.

use std::time::{Duration, Instant, SystemTime};

use crate::board::Board;

/// A moment as both clocks have it: the steady one, which nothing sets back and by which waits are
/// measured, and the calendar's, which people read and which a restart survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the steady clock.
    pub instant: Instant,
    /// By the calendar.
    pub time: SystemTime,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    /// The moment `after` this one. What lies beyond the end of either clock is this moment; the longest
    /// duration in the settings is far from it.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        let later = |moment: Self| {
            Some(Self { instant: moment.instant.checked_add(after)?, time: moment.time.checked_add(after)? })
        };
        later(self).unwrap_or(self)
    }
}

/// Milliseconds since the board was made, as the watchdog wrote them last: every 10 ms, if it is not held up. 0 until something is
/// installed. For what is asked too often for a clock; it takes a load from memory.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn coarse_ms() -> u64 {
    Board::global().clock()
}

/// A time as milliseconds since 1970, UTC.
pub(crate) mod unix_ms {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let since = Duration::from_millis(u64::deserialize(deserializer)?);
        let time = SystemTime::UNIX_EPOCH.checked_add(since);
        time.ok_or_else(|| serde::de::Error::custom("the time is beyond the end of the calendar"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_on_together() {
        let now = Moment::now();
        let later = now.after(Duration::from_secs(3));
        assert_eq!(later.instant - now.instant, Duration::from_secs(3));
        assert_eq!(later.time, now.time + Duration::from_secs(3));
        assert_eq!(now.after(Duration::MAX), now);
    }
}
