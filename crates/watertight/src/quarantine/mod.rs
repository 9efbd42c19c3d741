//! Quarantine: identities that are refused at connect for a while.
//!
//! [`record::Record`] is the history of one identity and knows the rules about time; this file is who may be
//! quarantined at all, and the lock.

mod allow;
mod entry;
mod record;
mod settings;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

pub use allow::AllowEntry;
use allow::AllowList;
pub use entry::Entry;
use entry::shortened;
use record::{Hold, Record};
use settings::MAX_DURATION;
pub use settings::QuarantineSettings;

use crate::identity::Identity;
use crate::incident::IncidentId;
use crate::ledger::Ledger;
use crate::moment::Moment;
use crate::seal::Notice;

/// Ended quarantines that one call files away, so that no call pays for all that end together.
const SETTLE_AT_ONCE: usize = 8;

/// An identity is refused, and this is what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// How long it has to wait from now, more than 0.
    pub retry_after: Duration,
    /// The incident that led to it.
    pub incident: IncidentId,
    /// When it may come back.
    pub until: SystemTime,
    /// How many times in a row it was quarantined, less what was forgiven. An operator's alone has 0.
    pub level: u32,
}

impl Held {
    /// What the client is told: it may come back when its time is over.
    #[must_use]
    pub fn notice(&self) -> Notice {
        let mut notice =
            Notice::new("quarantined", "This client is refused for a while.").retry(true, self.retry_after);
        notice.id = self.incident;
        notice
    }
}

/// What became of a fault that was counted against an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strike {
    /// It counts, and is not enough.
    Noted {
        /// How many there were within the window.
        count: u32,
    },
    /// The identity is quarantined: now, or since before. A fault during a quarantine does not lengthen it.
    Quarantined(Held),
    /// It would be quarantined, but others in good standing use the same address.
    Shared,
    /// It is on the list of those who never are.
    Allowed,
    /// Quarantine is off.
    Off,
}

/// Who is refused at connect, and who has come close to it.
///
/// Bounded by [`QuarantineSettings::capacity`]; names count once, whatever their length, so applications
/// should not take names of any length from clients.
pub struct Quarantine {
    settings: QuarantineSettings,
    allow: AllowList,
    top_level: u32,
    /// How many records are in force, for the answer to nearly every connect.
    in_force: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger<Identity, Record>,
    lots: fastrand::Rng,
}

impl Quarantine {
    /// An empty one. Settings should have passed [`QuarantineSettings::check`]; ones that did not are still
    /// safe.
    #[must_use]
    pub fn new(settings: QuarantineSettings) -> Self {
        Self::with_lots(settings, fastrand::Rng::new())
    }

    /// [`new`](Self::new) with jitter that is the same each time.
    #[must_use]
    pub fn with_seed(settings: QuarantineSettings, seed: u64) -> Self {
        Self::with_lots(settings, fastrand::Rng::with_seed(seed))
    }

    fn with_lots(settings: QuarantineSettings, lots: fastrand::Rng) -> Self {
        let ledger = Ledger::new(settings.capacity);
        Self {
            allow: AllowList::new(&settings.allow),
            top_level: settings.top_level(),
            in_force: AtomicUsize::new(0),
            state: Mutex::new(State { ledger, lots }),
            settings,
        }
    }

    /// What it judges by.
    #[must_use]
    pub fn settings(&self) -> &QuarantineSettings {
        &self.settings
    }

    /// Whether `identity` is to be refused. One relaxed load while nobody is quarantined.
    pub fn check(&self, identity: &Identity, now: Instant) -> Option<Held> {
        if self.in_force.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.locked(now, |state| state.ledger.get(identity)?.held(now))
    }

    /// Counts a fault of `identity`. `shared` is asked at most once, and only when an address is about to be
    /// quarantined: whether other connections in good standing use it too. A named identity is one client,
    /// wherever it is.
    pub fn strike(
        &self,
        identity: &Identity,
        incident: IncidentId,
        now: Moment,
        shared: impl FnOnce() -> bool,
    ) -> Strike {
        let Self { settings: QuarantineSettings { strikes, window, .. }, .. } = self;
        let needed = match identity {
            Identity::Address(_) => (*strikes).max(2),
            Identity::Named(_) => *strikes,
        };
        self.convict(identity, incident, now, shared, needed, |count| {
            format!("{count} faults within {window:?}")
        })
    }

    /// Counts a fault that is enough by itself, for `reason`: a verdict or a score says so. The list of those
    /// who never are quarantined and the rule of shared addresses hold as for [`strike`](Self::strike).
    pub fn hold(
        &self,
        identity: &Identity,
        incident: IncidentId,
        reason: impl Into<String>,
        now: Moment,
        shared: impl FnOnce() -> bool,
    ) -> Strike {
        self.convict(identity, incident, now, shared, 1, |_| shortened(reason.into()))
    }

