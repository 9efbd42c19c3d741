//! What one thread works on.

use super::layout::{SLOT_WORDS, line, slot};
use super::text;
use crate::sync::{AtomicU64, Ordering, fence};

/// How often a reader tries again when the writer is busy.
const READS: usize = if cfg!(watertight_loom) { 1 } else { 16 };

/// A thread's place on the board.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    words: &'static [AtomicU64; SLOT_WORDS],
    clock: &'static AtomicU64,
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
    pub(crate) step: (u64, u64),
}

impl Entry {
    /// Outside of any scope.
    pub(crate) const IDLE: Self = Self { compartment: 0, activity: 0 };
}

impl Slot {
    pub(super) fn new(words: &'static [AtomicU64; SLOT_WORDS], clock: &'static AtomicU64) -> Self {
        Self { words, clock }
    }

    #[inline]
    fn get(self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    #[inline]
    fn set(self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Relaxed);
    }

    /// Takes it for the calling thread, known as `owner`, which must not be 0; `false` when somebody has it.
    pub(super) fn claim(self, owner: u64) -> bool {
        if self.words[slot::OWNER].compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        let thread = std::thread::current();
        let name = &self.words[slot::NAME..slot::NAME + slot::NAME_WORDS];
        for word in name {
            word.store(0, Ordering::Relaxed);
        }
        text::store(name, thread.name().unwrap_or("unnamed"));
        true
    }

    /// Enters a scope. Only for the thread that claimed the slot, as all that writes.
    pub(crate) fn enter(self, entry: Entry) {
        if self.enters_quickly(entry) {
            return;
        }
        let turn = self.get(slot::TURN);
        if turn & slot::DEPTH == 0 {
            self.turn_to(entry);
            self.begin_turn(turn);
        } else {
            self.enter_nested(entry, turn);
        }
    }

    /// [Enters](Self::enter) a scope that the thread was in before, and in no other since and now; `false` for any other.
    #[inline]
    pub(crate) fn enters_quickly(self, entry: Entry) -> bool {
        let turn = self.get(slot::TURN);
        let is_same = turn & slot::DEPTH == 0 && self.read_line(slot::CURRENT) == entry;
        if is_same {
            self.begin_turn(turn);
        }
        is_same
    }

    #[inline]
    fn begin_turn(self, turn: u64) {
        self.set(slot::CURRENT + line::SINCE, self.clock.load(Ordering::Relaxed));
        self.words[slot::TURN].store(turn.wrapping_add(1), Ordering::Release);
    }

    /// Leaves a scope for `outer`; idle when there is none around it.
    pub(crate) fn leave(self, outer: Entry) {
        if !self.leaves_quickly() {
            self.leave_nested(outer, self.get(slot::TURN));
        }
    }

    /// [Leaves](Self::leave) a scope that is around all others; `false` for any other.
    #[inline]
    pub(crate) fn leaves_quickly(self) -> bool {
        let turn = self.get(slot::TURN);
        let is_outermost = turn & slot::DEPTH == 1;
        if is_outermost {
            // Of the next turn, of no depth.
            self.words[slot::TURN].store(turn.wrapping_add(slot::DEPTH), Ordering::Release);
        }
        is_outermost
    }

    /// Writes down what the next turn begins with, which nobody looks at while the depth is 0, and adds it to the ring: of a
    /// scope that is entered again and again the first time counts there.
    fn turn_to(self, entry: Entry) {
        // Whoever sees any of it sees that the turn before is over.
        self.words[slot::CURRENT + line::COMPARTMENT].store(entry.compartment, Ordering::Release);
        self.words[slot::CURRENT + line::ACTIVITY].store(entry.activity.into(), Ordering::Release);
        if entry == Entry::IDLE {
            return;
        }
        let head = self.get(slot::RING_HEAD);
        let at = slot::RING + (head as usize % slot::RING_LINES) * line::WORDS;
        self.write_line(at, entry, self.clock.load(Ordering::Relaxed));
        self.words[slot::RING_HEAD].store(head.wrapping_add(1), Ordering::Release);
    }

    /// One scope deeper.
    fn enter_nested(self, entry: Entry, turn: u64) {
        self.change(turn.wrapping_add(1), || {
            if turn & slot::DEPTH == 1 {
                self.write_line(
                    slot::OUTERMOST,
                    self.read_line(slot::CURRENT),
                    self.get(slot::CURRENT + line::SINCE),
                );
            }
            self.write_line(slot::CURRENT, entry, self.clock.load(Ordering::Relaxed));
        });
    }

    /// One scope less deep, and still in one.
    fn leave_nested(self, outer: Entry, turn: u64) {
        self.change(turn.wrapping_sub(1), || {
            let is_outermost = turn & slot::DEPTH == 2;
            let since = if is_outermost {
                self.get(slot::OUTERMOST + line::SINCE)
            } else {
                self.clock.load(Ordering::Relaxed)
            };
            self.write_line(slot::CURRENT, outer, since);
        });
    }

    /// Changes what readers may be looking at, by a sequence lock.
    #[inline]
    fn change(self, turn: u64, change: impl FnOnce()) {
        let version = self.get(slot::VERSION);
        self.set(slot::VERSION, version.wrapping_add(1));
        // What follows is not seen before the odd version.
        fence(Ordering::Release);
        change();
        self.set(slot::TURN, turn);
        self.words[slot::VERSION].store(version.wrapping_add(2), Ordering::Release);
    }

