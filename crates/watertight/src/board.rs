//! The board: what each thread works on right now, readable from other threads.
//!
//! Every thread that enters scopes owns one slot. It writes the compartment's key and the activity's number there
//! whenever its current scope changes: a few relaxed stores, no lock, no clock. Whoever wants to know for how long a
//! thread has not come back to its executor looks twice.

use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// How many threads can be watched at once: executors, lanes with their spares, and some to spare. A thread that
/// finds no slot works as ever, and is not watched.
const SLOTS: usize = 512;

/// How often a reader tries again when the writer is busy.
const READS: usize = if cfg!(watertight_loom) { 1 } else { 16 };

static BOARD: LazyLock<Board> = LazyLock::new(Board::new);

pub(crate) struct Board {
    slots: Box<[Slot]>,
    /// Slots from here on have never been used.
    used: AtomicUsize,
}

/// What one thread works on. A cache line of its own: its writer must not wait for its neighbours'.
#[repr(align(128))]
pub(crate) struct Slot {
    taken: AtomicBool,
    /// Whether the thread is one of the lanes'.
    lane: AtomicBool,
    /// Odd while the entry is being written.
    version: AtomicU64,
    /// Grows whenever the thread enters its outermost scope and when it leaves that.
    turn: AtomicU64,
    current: Line,
    /// The scope that the turn began with.
    outermost: Line,
    thread: Mutex<String>,
    /// What its stack can be taken by; 0 for not at all.
    enrolled: AtomicU64,
}

/// An entry as it stands on the board.
struct Line {
    /// The compartment's key; 0 outside of any scope.
    compartment: AtomicU64,
    activity: AtomicU32,
}

/// Whom a thread works for, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) compartment: u64,
    pub(crate) activity: u32,
}

/// What a slot said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// The innermost scope.
    pub(crate) current: Entry,
    /// The outermost one, which is the same when scopes are not nested.
    pub(crate) outermost: Entry,
    /// The number of the turn.
    pub(crate) turn: u64,
    /// Another one as soon as the thread has entered or left any scope.
    pub(crate) step: u64,
}

impl Entry {
    /// Outside of any scope.
    pub(crate) const IDLE: Self = Self { compartment: 0, activity: 0 };
}

impl Board {
    fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Slot::new()).collect();
        Self { slots, used: AtomicUsize::new(0) }
    }

    /// The one of this process.
    pub(crate) fn global() -> &'static Self {
        &BOARD
    }

    /// A slot for the calling thread; `None` when all are taken. Give it back with [`Slot::release`].
    pub(crate) fn claim(&self) -> Option<&Slot> {
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                self.used.fetch_max(index + 1, Ordering::Release);
                let thread = std::thread::current();
                *slot.thread.lock() = thread.name().unwrap_or("unnamed").to_owned();
                return Some(slot);
            }
        }
        None
    }

    /// Whether some thread works for this compartment right now.
    pub(crate) fn works_for(&self, compartment: u64) -> bool {
        let works = |look: Look| [look.current, look.outermost].iter().any(|e| e.compartment == compartment);
        self.slots().iter().any(|slot| slot.read().is_some_and(works))
    }

    /// The slots that have ever been used, each at an index that it keeps.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots[..self.used.load(Ordering::Acquire)]
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            lane: AtomicBool::new(false),
            version: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            current: Line::new(),
            outermost: Line::new(),
            thread: Mutex::new(String::new()),
            enrolled: AtomicU64::new(0),
        }
    }

    /// Writes what the thread works on now; `outermost` when it enters its first scope or has left it. Only for the
    /// thread that claimed the slot.
    #[inline]
    pub(crate) fn write(&self, entry: Entry, outermost: bool) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // What follows is not seen before the odd version.
        fence(Ordering::Release);
        self.current.store(entry);
        if outermost {
            self.outermost.store(entry);
            self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// What the thread works on. `None` outside of any scope, and when the thread changes it faster than it can be
    /// read: it is not stuck then.
    pub(crate) fn read(&self) -> Option<Look> {
        for _ in 0..READS {
            let version = self.version.load(Ordering::Acquire);
            let (current, outermost) = (self.current.load(), self.outermost.load());
            let turn = self.turn.load(Ordering::Relaxed);
            // What precedes is not read after this.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return (current != Entry::IDLE).then_some(Look { current, outermost, turn, step: version });
            }
        }
        None
    }

    /// Notes that its thread is one of the lanes'.
    pub(crate) fn set_lane(&self) {
        self.lane.store(true, Ordering::Relaxed);
    }

    /// Whether its thread is one of the lanes'.
    pub(crate) fn is_lane(&self) -> bool {
        self.lane.load(Ordering::Relaxed)
    }

    /// The name of the thread that owns it.
    pub(crate) fn thread(&self) -> String {
        self.thread.lock().clone()
    }

    /// Notes what the stack of its thread can be taken by.
    pub(crate) fn enrol(&self, thread: u64) {
        self.enrolled.store(thread, Ordering::Release);
    }

    /// What the stack of its thread can be taken by; 0 for not at all.
    pub(crate) fn enrolled(&self) -> u64 {
        self.enrolled.load(Ordering::Acquire)
    }

    /// Gives it back.
    pub(crate) fn release(&self) {
        self.write(Entry::IDLE, true);
        self.enrol(0);
        self.lane.store(false, Ordering::Relaxed);
        self.taken.store(false, Ordering::Release);
    }
}