    fn convict(
        &self,
        identity: &Identity,
        incident: IncidentId,
        now: Moment,
        shared: impl FnOnce() -> bool,
        needed: u32,
        reason: impl FnOnce(u32) -> String,
    ) -> Strike {
        if !self.settings.enabled {
            return Strike::Off;
        }
        if self.allow.contains(identity) {
            return Strike::Allowed;
        }
        let noted = self.update(identity, now.instant, |record, _| {
            let count = record.note(&self.settings, now.instant);
            match record.held(now.instant) {
                Some(held) => Some(Strike::Quarantined(held)),
                None if count < needed => Some(Strike::Noted { count }),
                None => None,
            }
        });
        if let Some(answer) = noted {
            return answer;
        }
        // Asked without the lock: the answer comes from other people's code.
        if matches!(identity, Identity::Address(_)) && shared() {
            return Strike::Shared;
        }
        self.update(identity, now.instant, |record, lots| {
            // Another fault may have been quicker since.
            Strike::Quarantined(record.held(now.instant).unwrap_or_else(|| {
                let level = record.level(&self.settings, now.instant).saturating_add(1).min(self.top_level);
                let duration = self.settings.jittered(level, lots.f64());
                record.hold(Hold::new(duration, now, reason(record.strikes()), incident), level)
            }))
        })
    }

    /// Quarantines `identity` by hand, for `duration` (at most 30 days) from now on. Its level stays as it
    /// was. Without an incident of its own it gets a new id, so that the client has one to quote.
    ///
    /// `None` when quarantine is off or the identity is on the list of those who never are.
    pub fn add(
        &self,
        identity: &Identity,
        duration: Duration,
        reason: impl Into<String>,
        incident: Option<IncidentId>,
        now: Moment,
    ) -> Option<Held> {
        if !self.settings.enabled || self.allow.contains(identity) {
            return None;
        }
        let duration = duration.clamp(Duration::from_millis(1), MAX_DURATION);
        let incident = incident.unwrap_or_else(|| IncidentId::at(now.time));
        let hold = Hold::new(duration, now, shortened(reason.into()), incident);
        Some(self.update(identity, now.instant, |record, _| {
            let level = record.level(&self.settings, now.instant);
            record.hold(hold, level)
        }))
    }

    /// Forgives `identity` everything. Answers whether it was quarantined.
    pub fn lift(&self, identity: &Identity, now: Instant) -> bool {
        self.locked(now, |state| state.ledger.take(identity).is_some_and(|record| record.held(now).is_some()))
    }

    /// Everyone who is quarantined, the one whose time ends soonest first.
    pub fn entries(&self, now: Instant) -> Vec<Entry> {
        self.locked(now, |state| {
            let in_force = state.ledger.in_force();
            in_force.filter_map(|(identity, record)| record.entry(identity, now)).collect()
        })
    }

    /// The quarantine of one identity, for whoever is to store it.
    pub fn entry(&self, identity: &Identity, now: Instant) -> Option<Entry> {
        self.locked(now, |state| state.ledger.get(identity)?.entry(identity, now))
    }

    /// Takes up what an earlier run left. Of an entry that has ended meanwhile its level is kept, less what
    /// was forgiven since. Whoever is here already, or never is quarantined by now, stays as is.
    pub fn restore(&self, entries: impl IntoIterator<Item = Entry>, now: Moment) {
        if !self.settings.enabled {
            return;
        }
        for entry in entries {
            if self.allow.contains(&entry.identity) {
                continue;
            }
            let identity = entry.identity.clone();
            let Some(record) = Record::restored(entry, &self.settings, self.top_level, now) else { continue };
            self.locked(now.instant, |state| {
                if state.ledger.get(&identity).is_none() {
                    let rank = record.rank(now.instant);
                    state.ledger.update(&identity, || record, |_| (rank, ()));
                }
            });
        }
    }

    /// Changes the record of one identity, and ranks it anew.
    fn update<R>(
        &self,
        identity: &Identity,
        now: Instant,
        change: impl FnOnce(&mut Record, &mut fastrand::Rng) -> R,
    ) -> R {
        self.locked(now, |State { ledger, lots }| {
            ledger.update(
                identity,
                || Record::new(now),
                |record| {
                    let result = change(record, lots);
                    (record.rank(now), result)
                },
            )
        })
    }

    fn locked<R>(&self, now: Instant, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        state.ledger.settle(now, SETTLE_AT_ONCE);
        let result = work(&mut state);
        self.in_force.store(state.ledger.active(), Ordering::Relaxed);
        result
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Self::new(QuarantineSettings::default())
    }
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantine")
            .field("settings", &self.settings)
            .field("in_force", &self.in_force)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
