//! Breakers: activities that are switched off for everyone for a while, because different identities crashed
//! in them.
//!
//! Written here and not taken from a crate: failsafe, recloser, circuitbreaker-rs and tower-resilience count
//! failed calls or their rate. One client that crashes an event a hundred times must not switch it off for
//! the others, so what counts is how many different identities crashed, within a window; none of them can be
//! told who called. What would be left of them, three states and a timer, is [`track::Track`].

mod settings;
mod track;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

pub use settings::BreakerSettings;
use track::{Entrance, Track};

use crate::activity::{Activity, ActivityKind};
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::rare::RARE;

/// The breakers of all activities. Clones share them.
#[derive(Clone)]
pub struct Breakers(Arc<Inner>);

struct Inner {
    settings: BreakerSettings,
    /// How many activities are off.
    off: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger<Activity, Track>,
    next_probe: u64,
}

/// Whether an activity may start.
#[derive(Debug)]
#[non_exhaustive]
pub enum Admission {
    /// It may.
    Pass,
    /// It may, as the one try that decides whether the activity is switched on again.
    Probe(Probe),
    /// It is switched off.
    Refused {
        /// How long to wait before asking again, more than 0.
        retry_after: Duration,
    },
}

/// Whether `activity` may start, as far as the [installed](crate::installed) breakers say. One relaxed load while nothing
/// is off in any breakers of the process.
#[must_use]
#[inline]
pub fn admission(activity: &Activity) -> Admission {
    if RARE.activities_off.is_none() {
        return Admission::Pass;
    }
    crate::installed()
        .map_or(Admission::Pass, |watertight| watertight.breakers().admit(activity, Instant::now()))
}

/// An activity was switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tripped {
    /// For how long, before one client may try it.
    pub open_for: Duration,
    /// How many different identities crashed. 1 when a try failed.
    pub identities: usize,
}

/// An activity that is not on, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerState {
    /// Which.
    pub activity: Activity,
    /// Off, or open to one try at a time.
    pub phase: BreakerPhase,
    /// How long until someone may try it; 0 when half open. Serialised in milliseconds.
    #[serde(rename = "retry_after_ms", serialize_with = "as_millis")]
    pub retry_after: Duration,
    /// For how long it was switched off the last time. Serialised in milliseconds.
    #[serde(rename = "open_for_ms", serialize_with = "as_millis")]
    pub open_for: Duration,
}

/// Where a breaker is that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerPhase {
    /// Off: everyone is refused.
    Open,
    /// Its time is over and nobody has tried it yet.
    HalfOpen,
    /// One client is trying it; everyone else is refused.
    Probing,
}

