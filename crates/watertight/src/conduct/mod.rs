//! Conduct: one score per compartment, to which every misbehaviour adds and which time halves.

mod misbehaviour;
mod rates;
mod settings;

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

pub use misbehaviour::Misbehaviour;
pub use rates::{Limit, Limited, RateSettings, Rates};
pub use settings::ConductSettings;

/// What a score has just led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Nothing new.
    Fine,
    /// The client is to be told that it is about to be disconnected.
    Warn,
    /// It is to be disconnected.
    Disconnect,
    /// It is to be disconnected and its identity quarantined.
    Quarantine,
}

/// How one compartment behaves. Nothing is allocated for those that always behave.
pub struct Conduct {
    settings: Arc<ConductSettings>,
    score: OnceLock<Box<Mutex<Score>>>,
}

/// Every connection has one.
const _: () = assert!(size_of::<Conduct>() <= 64);

struct Score {
    points: f64,
    /// When there were so many.
    at: Instant,
    /// The highest standing that was answered and has not been left behind since.
    told: Standing,
    counts: [u32; Misbehaviour::ALL.len()],
}

/// What a threshold may be missed by. Ten strikes of one point within half a second count as at once,
/// although the first have lost 1 % of theirs by then.
const AT_ONCE: f64 = 0.1;
/// Below so many points there is nothing left to give reasons for.
const FORGOTTEN: f64 = 0.5;

impl Conduct {
    /// A blameless one. Settings should have passed [`ConductSettings::check`]; ones that did not are still
    /// safe.
    #[must_use]
    pub fn new(settings: Arc<ConductSettings>) -> Self {
        Self { settings, score: OnceLock::new() }
    }

    /// Adds a misbehaviour. Answers what that led to, each crossing of a threshold once: the same again only
    /// after the score has fallen below half of that threshold. Of two crossed at once the higher counts.
    pub fn strike(&self, kind: Misbehaviour, now: Instant) -> Standing {
        let points = self.settings.points(kind);
        // Also false for one that is no number.
        if !(self.settings.enabled && points > 0.0) {
            return Standing::Fine;
        }
        let score = self.score.get_or_init(|| Box::new(Mutex::new(Score::new(now))));
        score.lock().add(&self.settings, kind, points, now)
    }

    /// Its score now.
    #[must_use]
    pub fn points(&self, now: Instant) -> f64 {
        self.score.get().map_or(0.0, |score| score.lock().decayed(&self.settings, now))
    }

    /// What was counted since it last had a score of nothing (less than half a point), the most frequent
    /// first:
    /// `unknown events 12, handler errors 3`. Empty when there was nothing.
    #[must_use]
    pub fn reasons(&self) -> String {
        let Some(score) = self.score.get() else { return String::new() };
        let counts = score.lock().counts;
        let mut counted: Vec<_> = Misbehaviour::ALL.into_iter().zip(counts).filter(|(_, n)| *n > 0).collect();
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut text = String::new();
        for (kind, count) in counted {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{kind} {count}");
        }
        text
    }
}

impl Score {
    fn new(now: Instant) -> Self {
        Self { points: 0.0, at: now, told: Standing::Fine, counts: [0; Misbehaviour::ALL.len()] }
    }

    fn decayed(&self, settings: &ConductSettings, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.points * (-passed / settings.half_life.as_secs_f64().max(1.0)).exp2()
    }

    fn add(&mut self, settings: &ConductSettings, kind: Misbehaviour, points: f64, now: Instant) -> Standing {
        let before = self.decayed(settings, now);
        self.told = self.told.min(left_standing(settings, before));
        if before < FORGOTTEN {
            self.counts = [0; Misbehaviour::ALL.len()];
        }
        self.points = before + points;
        // Threads may come here in another order than they read the clock in.
        self.at = self.at.max(now);
        let counted = Misbehaviour::ALL.iter().position(|other| *other == kind);
        if let Some(count) = counted.and_then(|index| self.counts.get_mut(index)) {
            *count = count.saturating_add(1);
        }
        let reached = reached(settings, self.points + AT_ONCE);
        if reached <= self.told {
            return Standing::Fine;
        }
        self.told = reached;
        reached
    }
}

/// The standing that so many points lead to.
fn reached(settings: &ConductSettings, points: f64) -> Standing {
    if points >= settings.quarantine {
        Standing::Quarantine
    } else if points >= settings.disconnect {
        Standing::Disconnect
    } else if points >= settings.warn {
        Standing::Warn
    } else {
        Standing::Fine
    }
}

/// The highest standing that is not left behind yet: that whose half is still reached.
fn left_standing(settings: &ConductSettings, points: f64) -> Standing {
    reached(settings, points * 2.0)
}

