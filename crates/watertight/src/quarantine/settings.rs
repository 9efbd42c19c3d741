//! When an identity is quarantined, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::allow::AllowEntry;
use crate::bounds::{SettingError, in_order, millis, within, within_ms};

/// The settings of the [`Quarantine`](super::Quarantine). Durations are serialised in milliseconds, under
/// names that end in `_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QuarantineSettings {
    pub(crate) enabled: bool,
    pub(crate) strikes: u32,
    #[serde(rename = "window_ms", with = "millis")]
    pub(crate) window: Duration,
    #[serde(rename = "base_ms", with = "millis")]
    pub(crate) base: Duration,
    pub(crate) factor: u32,
    #[serde(rename = "cap_ms", with = "millis")]
    pub(crate) cap: Duration,
    pub(crate) jitter: f64,
    #[serde(rename = "forgive_ms", with = "millis")]
    pub(crate) forgive: Duration,
    pub(crate) capacity: usize,
    pub(crate) allow: Vec<AllowEntry>,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            // A fault may be bad luck. "Nothing after the second time" is the promise about poison pills.
            strikes: 2,
            window: Duration::from_mins(1),
            // A client that crashes on each connect is back within a second; ten cost it most of its effect
            // and cost a person whom bad luck struck twice little.
            base: Duration::from_secs(10),
            factor: 2,
            cap: Duration::from_hours(1),
            jitter: 0.1,
            forgive: Duration::from_mins(10),
            // More offenders than one process has connections.
            capacity: 65_536,
            allow: Vec::new(),
        }
    }
}

impl QuarantineSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anyone is quarantined at all. Default: yes.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// How many faults within the [`window`](Self::window) quarantine an identity: 1 to 100, default 2. An
    /// address, behind which there may be several people, is never quarantined for the first.
    #[must_use]
    pub fn strikes(mut self, strikes: u32) -> Self {
        self.strikes = strikes;
        self
    }

    /// For how long a fault counts: 1 s to 1 day, default 60 s.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How long the first quarantine lasts: 1 ms to the [`cap`](Self::cap), default 10 s.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// How many times longer each further quarantine lasts: 1 to 100, default 2.
    #[must_use]
    pub fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// The longest that a quarantine lasts, jitter included: at most 30 days, default 1 h. One that an
    /// operator adds may last that long whatever the cap.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// By what part of itself each quarantine is made longer or shorter at random, so that those who were
    /// refused together do not come back together: 0 to 0.5, default 0.1 (10 %).
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// How long an identity must be without a fault after its quarantine's end for its level to fall by
    /// one, and again for the next: 1 s to 30 days, default 10 min.
    #[must_use]
    pub fn forgive(mut self, forgive: Duration) -> Self {
        self.forgive = forgive;
        self
    }

    /// How many identities are remembered: 1 to 10,000,000, default 65,536. Beyond it those are forgotten
    /// first that are not quarantined, then those whose quarantine ends soonest.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Adds someone who is never quarantined: a named identity, an address or a network. At most 10,000.
    #[must_use]
    pub fn allow(mut self, entry: impl Into<AllowEntry>) -> Self {
        self.allow.push(entry.into());
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self { enabled: _, strikes, window, base, factor, cap, jitter, forgive, capacity, allow } = self;
        let (ms, second, day) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_hours(24));
        within("strikes", *strikes, 1, MAX_STRIKES)?;
        within_ms("window_ms", *window, second, day)?;
        within_ms("base_ms", *base, ms, MAX_DURATION)?;
        within("factor", *factor, 1, 100)?;
        within_ms("cap_ms", *cap, ms, MAX_DURATION)?;
        in_order(("base_ms", base.as_millis()), ("cap_ms", cap.as_millis()))?;
        within("jitter", *jitter, 0.0, MAX_JITTER)?;
        within_ms("forgive_ms", *forgive, second, MAX_DURATION)?;
        within("capacity", *capacity, 1, 10_000_000)?;
        within("allow", allow.len(), 0, 10_000)
    }

    /// The level from which on the duration is the cap's, or at which counting ends when it never gets there.
    pub(crate) fn top_level(&self) -> u32 {
        (1..MAX_LEVEL).find(|level| self.duration(*level) >= self.cap).unwrap_or(MAX_LEVEL)
    }

    /// How long a quarantine of `level` (the first has 1) lasts, without jitter.
    pub(crate) fn duration(&self, level: u32) -> Duration {
        let factor = self.factor.saturating_pow(level.saturating_sub(1));
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// [`duration`](Self::duration) with jitter. `lot` is drawn from 0 to 1.
    pub(crate) fn jittered(&self, level: u32, lot: f64) -> Duration {
        // Bounded here too: a setting that nobody checked must not panic.
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, MAX_JITTER) } else { 0.0 };
        self.duration(level).min(MAX_DURATION).mul_f64(1.0 + jitter * (2.0 * lot - 1.0)).min(self.cap)
    }
}

