//! What follows from deaths of the process before this run: for the client at whose work it died, and for that work.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    pub(crate) tripped: Vec<(Activity, Tripped)>,
}

impl Inner {
    /// Refuses the clients and switches off the activities that earlier deaths speak against. Answers what is to be told.
    pub(crate) fn draw_conclusions(&self, now: Moment) -> Vec<Aftermath> {
        let Some(store) = &self.store else { return Vec::new() };
        let deaths = quietly(|| store.deaths()).unwrap_or_default();
        let mut aftermath = Vec::new();
        for (at, (death, told)) in deaths.iter().enumerate() {
            let before = deaths[..at].iter().map(|(earlier, _)| earlier);
            let before: Vec<_> = before.filter(|one| are_near(one.time, death.time)).collect();
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
        tripped: Vec<(Activity, Tripped)>,
        now: Moment,
    ) -> Aftermath {
        let mut held: Vec<(Identity, Held)> = Vec::new();
        let mut refused = None;
        for culprit in convicted(death, before, now.time) {
            if let Some(identity) = &culprit.identity
                && held.iter().all(|(known, _)| known != identity)
                && let Some(quarantined) = self.refuse_culprit(identity, culprit, death, now)
            {
                held.push((identity.clone(), quarantined));
                refused = refused.or(Some(culprit));
            }
        }
        let incident = incident_of(death, refused.or_else(|| the_only_one(death)), !held.is_empty());
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

    /// Switches off the activities that the process has died in before, whoever it was: the same one may come back under
    /// another name. The first time it is one client's fault as any.
    fn switch_off(&self, death: &Death, before: &[&Death], now: Moment) -> Vec<(Activity, Tripped)> {
        let passed = between(death.time, now.time);
        let again = deadly_again(death, before);
        let mut tripped: Vec<_> = again
            .iter()
            .filter_map(|(activity, again)| {
                let tripped = self.breakers.trip(activity, *again, passed, now.instant)?;
                Some(((*activity).clone(), tripped))
            })
            .collect();
        if again.is_empty() && passed <= self.breakers.settings().window {
            tripped.extend(self.count_first(death, now));
        }
        tripped.iter().for_each(|_| self.counters.tripped.add());
        tripped
    }

    /// Counts a death as a fault of its culprit in its activity.
    fn count_first(&self, death: &Death, now: Moment) -> Option<(Activity, Tripped)> {
        let Culprit { activity, identity, .. } = death.culprit()?;
        let (activity, identity) = (activity.as_ref()?, identity.as_ref()?);
        let tripped = self.breakers.fault(activity, identity, now.instant)?;
        Some((activity.clone(), tripped))
    }
}

/// The activities that a death and earlier ones speak against, each with how many of the earlier ones.
///
/// The culprit's, whenever it was at work in an earlier death as well. Of suspects' the one that was at work in most of the
/// earlier ones: whoever is killed again and again has it every time, and the work of others now and then. When several
/// were in as many, nobody knows which it is; after two earlier deaths all of them are.
fn deadly_again<'a>(death: &'a Death, before: &[&Death]) -> Vec<(&'a Activity, usize)> {
    let times =
        |activity: &Activity| before.iter().filter(|one| activities(one).any(|on| on == activity)).count();
    let mut again: Vec<(&Activity, usize)> = Vec::new();
    for activity in activities(death) {
        let times = times(activity);
        if times > 0 && again.iter().all(|(known, _)| *known != activity) {
            again.push((activity, times));
        }
    }
    let most = again.iter().map(|(_, times)| *times).max().unwrap_or(0);
    again.retain(|(_, times)| *times == most);
    let is_known = again.len() <= 1 || most > 1;
    if is_known { again } else { Vec::new() }
}

/// What was at work when the process died.
fn activities(death: &Death) -> impl Iterator<Item = &Activity> {
    death.culprits.iter().filter_map(|culprit| culprit.activity.as_ref())
}

/// The time between two times. Which is the first does not matter: calendars are set back.
fn between(one: SystemTime, other: SystemTime) -> Duration {
    other.duration_since(one).unwrap_or_else(|before| before.duration())
}

/// Whether what happened at one of these times still speaks against somebody at the other.
fn are_near(one: SystemTime, other: SystemTime) -> bool {
    between(one, other) <= COUNTS_FOR
}

/// Whom a death speaks against enough for being refused: its culprit, and who was a suspect before. Nobody, when it was long
/// ago.
fn convicted<'a>(
    death: &'a Death,
    before: &'a [&Death],
    now: SystemTime,
) -> impl Iterator<Item = &'a Culprit> {
    let is_certain = death.culprit().is_some();
    let culprits = death.culprits.iter().filter(move |_| are_near(death.time, now));
    culprits.filter(move |one| is_certain || is_suspect_again(one, before))
}

/// The only connection that was at work.
fn the_only_one(death: &Death) -> Option<&Culprit> {
    let first = death.culprits.first()?;
    death.culprits.iter().all(|culprit| culprit.id == first.id).then_some(first)
}

/// Whether one who was at work when the process was killed was so before. An address that others used as well, then or
/// now, is nobody.
fn is_suspect_again(suspect: &Culprit, before: &[&Death]) -> bool {
    let one_person = |culprit: &Culprit| match culprit.identity {
        Some(Identity::Address(_)) => culprit.others == 0,
        Some(Identity::Named(_)) => true,
        None => false,
    };
    let is_same = |earlier: &Culprit| one_person(earlier) && earlier.identity == suspect.identity;
    one_person(suspect) && before.iter().any(|death| death.culprits.iter().any(is_same))
}

impl Death {
    /// The death as an incident, for whoever shows what an earlier run has told. What followed from it then is not known:
    /// the verdict is that its clients were disconnected.
    #[must_use]
    pub fn to_incident(&self) -> Incident {
        incident_of(self, the_only_one(self), false)
    }
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

#[cfg(test)]
mod tests;
