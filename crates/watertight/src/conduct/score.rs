//! The score of one client: points that add up and that time halves.

use std::time::{Duration, Instant};

use super::{ConductSettings, Misbehaviour, Standing};

/// What a threshold may be missed by. Ten strikes of one point within half a second count as at once,
/// although the first have lost 1 % of theirs by then.
pub(super) const AT_ONCE: f64 = 0.1;
/// Below so many points there is nothing left to give reasons for.
const FORGOTTEN: f64 = 0.5;
/// How many times as long the points of a missed heartbeat last. Other misbehaviour comes many times a second; to miss a
/// heartbeat takes 20 s (`ping_timeout`), and with the others' half-life one would be forgotten before the next.
const LASTING: f64 = 20.0;

/// What a client has done wrong.
#[derive(Debug, Clone)]
pub(crate) struct Score {
    points: f64,
    /// Those of heartbeats, which last longer.
    lasting: f64,
    /// When there were so many.
    at: Instant,
    /// The highest standing that was answered and has not been left behind since.
    told: Standing,
    counts: [u32; Misbehaviour::ALL.len()],
}

impl Score {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            points: 0.0,
            lasting: 0.0,
            at: now,
            told: Standing::Fine,
            counts: [0; Misbehaviour::ALL.len()],
        }
    }

    /// The points that thresholds are held against, when there were so many. Heartbeats come to a warning at most: nobody
    /// can tell a network that is bad for an hour from a client that does not care, and whoever is in one would otherwise
    /// be disconnected for the next trifle.
    fn judged(&self, settings: &ConductSettings) -> f64 {
        self.judged_at(settings, self.at)
    }

    /// The same, later.
    pub(super) fn judged_at(&self, settings: &ConductSettings, now: Instant) -> f64 {
        let (points, lasting) = self.decayed(settings, now);
        points + lasting.min(settings.warn)
    }

    fn decayed(&self, settings: &ConductSettings, now: Instant) -> (f64, f64) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let half_lives = passed / half_life(settings);
        (self.points * (-half_lives).exp2(), self.lasting * (-half_lives / LASTING).exp2())
    }

    /// Adds a misbehaviour, and answers nothing: whoever did it is not there any more.
    pub(super) fn note(&mut self, settings: &ConductSettings, kind: Misbehaviour, points: f64, now: Instant) {
        self.settle(settings, now);
        match kind {
            Misbehaviour::Heartbeat => self.lasting += points,
            _ => self.points += points,
        }
        let counted = Misbehaviour::ALL.iter().position(|other| *other == kind);
        if let Some(count) = counted.and_then(|index| self.counts.get_mut(index)) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds a misbehaviour, and answers what that led to.
    pub(super) fn add(
        &mut self,
        settings: &ConductSettings,
        kind: Misbehaviour,
        points: f64,
        now: Instant,
    ) -> Standing {
        self.note(settings, kind, points, now);
        let reached = reached(settings, self.judged(settings) + AT_ONCE);
        if reached <= self.told {
            return Standing::Fine;
        }
        self.told = reached;
        reached
    }

    /// Whether whoever has come with it is to be warned of it: once.
    pub(super) fn warns(&mut self, settings: &ConductSettings, now: Instant) -> bool {
        self.settle(settings, now);
        let warns = self.told < Standing::Warn
            && reached(settings, self.judged(settings) + AT_ONCE) >= Standing::Warn;
        if warns {
            self.told = Standing::Warn;
        }
        warns
    }

    /// As the next connection of the same client begins with it: a further misbehaviour has to meet the thresholds
    /// above the warning again.
    pub(super) fn carried(mut self) -> Self {
        self.told = self.told.min(Standing::Warn);
        self
    }

    /// Forgets what time has taken.
    fn settle(&mut self, settings: &ConductSettings, now: Instant) {
        (self.points, self.lasting) = self.decayed(settings, now);
        // Threads may come here in another order than they read the clock in.
        self.at = self.at.max(now);
        // The highest standing that is not left behind yet is that whose half is still reached.
        self.told = self.told.min(reached(settings, self.judged(settings) * 2.0));
        if self.points + self.lasting < FORGOTTEN {
            self.counts = [0; Misbehaviour::ALL.len()];
        }
    }

    /// When nothing of it will be left.
    pub(super) fn forgotten_at(&self, settings: &ConductSettings) -> Instant {
        let half_life = half_life(settings);
        let lasts = |points: f64, half_life: f64| (points / FORGOTTEN).max(1.0).log2() * half_life;
        let seconds = lasts(self.points, half_life).max(lasts(self.lasting, half_life * LASTING));
        let lasts = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.at.checked_add(lasts).unwrap_or(self.at)
    }

    /// Whether nothing of it is left.
    pub(super) fn is_forgotten(&self, settings: &ConductSettings, now: Instant) -> bool {
        let (points, lasting) = self.decayed(settings, now);
        points + lasting < FORGOTTEN
    }

    /// What was counted, the most frequent first.
    pub(super) fn counted(&self) -> Vec<(Misbehaviour, u32)> {
        let mut counted: Vec<_> =
            Misbehaviour::ALL.into_iter().zip(self.counts).filter(|(_, n)| *n > 0).collect();
        counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counted
    }
}

/// In seconds. Settings that nobody checked are safe.
fn half_life(settings: &ConductSettings) -> f64 {
    settings.half_life.as_secs_f64().max(1.0)
}

/// The standing that so many points lead to.
pub(super) fn reached(settings: &ConductSettings, points: f64) -> Standing {
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
