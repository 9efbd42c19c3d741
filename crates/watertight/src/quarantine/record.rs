//! The history of one identity.

use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use super::entry::shortened;
use super::settings::{MAX_DURATION, MAX_STRIKES, QuarantineSettings};
use super::{Entry, Held};
use crate::identity::Identity;
use crate::incident::IncidentId;
use crate::ledger::Rank;
use crate::moment::Moment;

/// Faults, level and quarantine of one identity.
#[derive(Debug)]
pub(crate) struct Record {
    /// The latest faults, oldest first: no more of them than the most that can be needed.
    faults: SmallVec<[Instant; 2]>,
    level: u32,
    /// Since when it has behaved: its last fault, or the end of its quarantine where that is later.
    good_since: Instant,
    hold: Option<Box<Hold>>,
}

/// One quarantine.
#[derive(Debug)]
pub(crate) struct Hold {
    until: Moment,
    from: Instant,
    strikes: u32,
    reason: String,
    incident: IncidentId,
}

impl Hold {
    pub(crate) fn new(duration: Duration, now: Moment, reason: String, incident: IncidentId) -> Self {
        Self { until: now.after(duration), from: now.instant, strikes: 0, reason, incident }
    }
}

impl Record {
    pub(crate) fn new(now: Instant) -> Self {
        Self { faults: SmallVec::new(), level: 0, good_since: now, hold: None }
    }

    /// Counts a fault: how many there were within the window.
    pub(crate) fn note(&mut self, settings: &QuarantineSettings, now: Instant) -> u32 {
        self.level = self.level(settings, now);
        self.good_since = self.good_since.max(now);
        self.faults.retain(|fault| now.saturating_duration_since(*fault) <= settings.window);
        // An address needs two even where one is set.
        let most = settings.strikes.clamp(2, MAX_STRIKES) as usize;
        if self.faults.len() >= most {
            self.faults.remove(0);
        }
        self.faults.push(now);
        self.strikes()
    }

    pub(crate) fn strikes(&self) -> u32 {
        u32::try_from(self.faults.len()).unwrap_or(u32::MAX)
    }

    /// Its level now: one less for each time that it has behaved for as long as forgiving takes.
    pub(crate) fn level(&self, settings: &QuarantineSettings, now: Instant) -> u32 {
        let good = now.saturating_duration_since(self.good_since);
        self.level.saturating_sub(spans(good, settings.forgive))
    }

    /// Quarantines it, in place of what there was.
    pub(crate) fn hold(&mut self, mut hold: Hold, level: u32) -> Held {
        self.level = level;
        self.good_since = hold.until.instant;
        hold.strikes = self.strikes();
        let told = held(&hold, level, hold.from);
        self.hold = Some(Box::new(hold));
        told
    }

    /// Its quarantine, if it is in force.
    pub(crate) fn held(&self, now: Instant) -> Option<Held> {
        self.in_force(now).map(|hold| held(hold, self.level, now))
    }

    pub(crate) fn entry(&self, identity: &Identity, now: Instant) -> Option<Entry> {
        let hold = self.in_force(now)?;
        Some(Entry {
            identity: identity.clone(),
            until: hold.until.time,
            level: self.level,
            strikes: hold.strikes,
            reason: hold.reason.clone(),
            incident: hold.incident,
        })
    }

    /// How much it is worth keeping.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        self.in_force(now).map_or(Rank::Idle(self.good_since), |hold| Rank::Active(hold.until.instant))
    }

    /// The record of an entry that an earlier run left, `None` when all of it is forgiven.
    pub(crate) fn restored(
        entry: Entry,
        settings: &QuarantineSettings,
        top_level: u32,
        now: Moment,
    ) -> Option<Self> {
        let Entry { identity: _, until, level, strikes, reason, incident } = entry;
        let level = level.min(top_level);
        let mut record = Self::new(now.instant);
        match until.duration_since(now.time) {
            Ok(left) if !left.is_zero() => {
                // A calendar that was set back must not hold anyone for longer than anyone ever is.
                let hold = Hold::new(left.min(MAX_DURATION), now, shortened(reason), incident);
                record.hold(hold, level);
                if let Some(hold) = &mut record.hold {
                    hold.strikes = strikes;
                }
                Some(record)
            }
            ended => {
                let ago = ended.err().map_or(Duration::ZERO, |ended| ended.duration());
                record.level = level.saturating_sub(spans(ago, settings.forgive));
                (record.level > 0).then_some(record)
            }
        }
    }

    fn in_force(&self, now: Instant) -> Option<&Hold> {
        self.hold.as_deref().filter(|hold| hold.until.instant > now)
    }
}

/// How many whole times `span` is in `duration`.
fn spans(duration: Duration, span: Duration) -> u32 {
    u32::try_from(duration.as_nanos() / span.as_nanos().max(1)).unwrap_or(u32::MAX)
}

fn held(hold: &Hold, level: u32, now: Instant) -> Held {
    let retry_after = hold.until.instant.saturating_duration_since(now);
    let until: SystemTime = hold.until.time;
    Held { retry_after, incident: hold.incident, until, level }
}