impl fmt::Debug for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduct").field("reasons", &self.reasons()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn conduct() -> (Conduct, Instant) {
        (Conduct::new(Arc::default()), Instant::now())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn ten_unknown_events_at_once_warn_once() {
        let (conduct, now) = conduct();
        // "At once" as a client does it: within half a second.
        let strike = |number: u32| conduct.strike(Misbehaviour::UnknownEvent, now + number * seconds(1) / 20);
        for number in 0..9 {
            assert_eq!(strike(number), Standing::Fine);
        }
        assert_eq!(strike(9), Standing::Warn);
        for number in 10..20 {
            assert_eq!(strike(number), Standing::Fine, "it was told already");
        }
    }

    #[test]
    fn each_threshold_is_answered_when_it_is_crossed() {
        use Standing::{Disconnect, Fine, Quarantine, Warn};
        let (conduct, now) = conduct();
        let answers: Vec<_> = (0..9).map(|_| conduct.strike(Misbehaviour::Malformed, now)).collect();
        assert_eq!(answers, [Fine, Warn, Fine, Disconnect, Fine, Fine, Fine, Quarantine, Fine]);
    }

    #[test]
    fn of_two_crossed_at_once_the_higher_counts() {
        let settings = ConductSettings::new().weight(Misbehaviour::Flood, 25.0);
        let conduct = Conduct::new(Arc::new(settings));
        assert_eq!(conduct.strike(Misbehaviour::Flood, Instant::now()), Standing::Disconnect);
    }

    #[test]
    fn time_halves_the_score() {
        let (conduct, now) = conduct();
        for _ in 0..4 {
            conduct.strike(Misbehaviour::FailedExtraction, now);
        }
        let points = |after| (conduct.points(now + after) * 1000.0).round();
        assert_eq!([points(seconds(0)), points(seconds(30)), points(seconds(60))], [8000.0, 4000.0, 2000.0]);
        assert_eq!(conduct.points(now + seconds(1_000_000_000)), 0.0);
    }

    #[test]
    fn it_is_warned_again_only_after_half_of_it_is_forgotten() {
        let (conduct, now) = conduct();
        let strike = |after| conduct.strike(Misbehaviour::Malformed, now + after);
        assert_eq!([strike(seconds(0)), strike(seconds(0))], [Standing::Fine, Standing::Warn]);
        // 10 points become 5.1: not less than half.
        assert_eq!(strike(seconds(29)), Standing::Fine);
        // Of those 10.1 are left 4.7, and 9.7 with this one: the next crosses again.
        assert_eq!(strike(seconds(29 + 33)), Standing::Fine);
        assert_eq!(strike(seconds(29 + 33)), Standing::Warn);
    }

    /// A client that was told to go and is still there may be told again, the lower threshold before.
    #[test]
    fn what_is_left_behind_is_answered_anew_from_there() {
        let (conduct, now) = conduct();
        for _ in 0..4 {
            conduct.strike(Misbehaviour::Malformed, now);
        }
        // 20 points become 8: below half of disconnecting, not below half of a warning.
        let later = now + seconds(40);
        let answers: Vec<_> = (0..3).map(|_| conduct.strike(Misbehaviour::Malformed, later)).collect();
        assert_eq!(answers, [Standing::Fine, Standing::Fine, Standing::Disconnect]);
    }

    #[test]
    fn reasons_are_counted_and_forgotten() {
        let (conduct, now) = conduct();
        assert_eq!(conduct.reasons(), "");
        for _ in 0..3 {
            conduct.strike(Misbehaviour::HandlerError, now);
        }
        for _ in 0..12 {
            conduct.strike(Misbehaviour::UnknownEvent, now);
        }
        assert_eq!(conduct.reasons(), "unknown events 12, handler errors 3");
        conduct.strike(Misbehaviour::Heartbeat, now + seconds(600));
        assert_eq!(conduct.reasons(), "late heartbeats 1");
    }

    #[test]
    fn the_blameless_cost_nothing() {
        let settings = ConductSettings::new().weight(Misbehaviour::Heartbeat, 0.0);
        let off = settings.clone().enabled(false);
        let settings = Conduct::new(Arc::new(settings));
        assert_eq!(settings.strike(Misbehaviour::Heartbeat, Instant::now()), Standing::Fine);
        let off = Conduct::new(Arc::new(off));
        assert_eq!(off.strike(Misbehaviour::Fault, Instant::now()), Standing::Fine);
        assert!(settings.score.get().is_none() && off.score.get().is_none());
    }

    #[test]
    fn settings_that_nobody_checked_are_safe() {
        let settings = ConductSettings::new()
            .half_life(Duration::ZERO)
            .warn(f64::NAN)
            .weight(Misbehaviour::Flood, f64::NAN)
            .weight(Misbehaviour::Fault, f64::INFINITY);
        let conduct = Conduct::new(Arc::new(settings));
        let now = Instant::now();
        assert_eq!(conduct.strike(Misbehaviour::Flood, now), Standing::Fine);
        assert_eq!(conduct.strike(Misbehaviour::Fault, now), Standing::Quarantine);
        conduct.strike(Misbehaviour::Fault, now + seconds(1));
    }

    proptest! {
        /// Whatever a client does and when: the score is the sum of what is left of each strike, and every
        /// answer above
        /// `Fine` is of a threshold that it has reached.
        #[test]
        fn the_score_is_what_is_left_of_each(
            strikes in prop::collection::vec((0..8usize, 0..20_000u64), 1..60),
        ) {
            let settings = ConductSettings::new();
            let conduct = Conduct::new(Arc::new(settings.clone()));
            let (start, mut at) = (Instant::now(), Duration::ZERO);
            let mut done: Vec<(Duration, f64)> = Vec::new();
            for (kind, pause) in strikes {
                at += Duration::from_millis(pause);
                let kind = Misbehaviour::ALL[kind];
                let answer = conduct.strike(kind, start + at);
                done.push((at, settings.points(kind)));
                let half_lives = |then: Duration| (at - then).as_secs_f64() / 30.0;
                let left = |(then, points): &(Duration, f64)| points * 0.5f64.powf(half_lives(*then));
                let expected: f64 = done.iter().map(left).sum();
                prop_assert!((conduct.points(start + at) - expected).abs() < 1e-6);
                prop_assert!(answer <= reached(&settings, expected + 2.0 * AT_ONCE));
            }
        }
    }
}
