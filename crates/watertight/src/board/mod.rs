//! The board: what each thread works on right now, readable from other threads, and after the death of the process when
//! it was given memory that outlives that.
//!
//! Every thread that enters scopes owns one slot. Whenever its current scope changes it says so there, with the compartment's
//! key and the activity's number: a few stores, no lock, no clock. Whoever wants to know for how long a
//! thread has not come back to its executor looks twice. Beside the slots, on a board that outlives the process, stand the
//! names: what each activity is called, and who each connection is.

mod activities;
pub(crate) mod layout;
mod people;
mod slot;
pub(crate) mod text;

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64 as Counter;
use std::time::Instant;

pub(crate) use self::activities::write as write_activity;
use self::layout::{
    ACTIVITIES, ACTIVITY_WORDS, ALL_WORDS, HEADER_WORDS, MAGIC, PEOPLE, PERSON_WORDS, SLOT_WORDS, SLOTS,
    VERSION, header,
};
pub(crate) use self::people::{Person, hash_of};
pub(crate) use self::slot::{Entry, Look, Slot};
use crate::recorder::Recorder;
use crate::sync::{AtomicU64, Ordering};

/// Of a cache line, with the one that the processor may fetch together with it.
const LINE_WORDS: usize = 16;

static BOARD: OnceLock<Board> = OnceLock::new();

pub(crate) struct Board {
    header: &'static [AtomicU64],
    slots: Vec<Slot>,
    /// Empty when the board dies with the process.
    activities: &'static [AtomicU64],
    /// As above.
    people: &'static [AtomicU64],
    recorder: Option<Box<dyn Recorder>>,
    started: Instant,
}

impl Board {
    /// One in memory of this process.
    fn new() -> Self {
        const WORDS: usize = HEADER_WORDS + SLOTS * SLOT_WORDS;
        let words: Vec<_> = (0..WORDS + LINE_WORDS).map(|_| AtomicU64::new(0)).collect();
        let words = words.leak();
        // Else the end of each slot would be in one cache line with what its neighbour writes at every poll.
        let begin = words.as_ptr().align_offset(8 * LINE_WORDS).min(LINE_WORDS);
        Self::at(&words[begin..begin + WORDS], None)
    }

    /// One in `words`, which are of zeros.
    fn at(words: &'static [AtomicU64], recorder: Option<Box<dyn Recorder>>) -> Self {
        let (header, rest) = words.split_at(HEADER_WORDS.min(words.len()));
        let (slots, rest) = rest.split_at((SLOTS * SLOT_WORDS).min(rest.len()));
        let (activities, people) = rest.split_at((ACTIVITIES * ACTIVITY_WORDS).min(rest.len()));
        let clock = &header[header::CLOCK];
        let slots = slots.as_chunks::<SLOT_WORDS>().0.iter().map(|words| Slot::new(words, clock)).collect();
        Self { header, slots, activities, people, recorder, started: Instant::now() }
    }

