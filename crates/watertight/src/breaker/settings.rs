//! When an activity is switched off, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounds::{SettingError, in_order, millis, within, within_ms};

/// The settings of the [`Breakers`](super::Breakers). Durations are serialised in milliseconds, under names
/// that end in `_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerSettings {
    pub(crate) enabled: bool,
    pub(crate) identities: usize,
    #[serde(rename = "window_ms", with = "millis")]
    pub(crate) window: Duration,
    #[serde(rename = "open_for_ms", with = "millis")]
    pub(crate) open_for: Duration,
    #[serde(rename = "cap_ms", with = "millis")]
    pub(crate) cap: Duration,
    pub(crate) capacity: usize,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            // One client that crashes everything it touches is quarantine's work, and two may be one person
            // with two devices.
            identities: 3,
            window: Duration::from_mins(1),
            open_for: Duration::from_secs(30),
            cap: Duration::from_mins(10),
            // More events than a server has handlers. Fallback handlers see names that clients make up.
            capacity: 4_096,
        }
    }
}

impl BreakerSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anything is switched off at all. Default: yes.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// How many different identities must have crashed in an activity within the [`window`](Self::window):
    /// 2 to 1,000, default 3.
    #[must_use]
    pub fn identities(mut self, identities: usize) -> Self {
        self.identities = identities;
        self
    }

    /// For how long a fault counts: 1 s to 1 day, default 60 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// For how long the activity is off before one client may try it: 1 ms to the [`cap`](Self::cap), default
    /// 30 s. Each failed try doubles it.
    #[must_use]
    pub fn open_for(mut self, open_for: Duration) -> Self {
        self.open_for = open_for;
        self
    }

    /// The longest time between two tries: at most 1 day, default 10 min.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How many activities are remembered: 1 to 1,000,000, default 4,096. Beyond it those are forgotten first
    /// that are on, then those whose time off ends soonest.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self { enabled: _, identities, window, open_for, cap, capacity } = self;
        let (ms, second, day) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_hours(24));
        within("identities", *identities, 2, MAX_IDENTITIES)?;
        within_ms("window_ms", *window, second, day)?;
        within_ms("open_for_ms", *open_for, ms, day)?;
        within_ms("cap_ms", *cap, ms, day)?;
        in_order(("open_for_ms", open_for.as_millis()), ("cap_ms", cap.as_millis()))?;
        within("capacity", *capacity, 1, 1_000_000)
    }
}

/// How many identities one record may keep.
pub(crate) const MAX_IDENTITIES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_checked_and_named() {
        let sound = BreakerSettings::new;
        assert_eq!(sound().check(), Ok(()));
        let zero = Duration::ZERO;
        for (settings, name) in [
            (sound().identities(1), "`identities` is 1:"),
            (sound().window(zero), "`window_ms` is 0:"),
            (sound().open_for(zero), "`open_for_ms` is 0:"),
            (sound().cap(Duration::MAX), "`cap_ms` is "),
            (sound().cap(Duration::from_secs(29)), "`open_for_ms` is 30000: it must not be greater"),
            (sound().capacity(0), "`capacity` is 0:"),
        ] {
            let error = settings.check().expect_err("out of bounds").to_string();
            assert!(error.starts_with(name), "{name} {error}");
        }
    }

    #[test]
    fn durations_are_written_in_milliseconds() {
        let settings: BreakerSettings = serde_json::from_str(r#"{"open_for_ms":1000}"#).expect("settings");
        assert_eq!(settings, BreakerSettings::new().open_for(Duration::from_secs(1)));
        let back = serde_json::to_string(&settings).expect("serialises");
        assert_eq!(serde_json::from_str::<BreakerSettings>(&back).expect("reads back"), settings);
        assert!(serde_json::from_str::<BreakerSettings>(r#"{"open_for":1}"#).is_err(), "unknown");
    }
}