impl Breakers {
    /// All closed. Settings should have passed [`BreakerSettings::check`]; ones that did not are still safe.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        let state = State { ledger: Ledger::new(settings.capacity), next_probe: 0 };
        Self(Arc::new(Inner { settings, off: AtomicUsize::new(0), state: Mutex::new(state) }))
    }

    /// What they judge by.
    #[must_use]
    pub fn settings(&self) -> &BreakerSettings {
        &self.0.settings
    }

    /// Whether `activity` may start.
    #[must_use]
    pub fn admit(&self, activity: &Activity, now: Instant) -> Admission {
        if self.0.off.load(Ordering::Relaxed) == 0 {
            return Admission::Pass;
        }
        let mut state = self.0.state.lock();
        // One that nobody wants any more must not cost everybody a lock for ever.
        let forgotten = state
            .ledger
            .in_force()
            .find(|(_, track)| track.is_forgotten(&self.0.settings, now))
            .map(|(activity, _)| activity.clone());
        if let Some(forgotten) = forgotten {
            state.ledger.take(&forgotten);
            self.0.count_off(&state);
        }
        let number = state.next_probe;
        let entrance =
            state.ledger.get_mut(activity).map_or(Entrance::Pass, |track| track.admit(number, now));
        match entrance {
            Entrance::Pass => Admission::Pass,
            Entrance::Refused(retry_after) => Admission::Refused { retry_after },
            Entrance::Probe => {
                state.next_probe = number.wrapping_add(1);
                let (breakers, activity) = (self.clone(), activity.clone());
                Admission::Probe(Probe { breakers, activity, number })
            }
        }
    }

    /// Counts a fault of `identity` in `activity`. Answers when that switched it off: because enough different
    /// identities crashed in it within the window, or because it was the try's. While it is off, faults of what had
    /// begun before change nothing.
    ///
    /// Only connect and event handlers, fallbacks and middleware have breakers: a disconnect handler must
    /// run, and the transport is everyone's.
    #[must_use]
    pub fn fault(&self, activity: &Activity, identity: &Identity, now: Instant) -> Option<Tripped> {
        if !self.0.settings.enabled || !has_breaker(activity.kind()) {
            return None;
        }
        let tripped = self.0.locked(|State { ledger, .. }| {
            ledger.update(
                activity,
                || Track::new(now),
                |track| {
                    let tripped = track.fault(&self.0.settings, identity, now);
                    (track.rank(), tripped)
                },
            )
        });
        tripped.map(|(open_for, identities)| Tripped { open_for, identities })
    }

    /// Switches `activity` off because the process died in it `again` times after the first, the last time so long ago. Each
    /// time doubles how long it is off, from the death on. Answers `None` when it has no breaker, breakers are off, or that
    /// was so long ago that it would be forgotten by now.
    #[must_use]
    pub(crate) fn trip(
        &self,
        activity: &Activity,
        again: usize,
        passed: Duration,
        now: Instant,
    ) -> Option<Tripped> {
        let settings = &self.0.settings;
        if !settings.enabled || !has_breaker(activity.kind()) {
            return None;
        }
        let doublings = u32::try_from(again.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
        let length = settings.open_for.saturating_mul(1 << doublings).min(settings.cap);
        if passed.saturating_sub(length) > settings.cap {
            return None;
        }
        self.0.locked(|State { ledger, .. }| {
            ledger.update(
                activity,
                || Track::new(now),
                |track| {
                    track.open_for_rest(length, length.saturating_sub(passed), now);
                    (track.rank(), ())
                },
            );
        });
        Some(Tripped { open_for: length, identities: 1 })
    }

    /// Switches `activity` on and forgets what spoke against it. Answers whether it was off.
    #[must_use]
    pub fn reset(&self, activity: &Activity) -> bool {
        self.0.locked(|state| state.ledger.take(activity).is_some_and(|track| !track.is_on()))
    }

    /// Every activity that is not on, the one that may be tried soonest first.
    #[must_use]
    pub fn states(&self, now: Instant) -> Vec<BreakerState> {
        let state = self.0.state.lock();
        let off = state.ledger.in_force().filter_map(|(activity, track)| {
            let (retry_after, open_for, probing) = track.off(now)?;
            let phase = match (retry_after.is_zero(), probing) {
                (false, _) => BreakerPhase::Open,
                (true, false) => BreakerPhase::HalfOpen,
                (true, true) => BreakerPhase::Probing,
            };
            Some(BreakerState { activity: activity.clone(), phase, retry_after, open_for })
        });
        off.collect()
    }
}

impl Inner {
    fn locked<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = work(&mut state);
        self.count_off(&state);
        result
    }

    /// Behind the lock.
    fn count_off(&self, state: &State) {
        let off = state.ledger.active();
        RARE.activities_off.change(self.off.swap(off, Ordering::Relaxed), off);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        RARE.activities_off.change(*self.off.get_mut(), 0);
    }
}

fn has_breaker(kind: ActivityKind) -> bool {
    match kind {
        ActivityKind::Event | ActivityKind::Fallback | ActivityKind::Connect | ActivityKind::Middleware => {
            true
        }
        ActivityKind::Disconnect | ActivityKind::Transport | ActivityKind::WebSocket | ActivityKind::Task => {
            false
        }
    }
}

/// The one try of an activity that was switched off. Dropped without a word (its client left, its task was
/// cancelled) it decides nothing, and another client may try.
#[derive(Debug)]
#[must_use = "dropping it lets another client try"]
pub struct Probe {
    breakers: Breakers,
    activity: Activity,
    number: u64,
}

impl Probe {
    /// It went well: the activity is on again.
    pub fn succeed(self) {
        self.breakers.0.locked(|state| {
            if state.ledger.get(&self.activity).is_some_and(|track| track.tries(self.number)) {
                state.ledger.take(&self.activity);
            }
        });
    }

    /// It crashed: the activity is off for twice as long as before. Answers `None` when its fault was counted
    /// already, or an operator has switched the activity on meanwhile.
    #[must_use]
    pub fn fail(self, now: Instant) -> Option<Tripped> {
        let Inner { settings, .. } = &*self.breakers.0;
        self.breakers.0.locked(|state| {
            state.ledger.get(&self.activity).filter(|track| track.tries(self.number))?;
            let reopened = state.ledger.update(
                &self.activity,
                || Track::new(now),
                |track| {
                    let reopened = track.reopen(settings, now);
                    (track.rank(), reopened)
                },
            );
            reopened.map(|open_for| Tripped { open_for, identities: 1 })
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut state = self.breakers.0.state.lock();
        if let Some(track) = state.ledger.get_mut(&self.activity).filter(|track| track.tries(self.number)) {
            track.release();
        }
    }
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    crate::bounds::millis::serialize(duration, serializer)
}

impl Default for Breakers {
    fn default() -> Self {
        Self::new(BreakerSettings::default())
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers")
            .field("settings", &self.0.settings)
            .field("off", &self.0.off)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
