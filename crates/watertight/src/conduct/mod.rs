//! Conduct: one score per compartment, to which every misbehaviour adds and which time halves.

mod memory;
mod misbehaviour;
mod rates;
mod score;
mod settings;

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

pub(crate) use memory::Memory;
pub use misbehaviour::Misbehaviour;
pub use rates::{Limit, Limited, RateSettings, Rates};
use score::Score;
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
        let Some(points) = self.counts(kind) else { return Standing::Fine };
        self.score_at(now).lock().add(&self.settings, kind, points, now)
    }

    /// Adds a misbehaviour of a client that is not there any more: nothing comes of it now.
    pub(crate) fn note(&self, kind: Misbehaviour, now: Instant) {
        if let Some(points) = self.counts(kind) {
            self.score_at(now).lock().note(&self.settings, kind, points, now);
        }
    }

    /// Whether the client is to be warned of what it has come with: once.
    pub(crate) fn warns(&self, now: Instant) -> bool {
        self.score.get().is_some_and(|score| score.lock().warns(&self.settings, now))
    }

    /// Goes on with what an earlier connection has left, if that is worse.
    fn begin_with(&self, earlier: Score, now: Instant) {
        let mut score = self.score_at(now).lock();
        if earlier.judged_at(&self.settings, now) > score.judged_at(&self.settings, now) {
            *score = earlier;
        }
    }

    fn score(&self) -> Option<Score> {
        self.score.get().map(|score| score.lock().clone())
    }

    fn settings(&self) -> &ConductSettings {
        &self.settings
    }

    fn score_at(&self, now: Instant) -> &Mutex<Score> {
        self.score.get_or_init(|| Box::new(Mutex::new(Score::new(now))))
    }

    /// What a misbehaviour weighs, if that is anything.
    fn counts(&self, kind: Misbehaviour) -> Option<f64> {
        let points = self.settings.points(kind);
        // Also false for one that is no number.
        (self.settings.enabled && points > 0.0).then_some(points)
    }

    /// Whether nothing was ever counted.
    pub(crate) fn is_blameless(&self) -> bool {
        self.score.get().is_none()
    }

    /// What it has done most often.
    pub(crate) fn main_reason(&self) -> Option<Misbehaviour> {
        self.counted().first().map(|(kind, _)| *kind)
    }

    fn counted(&self) -> Vec<(Misbehaviour, u32)> {
        self.score.get().map_or_else(Vec::new, |score| score.lock().counted())
    }

    /// Its score now, as it is held against the thresholds: missed heartbeats come to a warning at most.
    #[must_use]
    pub fn points(&self, now: Instant) -> f64 {
        self.score.get().map_or(0.0, |score| score.lock().judged_at(&self.settings, now))
    }

    /// What was counted since it last had a score of nothing (less than half a point), the most frequent
    /// first:
    /// `unknown events 12, handler errors 3`. Empty when there was nothing.
    #[must_use]
    pub fn reasons(&self) -> String {
        let counted = self.counted();
        let mut text = String::new();
        for (kind, count) in counted {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{kind} {count}");
        }
        text
    }
}

impl fmt::Debug for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduct").field("reasons", &self.reasons()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::score::{AT_ONCE, reached};
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
        assert_eq!(conduct.reasons(), "missed heartbeats 1");
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
            let mut done: Vec<(Duration, f64, f64)> = Vec::new();
            for (kind, pause) in strikes {
                at += Duration::from_millis(pause);
                let kind = Misbehaviour::ALL[kind];
                let answer = conduct.strike(kind, start + at);
                let half_life = if kind == Misbehaviour::Heartbeat { 600.0 } else { 30.0 };
                done.push((at, settings.points(kind), half_life));
                let left = |(then, points, half_life): &(Duration, f64, f64)| {
                    points * 0.5f64.powf((at - *then).as_secs_f64() / half_life)
                };
                let (beats, others): (Vec<_>, Vec<_>) =
                    done.iter().copied().partition(|(_, _, half_life)| *half_life > 30.0);
                // Of heartbeats no more than a warning's.
                let beats: f64 = beats.iter().map(left).sum();
                let expected = others.iter().map(left).sum::<f64>() + beats.min(10.0);
                prop_assert!((conduct.points(start + at) - expected).abs() < 1e-6);
                prop_assert!(answer <= reached(&settings, expected + 2.0 * AT_ONCE));
            }
        }
    }
}