    #[inline]
    fn write_line(self, at: usize, entry: Entry, now: u64) {
        self.set(at + line::COMPARTMENT, entry.compartment);
        self.set(at + line::ACTIVITY, entry.activity.into());
        self.set(at + line::SINCE, now);
    }

    #[inline]
    fn read_line(self, at: usize) -> Entry {
        #[expect(clippy::cast_possible_truncation, reason = "the number is the low half")]
        let activity = self.get(at + line::ACTIVITY) as u32;
        Entry { compartment: self.get(at + line::COMPARTMENT), activity }
    }

    /// What the thread works on. `None` outside of any scope, and when the thread changes it faster than it can be
    /// read: it is not stuck then.
    pub(crate) fn read(self) -> Option<Look> {
        let step = || {
            (
                self.words[slot::TURN].load(Ordering::Acquire),
                self.words[slot::VERSION].load(Ordering::Acquire),
            )
        };
        for _ in 0..READS {
            let (turn, version) = step();
            let depth = turn & slot::DEPTH;
            if depth == 0 {
                return None;
            }
            let current = self.read_line(slot::CURRENT);
            let outermost = if depth == 1 { current } else { self.read_line(slot::OUTERMOST) };
            // What precedes is not read after this.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && step() == (turn, version) {
                // Blocking work for nobody is a scope of its own.
                let look = Look { current, outermost, turn: turn & !slot::DEPTH, step: (turn, version) };
                return (current != Entry::IDLE).then_some(look);
            }
        }
        None
    }

    /// Notes that the thread has read bytes of this compartment's client and is about to make sense of them; 0 when it
    /// has done so. Only for the thread that claimed the slot.
    #[inline]
    pub(crate) fn reads(self, compartment: u64) {
        self.set(slot::READING, compartment);
    }

    /// Notes that its thread is one of the lanes'.
    pub(crate) fn set_lane(self) {
        self.set(slot::FLAGS, self.get(slot::FLAGS) | slot::LANE);
    }

    /// Whether its thread is one of the lanes'.
    pub(crate) fn is_lane(self) -> bool {
        self.get(slot::FLAGS) & slot::LANE != 0
    }

    /// Notes whether its thread may take as long as it likes; answers what held before.
    pub(crate) fn set_unwatched(self, unwatched: bool) -> bool {
        let flags = self.get(slot::FLAGS);
        let rest = flags & !slot::UNWATCHED;
        self.set(slot::FLAGS, if unwatched { rest | slot::UNWATCHED } else { rest });
        flags & slot::UNWATCHED != 0
    }

    /// Whether its thread is to be watched.
    pub(crate) fn is_watched(self) -> bool {
        self.get(slot::FLAGS) & slot::UNWATCHED == 0
    }

    /// The name of the thread that owns it, as much of it as there is room for.
    pub(crate) fn thread(self) -> String {
        let words: Vec<_> = (0..slot::NAME_WORDS).map(|word| self.get(slot::NAME + word)).collect();
        let name = text::load(&words, slot::NAME_WORDS * 8);
        name.trim_end_matches('\0').to_owned()
    }

    /// Notes what the stack of its thread can be taken by.
    pub(crate) fn enrol(self, thread: u64) {
        self.words[slot::ENROLLED].store(thread, Ordering::Release);
    }

    /// What the stack of its thread can be taken by; 0 for not at all.
    pub(crate) fn enrolled(self) -> u64 {
        self.words[slot::ENROLLED].load(Ordering::Acquire)
    }

    /// Gives it back.
    pub(crate) fn release(self) {
        // It may be released from within a scope, whose thread ends.
        let over = (self.get(slot::TURN) | slot::DEPTH).wrapping_add(1);
        self.words[slot::TURN].store(over, Ordering::Release);
        // Whoever sees any of what follows sees that.
        fence(Ordering::Release);
        self.enrol(0);
        self.reads(0);
        self.set(slot::FLAGS, 0);
        // What it worked on is not what the next thread here has worked on.
        self.write_line(slot::CURRENT, Entry::IDLE, 0);
        self.set(slot::RING_HEAD, 0);
        for word in &self.words[slot::RING..] {
            word.store(0, Ordering::Relaxed);
        }
        self.words[slot::OWNER].store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    fn slot() -> (Slot, &'static AtomicU64) {
        let words: &[AtomicU64] = (0..=SLOT_WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
        let (clock, words) = words.split_first().expect("a word");
        (Slot::new(words.first_chunk().expect("as many as there are"), clock), clock)
    }

    #[test]
    fn the_scope_around_a_nested_one_is_as_old_as_it_was() {
        let (slot, clock) = slot();
        let outer = Entry { compartment: 7, activity: 1 };
        let since = || slot.get(slot::CURRENT + line::SINCE);
        clock.store(5, Ordering::Relaxed);
        slot.enter(outer);
        clock.store(9, Ordering::Relaxed);
        slot.enter(Entry { compartment: 8, activity: 2 });
        assert_eq!(since(), 9);
        slot.leave(outer);
        assert_eq!(since(), 5);
    }

    #[test]
    fn work_for_nobody_is_nobodys_and_no_part_of_the_past() {
        let (slot, _) = slot();
        slot.enter(Entry { compartment: 7, activity: 1 });
        slot.leave(Entry::IDLE);
        slot.enter(Entry::IDLE);
        assert_eq!(slot.read(), None);
        slot.leave(Entry::IDLE);
        assert_eq!(slot.get(slot::RING_HEAD), 1);
    }
}
