//! A map of records that never holds more than its capacity.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

/// How much a record is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// It has no effect now and was last needed then. The oldest of these goes first.
    Idle(Instant),
    /// It is in force until then. These go when no idle one is left, the one that ends soonest first.
    Active(Instant),
}

/// Records by key, bounded: when there is no room, the one of the least [`Rank`] makes some.
/// Everything is O(log n). The map's hash is keyed at random, because clients choose the keys.
#[derive(Debug)]
pub(crate) struct Ledger<K, V> {
    records: HashMap<Arc<K>, Slot<V>>,
    idle: Order<K>,
    active: Order<K>,
    /// Tells records of one instant apart.
    next: u64,
    capacity: usize,
}

/// Keys, the least worth keeping first.
type Order<K> = BTreeMap<(Instant, u64), Arc<K>>;

#[derive(Debug)]
struct Slot<V> {
    value: V,
    rank: Rank,
    number: u64,
}

impl<K: Hash + Eq, V> Ledger<K, V> {
    /// An empty one for at most `capacity` records (at least 1).
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            records: HashMap::new(),
            idle: BTreeMap::new(),
            active: BTreeMap::new(),
            next: 0,
            capacity: capacity.max(1),
        }
    }

    /// How many of its records are in force, as far as [`settle`](Self::settle) has seen.
    pub(crate) fn active(&self) -> usize {
        self.active.len()
    }

    /// The record of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.records.get(key).map(|slot| &slot.value)
    }

    /// The record of `key`, to change what does not bear on its rank.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.records.get_mut(key).map(|slot| &mut slot.value)
    }

    /// The records in force, the one that ends soonest first.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = (&K, &V)> {
        self.active.values().filter_map(|key| Some((&**key, self.get(key)?)))
    }

    /// Changes the record of `key`, which is made by `absent` where there is none. `change` answers with
    /// its rank from now on.
    pub(crate) fn update<R>(
        &mut self,
        key: &K,
        absent: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> (Rank, R),
    ) -> R
    where
        K: Clone,
    {
        let (key, mut value) = if let Some((known, slot)) = self.records.remove_entry(key) {
            self.displace(slot.rank, slot.number);
            (known, slot.value)
        } else {
            if self.records.len() >= self.capacity {
                self.evict();
            }
            (Arc::new(key.clone()), absent())
        };
        let (rank, result) = change(&mut value);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let (order, at) = self.order(rank);
        order.insert((at, number), Arc::clone(&key));
        self.records.insert(key, Slot { value, rank, number });
        result
    }

    /// Takes the record of `key` out.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let slot = self.records.remove(key)?;
        self.displace(slot.rank, slot.number);
        Some(slot.value)
    }

    /// Makes records idle whose time in force has ended: at most `limit` of them, so that no call pays for
    /// all.
    pub(crate) fn settle(&mut self, now: Instant, limit: usize) {
        for _ in 0..limit {
            let Some(first) = self.active.first_entry().filter(|first| first.key().0 <= now) else { return };
            let (place, key) = first.remove_entry();
            if let Some(slot) = self.records.get_mut(&key) {
                slot.rank = Rank::Idle(place.0);
            }
            self.idle.insert(place, key);
        }
    }

    fn evict(&mut self) {
        if let Some((_, key)) = self.idle.pop_first().or_else(|| self.active.pop_first()) {
            self.records.remove(&key);
        }
    }

    fn displace(&mut self, rank: Rank, number: u64) {
        let (order, at) = self.order(rank);
        order.remove(&(at, number));
    }

    fn order(&mut self, rank: Rank) -> (&mut Order<K>, Instant) {
        match rank {
            Rank::Idle(since) => (&mut self.idle, since),
            Rank::Active(until) => (&mut self.active, until),
        }
    }
}

#[cfg(test)]
impl<K: Hash + Eq, V> Ledger<K, V> {
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.records.len(), self.idle.len() + self.active.len(), "every record has one place");
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Debug, Clone)]
    enum Step {
        Put { key: u8, active: bool, at: u64 },
        Take { key: u8 },
        Settle { now: u64, limit: usize },
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..12u8, any::<bool>(), 0..50u64)
                .prop_map(|(key, active, at)| Step::Put { key, active, at }),
            1 => (0..12u8).prop_map(|key| Step::Take { key }),
            1 => (0..50u64, 0..4usize).prop_map(|(now, limit)| Step::Settle { now, limit }),
        ]
    }

    proptest! {
        /// Against a plain list that is searched from end to end.
        #[test]
        fn keeps_what_is_worth_most(
            steps in prop::collection::vec(any_step(), 0..80),
            capacity in 1..6usize,
        ) {
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            let mut ledger = Ledger::new(capacity);
            // Key, value, rank, in the order in which they were put last.
            let mut model: Vec<(u8, usize, Rank)> = Vec::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put { key, active, at: seconds } => {
                        let rank = if active { Rank::Active(at(seconds)) } else { Rank::Idle(at(seconds)) };
                        ledger.update(&key, || value, |kept| (rank, *kept = value));
                        model.retain(|record| record.0 != key);
                        if model.len() == capacity {
                            let least = (0..model.len()).min_by_key(|index| model[*index].2);
                            model.remove(least.expect("it is full"));
                        }
                        model.push((key, value, rank));
                    }
                    Step::Take { key } => {
                        let index = model.iter().position(|record| record.0 == key);
                        let expected = index.map(|index| model.remove(index).1);
                        prop_assert_eq!(ledger.take(&key), expected);
                    }
                    Step::Settle { now, limit } => {
                        ledger.settle(at(now), limit);
                        for _ in 0..limit {
                            let ended = model.iter_mut().filter(|record| {
                                matches!(record.2, Rank::Active(until) if until <= at(now))
                            });
                            let Some(first) = ended.min_by_key(|record| record.2) else { break };
                            if let Rank::Active(until) = first.2 {
                                first.2 = Rank::Idle(until);
                            }
                        }
                    }
                }
                prop_assert_eq!(ledger.len(), model.len());
                for (key, value, _) in &model {
                    prop_assert_eq!(ledger.get(key), Some(value));
                }
                let active = model.iter().filter(|record| matches!(record.2, Rank::Active(_))).count();
                prop_assert_eq!(ledger.active(), active);
                prop_assert_eq!(ledger.in_force().count(), active);
            }
        }
    }
}