impl Line {
    fn new() -> Self {
        Self { compartment: AtomicU64::new(0), activity: AtomicU32::new(0) }
    }

    #[inline]
    fn store(&self, entry: Entry) {
        self.compartment.store(entry.compartment, Ordering::Relaxed);
        self.activity.store(entry.activity, Ordering::Relaxed);
    }

    fn load(&self) -> Entry {
        Entry {
            compartment: self.compartment.load(Ordering::Relaxed),
            activity: self.activity.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_written() {
        let board = Board::new();
        let slot = board.claim().expect("a slot");
        assert_eq!(slot.read(), None);
        let outer = Entry { compartment: 7, activity: 1 };
        slot.write(outer, true);
        let first = slot.read().expect("an entry");
        assert_eq!((first.current, first.outermost), (outer, outer));
        assert_eq!(slot.read(), Some(first), "nothing has changed");
        let inner = Entry { compartment: 8, activity: 2 };
        slot.write(inner, false);
        let nested = slot.read().expect("an entry");
        assert_eq!((nested.current, nested.outermost), (inner, outer));
        assert_eq!(nested.turn, first.turn, "a nested scope is the same turn");
        assert_ne!(nested.step, first.step, "and another step");
        slot.write(outer, false);
        assert_ne!(slot.read().expect("an entry").step, first.step, "as is the way back");
        slot.write(Entry::IDLE, true);
        assert_eq!(slot.read(), None);
        slot.write(outer, true);
        assert_ne!(slot.read().expect("an entry").turn, first.turn, "the same again is another turn");
    }

    #[test]
    fn a_released_slot_is_taken_again() {
        let board = Board::new();
        let first: *const Slot = board.claim().expect("a slot");
        for _ in 1..SLOTS {
            board.claim().expect("a slot");
        }
        assert!(board.claim().is_none(), "all are taken");
        board.slots()[0].release();
        assert_eq!(board.claim().map(std::ptr::from_ref), Some(first));
    }

    #[test]
    fn a_torn_entry_is_never_believed() {
        let board = Board::new();
        let slot = board.claim().expect("a slot");
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 1..200_000_u32 {
                    slot.write(Entry { compartment: u64::from(n), activity: n }, true);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                if let Some(look) = slot.read() {
                    let Look { current, outermost, turn, step: _ } = look;
                    assert_eq!(
                        (u64::from(current.activity), turn),
                        (current.compartment, current.compartment)
                    );
                    assert_eq!(outermost, current);
                }
            }
        });
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn a_reader_never_sees_two_entries_mixed() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let writer = {
                let slot = Arc::clone(&slot);
                loom::thread::spawn(move || {
                    slot.write(Entry { compartment: 1, activity: 1 }, true);
                    slot.write(Entry { compartment: 2, activity: 2 }, true);
                })
            };
            if let Some(look) = slot.read() {
                let Look { current, outermost, turn, step: _ } = look;
                assert_eq!((u64::from(current.activity), turn), (current.compartment, current.compartment));
                assert_eq!(outermost, current);
            }
            writer.join().expect("no panic");
        });
    }
}