    /// The one of this process.
    pub(crate) fn global() -> &'static Self {
        BOARD.get_or_init(Self::new)
    }

    /// Takes the recorder's memory for the one of this process; `false` when there is one already, or too little memory.
    #[cfg(not(watertight_loom))]
    pub(crate) fn record(recorder: Box<dyn Recorder>) -> bool {
        let words = recorder.words();
        if words.len() < ALL_WORDS {
            return false;
        }
        let mut recorder = Some(recorder);
        let board = BOARD.get_or_init(|| Self::at(&words[..ALL_WORDS], recorder.take()));
        let taken = recorder.is_none();
        if taken {
            board.sign();
        }
        taken
    }

    /// Nothing of this process outlives it in the models.
    #[cfg(watertight_loom)]
    pub(crate) fn record(_: Box<dyn Recorder>) -> bool {
        let _ = (ALL_WORDS, Self::sign);
        false
    }

    /// Says what it is, for whoever reads it when this process is dead.
    fn sign(&self) {
        let sizes = [SLOTS, SLOT_WORDS, ACTIVITIES, ACTIVITY_WORDS, PEOPLE, PERSON_WORDS];
        for (word, size) in self.header[header::SLOTS..].iter().zip(sizes) {
            word.store(size as u64, Ordering::Relaxed);
        }
        self.header[header::PROCESS].store(u64::from(std::process::id()), Ordering::Relaxed);
        self.header[header::VERSION].store(VERSION, Ordering::Relaxed);
        self.header[header::MAGIC].store(MAGIC, Ordering::Release);
    }

    /// A slot for the calling thread; `None` when all are taken. Give it back with [`Slot::release`].
    pub(crate) fn claim(&self) -> Option<Slot> {
        let thread = self.thread();
        let (index, slot) = self.slots.iter().enumerate().find(|(_, slot)| slot.claim(thread))?;
        self.header[header::USED].fetch_max(index as u64 + 1, Ordering::Release);
        Some(*slot)
    }

    /// What the calling thread is known by.
    fn thread(&self) -> u64 {
        static NEXT: Counter = Counter::new(1);
        let known = self.recorder.as_ref().map(|recorder| recorder.thread());
        known.filter(|thread| *thread != 0).unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether some thread that is to return soon works for this compartment right now.
    pub(crate) fn works_for(&self, compartment: u64) -> bool {
        let works = |look: Look| [look.current, look.outermost].iter().any(|e| e.compartment == compartment);
        self.slots().iter().any(|slot| slot.is_watched() && slot.read().is_some_and(works))
    }

    /// The slots that have ever been used, each at an index that it keeps.
    pub(crate) fn slots(&self) -> &[Slot] {
        let used = self.header[header::USED].load(Ordering::Acquire);
        &self.slots[..usize::try_from(used).unwrap_or(SLOTS).min(self.slots.len())]
    }

    /// Sets the clock of the entries.
    pub(crate) fn tick(&self, now: Instant) {
        let since = now.saturating_duration_since(self.started).as_millis();
        self.header[header::CLOCK].store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The clock of the entries.
    #[inline]
    pub(crate) fn clock(&self) -> u64 {
        self.header[header::CLOCK].load(Ordering::Relaxed)
    }

    /// Whether it outlives the process.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// Notes that the runtimes answer.
    pub(crate) fn answered(&self) {
        self.header[header::ANSWERS].fetch_add(1, Ordering::Relaxed);
    }

    /// The rows of activities, when there are any.
    pub(crate) fn activities() -> Option<&'static [AtomicU64]> {
        let board = BOARD.get()?;
        Some(board.activities).filter(|rows| !rows.is_empty())
    }

    /// The one of this process, when it has rows of connections.
    fn recorded() -> Option<&'static Self> {
        BOARD.get().filter(|board| !board.people.is_empty())
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::layout::slot as slot_of;
    use super::*;

    #[test]
    fn says_what_was_written() {
        let board = Board::new();
        let slot = board.claim().expect("a slot");
        assert_eq!(slot.read(), None);
        let outer = Entry { compartment: 7, activity: 1 };
        slot.enter(outer);
        let first = slot.read().expect("an entry");
        assert_eq!((first.current, first.outermost), (outer, outer));
        assert_eq!(slot.read(), Some(first), "nothing has changed");
        let inner = Entry { compartment: 8, activity: 2 };
        slot.enter(inner);
        let nested = slot.read().expect("an entry");
        assert_eq!((nested.current, nested.outermost), (inner, outer));
        assert_eq!(nested.turn, first.turn, "a nested scope is the same turn");
        assert_ne!(nested.step, first.step, "and another step");
        slot.enter(outer);
        let deeper = slot.read().expect("an entry");
        assert_eq!((deeper.current, deeper.outermost), (outer, outer));
        slot.leave(inner);
        let back = slot.read().expect("an entry");
        assert_eq!((back.current, back.outermost), (inner, outer));
        assert_ne!(back.step, nested.step, "the same again is another step");
        slot.leave(outer);
        let back = slot.read().expect("an entry");
        assert_eq!((back.current, back.outermost), (outer, outer));
        assert_eq!(back.turn, first.turn);
        assert_ne!(back.step, first.step, "as is the way back");
        slot.leave(Entry::IDLE);
        assert_eq!(slot.read(), None);
        slot.enter(outer);
        assert_ne!(slot.read().expect("an entry").turn, first.turn, "the same again is another turn");
        slot.leave(Entry::IDLE);
        slot.enter(inner);
        let other = slot.read().expect("an entry");
        assert_eq!((other.current, other.outermost), (inner, inner));
    }

    /// Else what is left of it would be taken for rows of names.
    #[test]
    fn one_that_dies_with_the_process_is_slots_only() {
        let board = Board::new();
        assert_eq!(board.slots.len(), SLOTS);
        assert!(board.activities.is_empty() && board.people.is_empty());
        assert!(board.header.as_ptr().addr().is_multiple_of(8 * LINE_WORDS), "slots share no cache line");
    }

    #[test]
    fn a_released_slot_is_taken_again() {
        let board = Board::new();
        let first = board.claim().expect("a slot");
        first.set_lane();
        for _ in 1..SLOTS {
            board.claim().expect("a slot");
        }
        assert!(board.claim().is_none(), "all are taken");
        first.enter(Entry { compartment: 7, activity: 1 });
        first.release();
        assert_eq!(first.read(), None);
        let again = board.claim().expect("the first again");
        assert!(!again.is_lane(), "without what was said of it");
        again.enter(Entry { compartment: 8, activity: 1 });
        assert!(again.read().is_some_and(|look| look.current == look.outermost));
        assert!(board.claim().is_none(), "and no other");
    }

    #[test]
    fn a_torn_entry_is_never_believed() {
        let board = Board::new();
        let slot = board.claim().expect("a slot");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 1..200_000_u32 {
                    slot.enter(Entry { compartment: u64::from(n), activity: n });
                    if n % 2 == 0 {
                        slot.enter(Entry { compartment: u64::from(n) + 1, activity: n + 1 });
                        slot.leave(Entry { compartment: u64::from(n), activity: n });
                    }
                    slot.leave(Entry::IDLE);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                if let Some(look) = slot.read() {
                    let Look { current, outermost, turn, step: _ } = look;
                    assert_eq!(u64::from(current.activity), current.compartment);
                    assert_eq!(u64::from(outermost.activity), outermost.compartment);
                    let number = turn / (slot_of::DEPTH + 1) + 1;
                    assert_eq!(outermost.compartment, number, "of this turn and no other");
                    assert!(current == outermost || current.compartment == number + 1);
                }
            }
        });
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use super::layout::slot as slot_of;
    use super::*;

    const ONE: Entry = Entry { compartment: 1, activity: 1 };
    const TWO: Entry = Entry { compartment: 2, activity: 2 };
    const THREE: Entry = Entry { compartment: 3, activity: 3 };

    /// Writes after `before`, while another thread reads, which `believes` or not. The reader is the thread that is spawned: of
    /// a thread that reads a word before it writes it, loom does not see that others read it too.
    fn reader_of(before: fn(Slot), writes: fn(Slot), believes: fn(Look)) {
        loom::model(move || {
            let words: Vec<_> = (0..HEADER_WORDS + SLOT_WORDS).map(|_| AtomicU64::new(0)).collect();
            let slot = *Board::at(words.leak(), None).slots.first().expect("a slot");
            before(slot);
            let reader = loom::thread::spawn(move || slot.read());
            writes(slot);
            if let Some(look) = reader.join().expect("no panic") {
                believes(look);
            }
        });
    }

    /// The number of the turn, from 1 on.
    fn turn(look: Look) -> u64 {
        look.turn / (slot_of::DEPTH + 1) + 1
    }

    #[test]
    fn a_reader_never_sees_two_entries_mixed() {
        let writes = |slot: Slot| {
            slot.enter(ONE);
            slot.leave(Entry::IDLE);
            slot.enter(TWO);
        };
        reader_of(
            |_| (),
            writes,
            |look| {
                let Look { current, outermost, .. } = look;
                assert_eq!(
                    (u64::from(current.activity), turn(look)),
                    (current.compartment, current.compartment)
                );
                assert_eq!(outermost, current);
            },
        );
    }

    #[test]
    fn nor_a_scope_and_the_one_around_it() {
        let writes = |slot: Slot| {
            slot.enter(TWO);
            slot.leave(ONE);
        };
        reader_of(
            |slot| slot.enter(ONE),
            writes,
            |look| {
                assert_eq!(look.outermost, ONE);
                assert!(look.current == ONE || look.current == TWO);
            },
        );
    }

    /// What is left of a nested scope is not the next turn's.
    #[test]
    fn nor_a_turn_and_the_one_after_it() {
        let before = |slot: Slot| {
            slot.enter(ONE);
            slot.enter(TWO);
        };
        let writes = |slot: Slot| {
            slot.leave(ONE);
            slot.leave(Entry::IDLE);
            slot.enter(THREE);
        };
        reader_of(before, writes, |look| {
            let seen = (look.current, look.outermost, turn(look));
            assert!([(TWO, ONE, 1), (ONE, ONE, 1), (THREE, THREE, 2)].contains(&seen), "{seen:?}");
        });
    }
}
