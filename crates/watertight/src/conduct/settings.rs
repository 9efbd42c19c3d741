//! What each kind of misbehaviour weighs, and what a score leads to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Misbehaviour;
use crate::bounds::{SettingError, in_order, millis, within, within_ms};

/// The settings of [`Conduct`](super::Conduct). Scores and weights are points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConductSettings {
    pub(crate) enabled: bool,
    #[serde(rename = "half_life_ms", with = "millis")]
    pub(crate) half_life: Duration,
    pub(crate) warn: f64,
    pub(crate) disconnect: f64,
    pub(crate) quarantine: f64,
    pub(crate) weights: Weights,
}

/// Points for each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Weights {
    malformed: f64,
    unknown_event: f64,
    failed_extraction: f64,
    handler_error: f64,
    slow_consumer: f64,
    heartbeat: f64,
    flood: f64,
    fault: f64,
}

impl Default for ConductSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            half_life: Duration::from_secs(30),
            warn: 10.0,
            disconnect: 20.0,
            quarantine: 40.0,
            weights: Weights::default(),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            // No client library sends one: broken on the way, or somebody probing. Two warn.
            malformed: 5.0,
            // A client of another version. Ten at once warn.
            unknown_event: 1.0,
            // The event is known and its data is not what it was made for: rarer by accident.
            failed_extraction: 2.0,
            // Often the player's doing and no fault of the client: a room that is full.
            handler_error: 0.5,
            // Its network is bad, or it does not read on purpose. It costs memory here.
            slow_consumer: 2.0,
            // A network that died, a laptop that slept: seven in a row warn, and it takes them ten minutes to halve.
            // Counts once for each session, in the next one of the same named client.
            heartbeat: 1.5,
            // Each message beyond its rate, whose burst has made all allowance there is.
            flood: 1.0,
            // Only counts where the policy leaves the socket in place, and that has a limit of its own: ten at once
            // disconnect whatever that is.
            fault: 2.0,
        }
    }
}

impl ConductSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether scores are kept at all. Default: yes.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// In what time a score falls by half: 1 s to 1 day, default 30 s. What a client does once each second
    /// comes to 43 times its weight in the end: 1.44 times the half-life in seconds. Missed heartbeats, which
    /// cannot come as often, take 20 times as long.
    #[must_use]
    pub fn half_life(mut self, half_life: Duration) -> Self {
        self.half_life = half_life;
        self
    }

    /// From what score on the client is warned: 1 to 1,000,000, default 10.
    #[must_use]
    pub fn warn(mut self, points: f64) -> Self {
        self.warn = points;
        self
    }

    /// From what score on it is disconnected: at least [`warn`](Self::warn), default 20.
    #[must_use]
    pub fn disconnect(mut self, points: f64) -> Self {
        self.disconnect = points;
        self
    }

    /// From what score on it is quarantined: at least [`disconnect`](Self::disconnect), at most 1,000,000,
    /// default 40.
    #[must_use]
    pub fn quarantine(mut self, points: f64) -> Self {
        self.quarantine = points;
        self
    }

    /// What one misbehaviour of this kind weighs: 0 to 1,000. One that weighs nothing is not counted.
    #[must_use]
    pub fn weight(mut self, kind: Misbehaviour, points: f64) -> Self {
        *self.weights.of_mut(kind) = points;
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self { enabled: _, half_life, warn, disconnect, quarantine, weights } = self;
        within_ms("half_life_ms", *half_life, Duration::from_secs(1), Duration::from_hours(24))?;
        for (name, points) in [("warn", *warn), ("disconnect", *disconnect), ("quarantine", *quarantine)] {
            within(name, points, 1.0, 1_000_000.0)?;
        }
        in_order(("warn", *warn), ("disconnect", *disconnect))?;
        in_order(("disconnect", *disconnect), ("quarantine", *quarantine))?;
        for kind in Misbehaviour::ALL {
            within(kind.setting(), weights.of(kind), 0.0, 1_000.0)?;
        }
        Ok(())
    }

    pub(crate) fn points(&self, kind: Misbehaviour) -> f64 {
        self.weights.of(kind)
    }
}

impl Weights {
    fn of(&self, kind: Misbehaviour) -> f64 {
        match kind {
            Misbehaviour::Malformed => self.malformed,
            Misbehaviour::UnknownEvent => self.unknown_event,
            Misbehaviour::FailedExtraction => self.failed_extraction,
            Misbehaviour::HandlerError => self.handler_error,
            Misbehaviour::SlowConsumer => self.slow_consumer,
            Misbehaviour::Heartbeat => self.heartbeat,
            Misbehaviour::Flood => self.flood,
            Misbehaviour::Fault => self.fault,
        }
    }

    fn of_mut(&mut self, kind: Misbehaviour) -> &mut f64 {
        match kind {
            Misbehaviour::Malformed => &mut self.malformed,
            Misbehaviour::UnknownEvent => &mut self.unknown_event,
            Misbehaviour::FailedExtraction => &mut self.failed_extraction,
            Misbehaviour::HandlerError => &mut self.handler_error,
            Misbehaviour::SlowConsumer => &mut self.slow_consumer,
            Misbehaviour::Heartbeat => &mut self.heartbeat,
            Misbehaviour::Flood => &mut self.flood,
            Misbehaviour::Fault => &mut self.fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_checked_and_named() {
        let sound = ConductSettings::new;
        assert_eq!(sound().check(), Ok(()));
        for (settings, name) in [
            (sound().half_life(Duration::ZERO), "`half_life_ms` is 0:"),
            (sound().warn(0.0), "`warn` is 0:"),
            (sound().disconnect(f64::NAN), "`disconnect` is NaN:"),
            (sound().quarantine(f64::INFINITY), "`quarantine` is inf:"),
            (sound().warn(21.0), "`warn` is 21: it must not be greater than `disconnect`"),
            (sound().disconnect(41.0), "`disconnect` is 41: it must not be greater than `quarantine`"),
        ] {
            let error = settings.check().expect_err("out of bounds").to_string();
            assert!(error.starts_with(name), "{name} {error}");
        }
    }

    #[test]
    fn every_weight_is_its_own_and_named() {
        for kind in Misbehaviour::ALL {
            let settings = ConductSettings::new().weight(kind, -1.0);
            let error = settings.check().expect_err("out of bounds").to_string();
            assert!(error.starts_with(&format!("`{}` is -1:", kind.setting())), "{error}");
            let key = kind.setting().strip_prefix("weights.").expect("its place in the settings");
            let text = format!(r#"{{"weights":{{"{key}":-1.0}}}}"#);
            assert_eq!(serde_json::from_str::<ConductSettings>(&text).expect("settings"), settings);
            let changed = Misbehaviour::ALL.into_iter().filter(|kind| settings.points(*kind) < 0.0);
            assert_eq!(changed.collect::<Vec<_>>(), [kind]);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(serde_json::from_str::<ConductSettings>(r#"{"half_life":1}"#).is_err());
        assert!(serde_json::from_str::<ConductSettings>(r#"{"weights":{"x":1}}"#).is_err());
    }

    /// The two limits are about the same sockets: see the weight of a fault.
    #[test]
    fn the_policys_own_limit_of_faults_comes_first() {
        let settings = ConductSettings::new();
        let forgiven = f64::from(crate::StandardPolicy::DEFAULT_FAIL_EVENT_LIMIT);
        let weight = settings.points(Misbehaviour::Fault);
        assert!(weight * (forgiven + 1.0) < settings.disconnect);
    }
}
