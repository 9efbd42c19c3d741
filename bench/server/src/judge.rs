//! Whether every fault is traced to whose it was: panics here say so themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use watertight::{Activity, Attribution, Event, Incident, Sink};

/// What the text of a panic has before the id of its session; behind that it may say ` at SITE over TRANSPORT`.
const FAULT_OF: &str = "fault of ";
const AT: &str = " at ";
const OVER: &str = " over ";

/// Counts incidents by whether the offender is the one that the panic names.
#[derive(Clone, Default)]
pub(crate) struct Judge(Arc<Counts>);

#[derive(Default)]
struct Counts {
    /// By what panics say of where they are.
    places: Mutex<BTreeMap<String, Judged>>,
    /// Came faster than they could be recorded.
    lost: AtomicU64,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Judged {
    right: u64,
    wrong: u64,
    nobodys: u64,
    /// Of those that are right: traced by the task that polls the connection.
    by_transport: u64,
    /// Of those that are right: said to be of another activity than the one that panicked.
    wrong_activity: u64,
}

impl Judge {
    /// What has been counted.
    pub(crate) fn so_far(&self) -> Value {
        let places = self.places();
        let sum = |of: fn(&Judged) -> u64| places.values().map(of).sum::<u64>();
        json!({
            "right": sum(|judged| judged.right),
            "wrong": sum(|judged| judged.wrong),
            "nobodys": sum(|judged| judged.nobodys),
            "by_transport": sum(|judged| judged.by_transport),
            "wrong_activity": sum(|judged| judged.wrong_activity),
            "lost": self.0.lost.load(Ordering::Relaxed),
            "places": *places,
        })
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Judged>> {
        // Nothing that holds it can panic half-way.
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judged {
    fn add(&mut self, incident: &Incident, session: &str, site: &str) {
        let Some(offender) = &incident.offender else {
            self.nobodys += 1;
            return;
        };
        if offender.id != session {
            self.wrong += 1;
            return;
        }
        self.right += 1;
        self.by_transport += u64::from(incident.attribution == Attribution::Transport);
        self.wrong_activity +=
            u64::from(!incident.activity.as_ref().is_some_and(|activity| is_at(activity, site)));
    }
}

/// Whether an activity is that of a site: sites are called as their events, or as the kind of what has no event. A
/// fallback handler is not known by the events that it gets.
fn is_at(activity: &Activity, site: &str) -> bool {
    let kind = site.strip_prefix("panic_").unwrap_or(site);
    site.is_empty() || activity.name() == site || activity.kind().as_str() == kind
}

impl Sink for Judge {
    fn incident(&self, incident: &Arc<Incident>) {
        // What says nothing is a panic that was not meant, and can never be right.
        let whose = incident.message.split_once(FAULT_OF).map_or("", |(_, whose)| whose);
        let (session, place) = whose.split_once(AT).unwrap_or((whose, ""));
        let site = place.split_once(OVER).map_or(place, |(site, _)| site);
        let mut places = self.places();
        if let Some(judged) = places.get_mut(place) {
            judged.add(incident, session, site);
        } else {
            places.entry(place.to_owned()).or_default().add(incident, session, site);
        }
    }

    fn event(&self, event: &Event<'_>) {
        if let Event::Lost { reports } = event {
            self.0.lost.fetch_add(*reports, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watertight::ActivityKind;

    #[test]
    fn an_activity_is_that_of_its_site_only() {
        let event = Activity::new(ActivityKind::Event, "/", "panic_sync");
        assert!(is_at(&event, "panic_sync") && !is_at(&event, "panic_async") && !is_at(&event, "connect"));
        let fallback = Activity::new(ActivityKind::Fallback, "/", "");
        assert!(is_at(&fallback, "panic_fallback") && !is_at(&fallback, "panic_sync"));
        assert!(is_at(&Activity::transport(), "transport"));
    }
}
