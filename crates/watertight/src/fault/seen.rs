//! Which locations have had their backtrace taken, as a fixed table that the panic hook can ask
//! without a lock.

use crate::sync::{AtomicU64, Ordering};

/// How many locations are told apart. When the table is full, further ones count as seen: they lose
/// their backtrace, nothing else. A program rarely has a dozen places that panic.
const SLOTS: usize = 1024;
/// How far a full neighbourhood is searched before giving up.
const PROBES: usize = 16;

/// A set of location hashes that only grows.
#[derive(Debug)]
pub(crate) struct SeenLocations {
    slots: Box<[AtomicU64]>,
}

impl SeenLocations {
    pub(crate) fn new() -> Self {
        Self::with_slots(SLOTS)
    }

    fn with_slots(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the location is surely new; a full table answers no.
    pub(crate) fn is_unseen(&self, file: &str, line: u32, column: u32) -> bool {
        let hash = hash(file, line, column);
        let len = self.slots.len();
        for probe in 0..PROBES.min(len) {
            match self.slots[(hash as usize).wrapping_add(probe) % len].load(Ordering::Relaxed) {
                0 => return true,
                found if found == hash => return false,
                _ => {}
            }
        }
        false
    }

    /// Adds the location; `true` for the one caller to whom it was new.
    pub(crate) fn insert(&self, file: &str, line: u32, column: u32) -> bool {
        let hash = hash(file, line, column);
        let len = self.slots.len();
        for probe in 0..PROBES.min(len) {
            let slot = &self.slots[(hash as usize).wrapping_add(probe) % len];
            match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) if found == hash => return false,
                Err(_) => {}
            }
        }
        false
    }
}

/// FNV-1a, with 0 kept for "empty". A collision costs one backtrace.
fn hash(file: &str, line: u32, column: u32) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = file.bytes().chain(line.to_le_bytes()).chain(column.to_le_bytes());
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash.max(1)
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_location_is_new_once() {
        let seen = SeenLocations::new();
        assert!(seen.is_unseen("a.rs", 1, 1));
        assert!(seen.insert("a.rs", 1, 1));
        assert!(!seen.is_unseen("a.rs", 1, 1));
        assert!(!seen.insert("a.rs", 1, 1));
        assert!(seen.insert("a.rs", 1, 2));
        assert!(seen.insert("a.rs", 2, 1));
        assert!(seen.insert("b.rs", 1, 1));
    }

    #[test]
    fn a_full_table_answers_seen() {
        let seen = SeenLocations::with_slots(4);
        let new = (0..100).filter(|line| seen.insert("a.rs", *line, 1)).count();
        assert_eq!(new, 4);
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads that panic at one place, in a table where they collide with a third place.
    #[test]
    fn loom_one_thread_takes_the_backtrace() {
        loom::model(|| {
            let seen = Arc::new(SeenLocations::with_slots(2));
            let other = Arc::clone(&seen);
            let thread = thread::spawn(move || (other.insert("a.rs", 1, 1), other.insert("b.rs", 9, 9)));
            let here = seen.insert("a.rs", 1, 1);
            let (there, elsewhere) = thread.join().unwrap();
            assert!(here ^ there, "exactly one is first");
            assert!(elsewhere, "another place is not mistaken for it");
        });
    }
}
