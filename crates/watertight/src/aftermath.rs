//! What follows from deaths of the process before this run: for the client at whose work it died, and for that work.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::activity::Activity;
use crate::breaker::Tripped;
use crate::death::{Culprit, Death};
use crate::fault::{Attribution, Component, Fault, Outcome};
use crate::guard::quietly;
use crate::identity::Identity;
use crate::incident::{Incident, Offender};
use crate::inner::Inner;
use crate::moment::Moment;
use crate::policy::Verdict;
use crate::quarantine::{Held, Strike};

/// For how long a death speaks against those who were at work. Long enough for somebody who tries again now and then, and
/// short enough that two faults of a machine in a month are not one client's.
const COUNTS_FOR: Duration = Duration::from_hours(1);

/// A death as this run tells it.
pub(crate) struct Aftermath {
    pub(crate) incident: Incident,
    pub(crate) held: Vec<(Identity, Held)>,
    pub(crate) tripped: Option<(Activity, Tripped)>,
}

impl Inner {
    /// Refuses the clients and switches off the activities that earlier deaths speak against. Answers what is to be told.
    pub(crate) fn draw_conclusions(&self, now: Moment) -> Vec<Aftermath> {
        let Some(store) = &self.store else { return Vec::new() };
        let deaths = quietly(|| store.deaths()).unwrap_or_default();
        let mut aftermath = Vec::new();
        for (at, (death, told)) in deaths.iter().enumerate() {
            let before: Vec<_> = deaths[..at]
                .iter()
                .map(|(earlier, _)| earlier)
                .filter(|one| counts_at(one, death.time))
                .collect();
            let tripped = self.switch_off(death, &before, now);
            if !told {
                aftermath.push(self.conclude_death(death, &before, tripped, now));
            }
        }
        aftermath
    }

    fn conclude_death(
        &self,
        death: &Death,
        before: &[&Death],
        tripped: Option<(Activity, Tripped)>,
        now: Moment,
    ) -> Aftermath {
        let culprits = death.culprits.iter();
        let convicted = culprits.filter(|one| death.culprit().is_some() || is_suspect_again(one, before));
        let mut held = Vec::new();
        let mut offender = death.culprits.first().filter(|_| death.culprits.len() == 1);
        for culprit in convicted {
            if let Some(identity) = &culprit.identity
                && let Some(quarantined) = self.refuse_culprit(identity, culprit, death, now)
            {
                held.push((identity.clone(), quarantined));
                offender = Some(culprit);
            }
        }
        let incident = incident_of(death, offender, !held.is_empty());
        Aftermath { incident, held, tripped }
    }

    /// Refuses whoever it was, unless that would punish others.
    fn refuse_culprit(
        &self,
        identity: &Identity,
        culprit: &Culprit,
        death: &Death,
        now: Moment,
    ) -> Option<Held> {
        let reason = format!("the process died at its work: {}", death.manner.as_str());
        let strike = self.quarantine.hold(identity, death.id, reason, now, || culprit.others > 0);
        let Strike::Quarantined(held) = strike else { return None };
        self.counters.quarantined.add();
        self.remember(identity);
        Some(held)
    }

    /// Switches off the activity that the process died in when it is not the first time, whoever it was: the same one may
    /// come back under another name. The first time it is one client's fault as any.
    fn switch_off(&self, death: &Death, before: &[&Death], now: Moment) -> Option<(Activity, Tripped)> {
        let (activity, culprit) = blamed(death)?;
        let again = before.iter().filter(|one| blamed(one).is_some_and(|(on, _)| on == activity)).count();
        let passed = now.time.duration_since(death.time).unwrap_or_default();
        let tripped = if again > 0 {
            self.breakers.trip(activity, again, passed, now.instant)
        } else if death.culprit().is_some() && passed <= self.breakers.settings().window {
            self.breakers.fault(activity, culprit.identity.as_ref()?, now.instant)
        } else {
            None
        };
        tripped.map(|tripped| {
            self.counters.tripped.add();
            (activity.clone(), tripped)
        })
    }
}

/// Whether a death still speaks against anybody at that time.
fn counts_at(death: &Death, time: SystemTime) -> bool {
    time.duration_since(death.time).is_ok_and(|since| since <= COUNTS_FOR)
}

/// The activity that a death speaks against: the culprit's, or that of the only one who was at work.
fn blamed(death: &Death) -> Option<(&Activity, &Culprit)> {
    let [culprit] = &death.culprits[..] else { return None };
    Some((culprit.activity.as_ref()?, culprit))
}

/// Whether one who was at work when the process was killed was so before. An address that others use as well is nobody.
fn is_suspect_again(suspect: &Culprit, before: &[&Death]) -> bool {
    let identity = suspect.identity.as_ref();
    let is_same = |earlier: &Culprit| earlier.identity.as_ref() == identity;
    identity.is_some() && before.iter().any(|death| death.culprits.iter().any(is_same))
}

fn incident_of(death: &Death, offender: Option<&Culprit>, quarantined: bool) -> Incident {
    let offender_of = |culprit: &Culprit| Offender {
        id: culprit.id.clone(),
        identity: culprit.identity.clone(),
        peer: None,
    };
    Incident {
        id: death.id,
        time: death.time,
        fault: Fault::Abort,
        message: death.to_string(),
        location: None,
        component: Component::Unknown,
        attribution: if offender.is_some() { death.attribution } else { unattributed_unless_suspects(death) },
        offender: offender.map(offender_of),
        activity: offender.and_then(|culprit| culprit.activity.clone()),
        outcome: Outcome::Escaped,
        thread: death.thread.clone(),
        backtrace: None,
        verdict: if quarantined { Verdict::Quarantine } else { Verdict::Disconnect },
        sealed_after: None,
        death: Some(Arc::new(death.clone())),
        storm: false,
    }
}

fn unattributed_unless_suspects(death: &Death) -> Attribution {
    match death.attribution {
        Attribution::Suspect => Attribution::Suspect,
        _ => Attribution::Unattributed,
    }
}

/// Since when a trip of that age has been in force; now when the clock does not reach back so far.
pub(crate) fn ago(now: Instant, passed: Duration) -> Instant {
    now.checked_sub(passed).unwrap_or(now)
}

#[cfg(test)]
mod tests;