/// How many times of faults one record may keep.
pub(crate) const MAX_STRIKES: u32 = 100;
/// The longest quarantine, also for an operator. Whoever should never come back belongs on a list that is not
/// called quarantine.
pub(crate) const MAX_DURATION: Duration = Duration::from_hours(30 * 24);
const MAX_JITTER: f64 = 0.5;
/// With the least base and a factor of 2 the greatest cap is reached at level 33.
const MAX_LEVEL: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: &QuarantineSettings) -> String {
        settings.check().expect_err("out of bounds").to_string()
    }

    #[test]
    fn every_bound_is_checked_and_named() {
        let sound = QuarantineSettings::new;
        assert_eq!(sound().check(), Ok(()));
        let zero = Duration::ZERO;
        for (settings, name) in [
            (sound().strikes(0), "`strikes` is 0:"),
            (sound().window(zero), "`window_ms` is 0:"),
            (sound().base(zero), "`base_ms` is 0:"),
            (sound().factor(0), "`factor` is 0:"),
            (sound().cap(Duration::MAX), "`cap_ms` is "),
            (sound().cap(Duration::from_secs(9)), "`base_ms` is 10000: it must not be greater than `cap_ms`"),
            (sound().jitter(f64::NAN), "`jitter` is NaN:"),
            (sound().forgive(zero), "`forgive_ms` is 0:"),
            (sound().capacity(0), "`capacity` is 0:"),
        ] {
            assert!(refused(&settings).starts_with(name), "{name} {}", refused(&settings));
        }
        let mut crowded = sound();
        crowded.allow = vec![AllowEntry::from(crate::Identity::Named("user:1".to_owned())); 10_001];
        assert!(refused(&crowded).starts_with("`allow` is 10001:"));
    }

    #[test]
    fn durations_are_written_in_milliseconds() {
        let text = r#"{"window_ms":1000,"strikes":3,"allow":["user:42","10.0.0.0/8"]}"#;
        let settings: QuarantineSettings = serde_json::from_str(text).expect("settings");
        assert_eq!((settings.window, settings.strikes), (Duration::from_secs(1), 3));
        assert_eq!(settings.base, Duration::from_secs(10), "the default");
        let back = serde_json::to_string(&settings).expect("serialises");
        assert!(back.contains(r#""window_ms":1000"#) && back.contains(r#""forgive_ms":600000"#), "{back}");
        assert_eq!(serde_json::from_str::<QuarantineSettings>(&back).expect("reads back"), settings);
        assert!(serde_json::from_str::<QuarantineSettings>(r#"{"window":1000}"#).is_err(), "unknown");
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let settings = QuarantineSettings::new();
        let seconds: Vec<_> = (0..=11).map(|level| settings.duration(level).as_secs()).collect();
        assert_eq!(seconds, [10, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(settings.top_level(), 10);
        assert_eq!(settings.duration(u32::MAX), settings.cap);
        assert_eq!(QuarantineSettings::new().factor(1).top_level(), MAX_LEVEL);
    }

    #[test]
    fn jitter_stays_within_its_part_and_the_cap() {
        let settings = QuarantineSettings::new();
        let ms = |level, lot| settings.jittered(level, lot).as_millis();
        assert_eq!([ms(1, 0.0), ms(1, 0.5), ms(1, 1.0)], [9_000, 10_000, 11_000]);
        assert_eq!(ms(99, 1.0), 3_600_000);
        let unchecked =
            QuarantineSettings::new().jitter(f64::INFINITY).cap(Duration::MAX).base(Duration::MAX);
        assert_eq!(unchecked.jittered(9, 1.0), MAX_DURATION);
    }
}
