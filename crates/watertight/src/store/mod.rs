//! What survives a restart: incidents and quarantines.

mod journal;

pub use journal::Journal;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::death::Death;
use crate::identity::Identity;
use crate::incident::{Incident, IncidentId};
use crate::quarantine::Entry;
use crate::sink::{RingSink, Sink as _};

/// Keeps incidents and quarantines for the next run, or for other nodes.
///
/// Called on the recovery thread, and never for long: a store whose medium is slow takes what it is
/// given into a bounded queue and writes from a thread of its own. No method can fail, because nobody who
/// calls could do anything about it: a store logs and counts its own errors and answers with what it has.
/// `recent` and `quarantine` are called when the process starts, and `recent` by operators.
pub trait Store: Send + Sync + 'static {
    /// Keeps an incident.
    fn incident(&self, incident: &Arc<Incident>);

    /// The latest incidents, latest first, at most `limit` of them.
    fn recent(&self, limit: usize) -> Vec<Arc<Incident>>;

    /// Keeps a quarantine, in place of an earlier one of the same identity.
    fn quarantined(&self, entry: &Entry);

    /// Forgets the quarantine of an identity, as an operator wants it.
    fn lifted(&self, identity: &Identity);

    /// The quarantines it has, those that ended lately included: their level still counts when the identity
    /// repeats. For [`Quarantine::restore`](crate::Quarantine::restore), which drops those that are forgiven.
    fn quarantine(&self) -> Vec<Entry>;

    /// The deaths of the process before this run that it has, oldest first, each with whether it has been
    /// [told](Self::death_told) as an incident. For those who keep no deaths: none.
    fn deaths(&self) -> Vec<(Death, bool)> {
        Vec::new()
    }

    /// Notes that this run has told a death as an incident, and done what follows from it.
    fn death_told(&self, _id: IncidentId) {}
}

/// A store that lives as long as one of its clones: everything but the process's end. For tests, and for
/// servers that are content with that.
#[derive(Clone)]
pub struct MemoryStore {
    incidents: RingSink,
    entries: Arc<Mutex<Entries>>,
}

struct Entries {
    by_identity: HashMap<Identity, (Entry, u64)>,
    /// The one that ends soonest first. The number tells those of one time apart.
    by_end: BTreeMap<(SystemTime, u64), Identity>,
    next: u64,
    capacity: usize,
}

impl MemoryStore {
    /// A store of at most so many incidents, the oldest out first, and quarantines, the one that ends soonest
    /// out first (each at least 1).
    #[must_use]
    pub fn new(incidents: usize, quarantines: usize) -> Self {
        let entries = Entries {
            by_identity: HashMap::new(),
            by_end: BTreeMap::new(),
            next: 0,
            capacity: quarantines.max(1),
        };
        Self { incidents: RingSink::new(incidents), entries: Arc::new(Mutex::new(entries)) }
    }
}

/// 1,024 incidents and 65,536 quarantines, as many as [`Quarantine`](crate::Quarantine) remembers by default.
impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(1_024, 65_536)
    }
}

impl Store for MemoryStore {
    fn incident(&self, incident: &Arc<Incident>) {
        self.incidents.incident(incident);
    }

    fn recent(&self, limit: usize) -> Vec<Arc<Incident>> {
        let mut incidents = self.incidents.latest();
        incidents.truncate(limit);
        incidents
    }

    fn quarantined(&self, entry: &Entry) {
        let mut entries = self.entries.lock();
        entries.remove(&entry.identity);
        if entries.by_identity.len() >= entries.capacity
            && let Some((_, soonest)) = entries.by_end.pop_first()
        {
            entries.by_identity.remove(&soonest);
        }
        let number = entries.next;
        entries.next = number.wrapping_add(1);
        entries.by_end.insert((entry.until, number), entry.identity.clone());
        entries.by_identity.insert(entry.identity.clone(), (entry.clone(), number));
    }

