//! One activity's breaker: the rules, without the lock.

use std::time::{Duration, Instant};

use super::settings::{BreakerSettings, MAX_IDENTITIES};
use crate::identity::Identity;
use crate::ledger::Rank;

/// Whether an activity is on, and what speaks against it.
#[derive(Debug)]
pub(crate) struct Track {
    /// Who crashed in it lately, each once with the latest time. Empty while it is not on.
    crashed: Vec<(Identity, Instant)>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// On.
    Closed { last: Instant },
    /// Off until then, and from then on open to one try at a time.
    Open { until: Instant, length: Duration, probe: Option<Try> },
}

/// The try under way.
#[derive(Debug, Clone, Copy)]
struct Try {
    number: u64,
    begun: Instant,
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    Pass,
    Probe,
    Refused(Duration),
}

/// What those are told to wait who come while one client tries. Most handlers answer within it.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Track {
    pub(crate) fn new(now: Instant) -> Self {
        Self { crashed: Vec::new(), phase: Phase::Closed { last: now } }
    }

    /// Counts a fault: for how long the activity is off from now on and how many crashed, if this one was the
    /// last straw.
    pub(crate) fn fault(
        &mut self,
        settings: &BreakerSettings,
        identity: &Identity,
        now: Instant,
    ) -> Option<(Duration, usize)> {
        match self.phase {
            Phase::Closed { .. } => {
                self.phase = Phase::Closed { last: now };
                self.crashed.retain(|(who, at)| {
                    who != identity && now.saturating_duration_since(*at) <= settings.window
                });
                self.crashed.push((identity.clone(), now));
                let identities = self.crashed.len();
                if identities < settings.identities.clamp(2, MAX_IDENTITIES) {
                    return None;
                }
                self.open(settings.open_for.min(settings.cap), now);
                Some((settings.open_for.min(settings.cap), identities))
            }
            // The try, whose guard may not have spoken yet.
            Phase::Open { probe: Some(_), .. } => self.reopen(settings, now).map(|length| (length, 1)),
            // Handlers that had begun before it was switched off say nothing new.
            Phase::Open { .. } => None,
        }
    }

    /// Whether someone may start it. `number` marks the try, if it becomes one.
    pub(crate) fn admit(&mut self, number: u64, now: Instant) -> Entrance {
        match &mut self.phase {
            Phase::Closed { .. } => Entrance::Pass,
            Phase::Open { until, .. } if now < *until => {
                Entrance::Refused(until.saturating_duration_since(now))
            }
            // One that takes for ever decides nothing: after as long as it was off another may try.
            Phase::Open { probe: Some(probe), length, .. }
                if now.saturating_duration_since(probe.begun) < *length =>
            {
                Entrance::Refused(TRY_AGAIN.min(*length))
            }
            Phase::Open { probe, .. } => {
                *probe = Some(Try { number, begun: now });
                Entrance::Probe
            }
        }
    }

    /// Whether the try with this number is the one that counts.
    pub(crate) fn tries(&self, number: u64) -> bool {
        matches!(self.phase, Phase::Open { probe: Some(probe), .. } if probe.number == number)
    }

    /// The try has ended without a word: another may try.
    pub(crate) fn release(&mut self) {
        if let Phase::Open { probe, .. } = &mut self.phase {
            *probe = None;
        }
    }

    /// Whether it has been open to a try for so long that nobody seems to want one.
    pub(crate) fn is_forgotten(&self, settings: &BreakerSettings, now: Instant) -> bool {
        matches!(self.phase, Phase::Open { until, probe: None, .. } if now.saturating_duration_since(until) > settings.cap)
    }

    /// Off again, for twice as long.
    pub(crate) fn reopen(&mut self, settings: &BreakerSettings, now: Instant) -> Option<Duration> {
        let Phase::Open { length, .. } = self.phase else { return None };
        let length = length.saturating_mul(2).min(settings.cap);
        self.open(length, now);
        Some(length)
    }

    fn open(&mut self, length: Duration, now: Instant) {
        self.open_for_rest(length, length, now);
    }

    /// Off for what is left of that time.
    pub(crate) fn open_for_rest(&mut self, length: Duration, rest: Duration, now: Instant) {
        self.crashed = Vec::new();
        let until = now.checked_add(rest).unwrap_or(now);
        self.phase = Phase::Open { until, length, probe: None };
    }

    /// How much it is worth keeping. What is off stays in force until a try succeeds.
    pub(crate) fn rank(&self) -> Rank {
        match self.phase {
            Phase::Closed { last } => Rank::Idle(last),
            Phase::Open { until, .. } => Rank::Active(until),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// How long it is still off, for how long it was switched off, and whether someone tries it; `None` while
    /// it is on.
    pub(crate) fn off(&self, now: Instant) -> Option<(Duration, Duration, bool)> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until, length, probe } => {
                Some((until.saturating_duration_since(now), length, probe.is_some()))
            }
        }
    }
}
