//! All compartments of the process, by key and by session.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::compartment::Compartment;
use crate::transport::Connection;

/// How many compartments are looked at together, when it is at all of them. Whoever is looked at only now and then is not in
/// the processor's cache, which waits for about so many reads at once, but finishes all of them before it counts a reference or
/// takes a lock. So each step first reads what it is about to change, of all.
pub(crate) const TOGETHER: usize = 16;

/// The compartments that exist. A compartment is in it from [`open`](Self::open) until its last
/// [`Lease`] is dropped or it has been sealed, whichever is first.
#[derive(Default)]
pub struct Registry {
    maps: RwLock<Maps>,
}

/// Every request of a client that polls looks its session up. The hash need not withstand chosen keys: clients choose what
/// is looked up, and never what is in here.
#[derive(Default)]
struct Maps {
    by_key: HashMap<u64, Arc<Compartment>, RandomState>,
    by_session: HashMap<Box<str>, Arc<Compartment>, RandomState>,
}

impl Registry {
    /// The one of this process.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::default);
        &GLOBAL
    }

    /// Opens a compartment for the client at the other end of `connection`, where one is known. It remembers
    /// the tokio runtime it is opened on, and is known until the lease and all its clones are dropped.
    pub fn open(&'static self, connection: Option<&Connection>) -> Lease {
        let peer = connection.and_then(|connection| connection.transport().peer());
        let compartment = Compartment::new(peer, connection.map(Connection::server));
        self.add(&compartment);
        Lease(Arc::new(LeaseInner { registry: self, compartment, kept: AtomicBool::new(false) }))
    }

    fn add(&self, compartment: &Arc<Compartment>) {
        let mut maps = self.maps.write();
        compartment.set_forgotten(false);
        maps.by_key.insert(compartment.key(), Arc::clone(compartment));
        if let Some(session) = compartment.session() {
            maps.by_session.insert(session.into(), Arc::clone(compartment));
        }
    }

    /// Makes `compartment` known by its session id. The first id of a compartment stays: `false` when
    /// it has another one already.
    pub fn name(&self, compartment: &Arc<Compartment>, session: &str) -> bool {
        if compartment.session() == Some(session) && self.by_session(session).is_some() {
            return true;
        }
        let named = compartment.set_session(session);
        if named && compartment.is_live() {
            self.add(compartment);
        }
        named
    }

    /// Gives a lease up without forgetting its compartment, for one that no request or connection can own: it
    /// stays known until its last part is gone.
    pub fn keep(&self, lease: Lease) {
        lease.0.kept.store(true, Ordering::Relaxed);
    }

    /// The compartment with this [key](Compartment::key).
    #[must_use]
    pub fn by_key(&self, key: u64) -> Option<Arc<Compartment>> {
        self.maps.read().by_key.get(&key).cloned()
    }

    /// The compartment of a session.
    #[must_use]
    pub fn by_session(&self, session: &str) -> Option<Arc<Compartment>> {
        self.maps.read().by_session.get(session).cloned()
    }

    /// The compartment that clients and operators call `id` (see [`Compartment::id`]).
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<Compartment>> {
        let maps = self.maps.read();
        if let Some(found) = maps.by_session.get(id) {
            return Some(Arc::clone(found));
        }
        let key = id.strip_prefix("connection-")?.parse().ok()?;
        maps.by_key.get(&key).filter(|found| found.session().is_none()).cloned()
    }

    /// All compartments, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Compartment>> {
        let maps = self.maps.read();
        let mut all = Vec::with_capacity(maps.by_key.len());
        let mut values = maps.by_key.values();
        loop {
            let some: SmallVec<[&Arc<Compartment>; TOGETHER]> = values.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return all;
            }
            black_box(some.iter().map(|compartment| Arc::strong_count(compartment)).sum::<usize>());
            all.extend(some.into_iter().cloned());
        }
    }

    /// Up to `most` of those that `wanted` accepts, in no order. What it asks must not come back here: the registry is
    /// locked meanwhile.
    pub(crate) fn some(&self, most: usize, wanted: impl Fn(&Compartment) -> bool) -> Vec<Arc<Compartment>> {
        let maps = self.maps.read();
        maps.by_key.values().filter(|compartment| wanted(compartment)).take(most).cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.read().by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets a compartment. Harmless when it is not known.
    pub fn forget(&self, compartment: &Compartment) {
        if self.remove(compartment) {
            compartment.leave_conduct();
        }
    }

    /// `true` when it was known.
    fn remove(&self, compartment: &Compartment) -> bool {
        let mut maps = self.maps.write();
        compartment.set_forgotten(true);
        let known = maps.by_key.remove(&compartment.key()).is_some();
        if let Some(session) = compartment.session()
            && maps.by_session.get(session).is_some_and(|known| known.key() == compartment.key())
        {
            maps.by_session.remove(session);
        }
        known
    }

    /// Forgets a compartment when every part of it is gone.
    pub fn forget_if_empty(&self, compartment: &Compartment) {
        if compartment.is_empty() {
            self.forget(compartment);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("len", &self.len()).finish()
    }
}

/// Keeps a compartment known. Whoever owns the connection's life owns a clone: the request that opened
/// a session, or the transport.
#[derive(Clone)]
pub struct Lease(Arc<LeaseInner>);

struct LeaseInner {
    registry: &'static Registry,
    compartment: Arc<Compartment>,
    kept: AtomicBool,
}

impl Deref for Lease {
    type Target = Arc<Compartment>;

    fn deref(&self) -> &Self::Target {
        &self.0.compartment
    }
}

impl Drop for LeaseInner {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            self.registry.forget(&self.compartment);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.compartment).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use proptest::prelude::*;

    fn registry() -> &'static Registry {
        Box::leak(Box::default())
    }

    #[test]
    fn a_compartment_is_known_as_long_as_a_lease_lives() {
        let registry = registry();
        let lease = registry.open(None);
        let clone = lease.clone();
        assert!(registry.name(&lease, "session"));
        drop(lease);
        assert_eq!(registry.by_session("session").map(|c| c.key()), Some(clone.key()));
        drop(clone);
        assert!(registry.by_session("session").is_none() && registry.is_empty());
    }

    #[test]
    fn the_first_session_id_stays() {
        let registry = registry();
        let lease = registry.open(None);
        assert_eq!(registry.by_id(&lease.id()).map(|c| c.key()), Some(lease.key()));
        assert!(registry.name(&lease, "one"));
        assert!(!registry.name(&lease, "two"));
        assert!(registry.by_session("two").is_none());
        assert_eq!(lease.id(), "one");
    }

    /// A connection or a socket.
    struct Part {
        carries: bool,
    }

    impl Seal for Part {
        fn is_transport(&self) -> bool {
            self.carries
        }

        fn is_gone(&self) -> bool {
            false
        }
    }

    #[test]
    fn every_live_one_is_looked_at_once_with_what_carries_it() {
        let registry = registry();
        let leases: Vec<Lease> = (0..3 * TOGETHER + 1).map(|_| registry.open(None)).collect();
        let parts = [false, true].map(|carries| Arc::new(Part { carries }));
        for lease in &leases {
            parts.iter().for_each(|part| lease.attach(part));
        }
        let gone = Arc::new(Part { carries: true });
        leases[0].attach(&gone);
        drop(gone);
        assert!(leases[TOGETHER].begin_seal());
        let mut seen = Vec::new();
        Compartment::each_live(registry.all(), |compartment, carriers| {
            assert!(matches!(carriers, [carrier] if carrier.is_transport()));
            seen.push(compartment.key());
        });
        seen.sort_unstable();
        let sealed = leases[TOGETHER].key();
        let live: Vec<u64> = leases.iter().map(|lease| lease.key()).filter(|&key| key != sealed).collect();
        assert_eq!(seen, live);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open,
        Name(usize, u8),
        Forget(usize),
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Open),
            (any::<usize>(), any::<u8>()).prop_map(|(at, name)| Step::Name(at, name)),
            any::<usize>().prop_map(Step::Forget),
            any::<usize>().prop_map(Step::Drop),
        ]
    }

    proptest! {
        /// Against a model that is a plain list: what is open and not forgotten is found, all else is not.
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec(step(), 0..60)) {
            struct Entry { lease: Lease, name: Option<String>, known: bool }
            let registry = registry();
            let mut model: Vec<Entry> = Vec::new();
            for step in steps {
                match step {
                    Step::Open => model.push(Entry { lease: registry.open(None), name: None, known: true }),
                    Step::Name(at, name) if !model.is_empty() => {
                        let at = at % model.len();
                        // Session ids are random and unique; the model keeps them so per entry.
                        let name = format!("{name}-{}", model[at].lease.key());
                        let entry = &mut model[at];
                        let named = registry.name(&entry.lease, &name);
                        prop_assert_eq!(named, entry.name.as_ref().is_none_or(|known| *known == name));
                        if named { entry.name = Some(name); entry.known = true; }
                    }
                    Step::Forget(at) if !model.is_empty() => {
                        let at = at % model.len();
                        registry.forget(&model[at].lease);
                        model[at].known = false;
                    }
                    Step::Drop(at) if !model.is_empty() => { model.swap_remove(at % model.len()); }
                    _ => {}
                }
                prop_assert_eq!(registry.len(), model.iter().filter(|entry| entry.known).count());
                let keys = |keys: &mut Vec<u64>| { keys.sort_unstable(); keys.clone() };
                let mut known = model.iter().filter(|entry| entry.known).map(|entry| entry.lease.key()).collect();
                let mut all = registry.all().iter().map(|compartment| compartment.key()).collect();
                prop_assert_eq!(keys(&mut all), keys(&mut known));
                for entry in &model {
                    let found = registry.by_id(&entry.lease.id()).map(|found| found.key());
                    prop_assert_eq!(found, entry.known.then(|| entry.lease.key()));
                }
            }
            drop(model);
            prop_assert!(registry.is_empty());
        }
    }
}