    fn lifted(&self, identity: &Identity) {
        self.entries.lock().remove(identity);
    }

    fn quarantine(&self) -> Vec<Entry> {
        let entries = self.entries.lock();
        let ordered = entries.by_end.values();
        ordered
            .filter_map(|identity| entries.by_identity.get(identity))
            .map(|(entry, _)| entry.clone())
            .collect()
    }
}

impl Entries {
    fn remove(&mut self, identity: &Identity) {
        if let Some((entry, number)) = self.by_identity.remove(identity) {
            self.by_end.remove(&(entry.until, number));
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("quarantines", &self.entries.lock().by_identity.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Attribution, Component, Fault, Outcome};
    use crate::moment::Moment;
    use crate::policy::Verdict;
    use crate::quarantine::{Quarantine, QuarantineSettings, Strike};
    use std::time::Duration;

    fn incident() -> Arc<Incident> {
        Arc::new(Incident {
            id: IncidentId::new(),
            time: SystemTime::now(),
            fault: Fault::Panic,
            message: String::new(),
            location: None,
            component: Component::UserCode,
            attribution: Attribution::Exact,
            offender: None,
            activity: None,
            outcome: Outcome::Escaped,
            thread: None,
            backtrace: None,
            verdict: Verdict::Disconnect,
            sealed_after: None,
            death: None,
            storm: false,
        })
    }

    fn identity(number: u32) -> Identity {
        Identity::Named(format!("user:{number}"))
    }

    fn entry(number: u32, seconds: u64) -> Entry {
        let quarantine = Quarantine::default();
        let (now, length) = (Moment::now(), Duration::from_secs(seconds));
        quarantine.add(&identity(number), length, "", None, now).expect("it is on");
        quarantine.entry(&identity(number), now.instant).expect("it was added")
    }

    fn identities(store: &MemoryStore) -> Vec<Identity> {
        store.quarantine().into_iter().map(|entry| entry.identity).collect()
    }

    #[test]
    fn the_latest_incidents_come_first() {
        let store = MemoryStore::new(2, 1);
        let incidents: Vec<_> = (0..3).map(|_| incident()).collect();
        for incident in &incidents {
            store.incident(incident);
        }
        let ids = |limit| store.recent(limit).iter().map(|incident| incident.id).collect::<Vec<_>>();
        assert_eq!(ids(9), [incidents[2].id, incidents[1].id]);
        assert_eq!(ids(1), [incidents[2].id]);
        assert_eq!(ids(0), []);
    }

    #[test]
    fn quarantines_are_bounded_and_replaced() {
        let store = MemoryStore::new(1, 2);
        store.quarantined(&entry(1, 30));
        store.quarantined(&entry(2, 20));
        store.quarantined(&entry(1, 40));
        assert_eq!(identities(&store), [identity(2), identity(1)], "one for each identity");
        store.quarantined(&entry(3, 10));
        assert_eq!(identities(&store), [identity(3), identity(1)], "the one that ended soonest went");
        assert_eq!(store.entries.lock().by_identity.len(), 2, "from both maps");
        store.lifted(&identity(1));
        store.lifted(&identity(9));
        assert_eq!(identities(&store), [identity(3)]);
    }

    #[test]
    fn a_server_that_is_started_again_goes_on_where_it_was() {
        let store = MemoryStore::default();
        let now = Moment::now();
        let quarantine = || Quarantine::with_seed(QuarantineSettings::new().strikes(1), 1);
        let first = quarantine();
        let incident = IncidentId::new();
        assert!(matches!(first.strike(&identity(1), incident, now, || false), Strike::Quarantined(_)));
        store.quarantined(&first.entry(&identity(1), now.instant).expect("it is quarantined"));
        let told = first.check(&identity(1), now.instant);
        drop(first);

        let second = quarantine();
        second.restore(store.clone().quarantine(), now);
        assert_eq!(second.check(&identity(1), now.instant), told);
    }
}
