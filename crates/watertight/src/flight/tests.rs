use proptest::prelude::*;

use std::cell::Cell;
use std::io;

use super::*;
use crate::board::hash_of;
use crate::board::layout::{
    ACTIVITIES, ACTIVITY_WORDS, HEADER_WORDS, MAGIC, PEOPLE, PERSON_WORDS, SLOT_WORDS, SLOTS, VERSION,
    header, line, person, slot,
};

/// The header of a board on which nothing was written.
fn empty() -> Vec<u64> {
    let mut words = vec![0; WORDS];
    let sizes = [SLOTS, SLOT_WORDS, ACTIVITIES, ACTIVITY_WORDS, PEOPLE, PERSON_WORDS];
    for (word, size) in words[header::SLOTS..].iter_mut().zip(sizes) {
        *word = size as u64;
    }
    words[header::VERSION] = VERSION;
    words[header::MAGIC] = MAGIC;
    words
}

/// A board with one thread, in a scope of compartment 7.
fn one() -> Vec<u64> {
    let mut words = empty();
    words[header::USED] = 1;
    let at = HEADER_WORDS;
    words[at + slot::OWNER] = 42;
    for scope in [slot::CURRENT, slot::OUTERMOST, slot::RING] {
        words[at + scope + line::COMPARTMENT] = 7;
    }
    words[at + slot::TURN] = 1;
    words[at + slot::RING_HEAD] = 1;
    words
}

fn read(words: &[u64]) -> Record {
    Record::read(words).expect("it is a board")
}

#[test]
fn what_is_no_board_is_said_to_be_none() {
    let unreadable = |words: &[u64]| Record::read(words).expect_err("nobody can read this").to_string();
    assert!(unreadable(&[]).contains("cannot be read"));
    assert!(unreadable(&[0; WORDS]).contains("not a board"));
    let mut words = empty();
    words[header::VERSION] = VERSION + 1;
    assert!(unreadable(&words).contains("version 3"), "{}", unreadable(&words));
    let mut words = empty();
    words[header::PEOPLE] = u64::MAX;
    assert!(unreadable(&words).contains("number of connections"));
    let mut words = one();
    words.truncate(HEADER_WORDS + 8);
    assert!(unreadable(&words).contains("cannot be read"));
}

#[test]
fn half_an_entry_is_not_believed() {
    let mut words = one();
    assert!(matches!(read(&words).threads[0].now, Now::Scope { .. }));
    words[HEADER_WORDS + slot::VERSION] = 3;
    let record = read(&words);
    assert_eq!(record.threads[0].now, Now::Torn);
    assert_eq!(record.threads[0].last.len(), 1, "what was complete before is still there");
}

#[test]
fn half_a_mark_is_not_believed() {
    let words: Vec<_> = empty().into_iter().map(std::sync::atomic::AtomicU64::new).collect();
    let copy =
        || words.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).collect::<Vec<_>>();
    let crash = Crash { thread: 42, signal: 11, code: 1, address: 0x1000, stack: 0x1800, sender: 0 };
    mark(&words, &crash);
    assert_eq!(read(&copy()).crash, Some(crash));
    mark(&words, &Crash { thread: 43, ..crash });
    assert_eq!(read(&copy()).crash, Some(crash), "whoever dies while another does is not the reason");
    words[header::CRASH].store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(read(&copy()).crash, None);
    mark(&[], &crash);
}

#[test]
fn a_thread_without_stack_is_told_from_a_wild_pointer() {
    let at =
        |address, code| Crash { thread: 1, signal: 11, code, address, stack: 0x7fff_0000_0000, sender: 0 };
    assert!(at(0x7ffe_ffff_f000, 2).is_stack_overflow());
    assert!(!at(0, 1).is_stack_overflow());
    assert!(!at(u64::MAX, 1).is_stack_overflow());
    assert!(!at(0x7ffe_ffff_f000, -6).is_stack_overflow(), "an abort is about no address");
}

#[test]
fn a_signal_from_anywhere_else_is_not_the_threads_own() {
    let crash = |code, sender| Crash { thread: 1, signal: 6, code, address: 0, stack: 0, sender };
    assert!(crash(1, 0).is_its_own(42), "its own instruction");
    assert!(crash(-6, 42).is_its_own(42), "it aborts");
    assert!(!crash(0, 43).is_its_own(42));
    assert!(!crash(0, 0).is_its_own(42), "from outside of the container");
    assert!(!crash(0, 0).is_its_own(0), "a board that does not say whose it is");
}

const PEOPLE_BEGIN: usize = HEADER_WORDS + SLOTS * SLOT_WORDS + ACTIVITIES * ACTIVITY_WORDS;

/// Writes down that the connection with this key is `user`, from `address`.
fn show(words: &mut [u64], row: usize, key: u64, user: &str, address: &str) {
    let row = &mut words[PEOPLE_BEGIN + row * PERSON_WORDS..][..PERSON_WORDS];
    row[person::KEY] = key;
    row[person::VERSION] = 2;
    row[person::ADDRESS_HASH] = hash_of(address);
    let [a, b, c, d, ..] = hash_of(user).to_le_bytes();
    row[person::FORM] = u64::from_le_bytes([0, user.len() as u8, 0, 0, a, b, c, d]);
    for (word, bytes) in row[person::IDENTITY..].iter_mut().zip(user.as_bytes().chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(padded);
    }
}

fn person_at_work(record: &Record) -> Person {
    let Now::Scope { current, .. } = &record.threads[0].now else { panic!("{:?}", record.threads) };
    current.person.clone()
}

#[test]
fn whoever_is_at_the_same_address_is_counted_and_so_is_whoever_has_no_row() {
    let mut words = one();
    show(&mut words, 9, 7, "user:eve", "203.0.113.7");
    show(&mut words, 0, 8, "user:a", "203.0.113.7");
    show(&mut words, 1, 9, "user:b", "203.0.113.8");
    let eve = person_at_work(&read(&words));
    assert_eq!((eve.identity, eve.others), (Some(Identity::named("user:eve")), 1));
    words[header::NAMELESS] = 3;
    assert_eq!(person_at_work(&read(&words)).others, 4);
    words[header::NAMELESS] = u64::MAX;
    assert_eq!(person_at_work(&read(&words)).others, usize::MAX);
}

#[test]
fn half_a_name_is_nobodys() {
    let mut words = one();
    show(&mut words, 9, 7, "user:eve", "203.0.113.7");
    words[PEOPLE_BEGIN + 9 * PERSON_WORDS + person::IDENTITY] ^= 1 << 32;
    assert_eq!(person_at_work(&read(&words)).identity, None, "its hash says so");
    show(&mut words, 9, 7, "user:eve", "203.0.113.7");
    words[PEOPLE_BEGIN + 9 * PERSON_WORDS + person::VERSION] = 3;
    assert_eq!(person_at_work(&read(&words)).identity, None);
}

/// A board whose process writes while it is read: from the given read of `at` on, that word is one greater.
struct Alive {
    words: Vec<u64>,
    at: usize,
    reads: Cell<usize>,
    changes_at: usize,
}

impl Alive {
    fn new(words: Vec<u64>, at: usize, changes_at: usize) -> Self {
        Self { words, at, reads: Cell::new(0), changes_at }
    }
}

impl Memory for Alive {
    fn read(&self, word: usize, into: &mut [u64]) -> io::Result<()> {
        self.words[..].read(word, into)?;
        if let Some(changing) = self.at.checked_sub(word).and_then(|at| into.get_mut(at)) {
            let reads = self.reads.get();
            self.reads.set(reads + 1);
            // Even again: it has been changed completely.
            *changing += if reads >= self.changes_at { 2 } else { 0 };
        }
        Ok(())
    }
}

#[test]
fn a_slot_that_changes_while_it_is_read_is_torn() {
    for word in [slot::VERSION, slot::TURN, slot::RING_HEAD] {
        for changes_at in 0..3 {
            let alive = Alive::new(one(), HEADER_WORDS + word, changes_at);
            let now = Record::read(&alive).expect("a board").threads.remove(0).now;
            assert_eq!(now == Now::Torn, changes_at > 0, "word {word} changes at the read {changes_at}");
        }
    }
}

#[test]
fn a_row_that_becomes_anothers_while_it_is_read_accuses_nobody() {
    let mut words = one();
    show(&mut words, 9, 7, "user:eve", "203.0.113.7");
    let row = PEOPLE_BEGIN + 9 * PERSON_WORDS;
    for at in [row + person::KEY, row + person::VERSION] {
        // Once to find it, once to see that it is still the same.
        let alive = Alive::new(words.clone(), at, 1);
        assert_eq!(person_at_work(&Record::read(&alive).expect("a board")).identity, None);
    }
    let alive = Alive::new(words, row + person::KEY, 9);
    assert!(person_at_work(&Record::read(&alive).expect("a board")).identity.is_some());
}

/// A damaged board, which seems to be full of threads with much to tell.
#[test]
fn there_is_an_end_to_what_is_read() {
    const ROWS: usize = 50_000;
    let width = slot::RING + slot::RING_LINES * line::WORDS;
    let mut words = empty();
    let sizes = [ROWS, width, 1, ACTIVITY_WORDS, 1, PERSON_WORDS];
    for (word, size) in words[header::SLOTS..].iter_mut().zip(sizes) {
        *word = size as u64;
    }
    words[header::USED] = u64::MAX;
    words.truncate(HEADER_WORDS);
    words.resize(HEADER_WORDS + ROWS * width + ACTIVITY_WORDS + PERSON_WORDS, 8);
    let at_the_end = HEADER_WORDS + (ROWS - 1) * width;
    words[at_the_end + slot::OWNER] = 42;
    let lines = |record: &Record| record.threads.iter().map(|thread| thread.last.len()).sum::<usize>();
    let record = read(&words);
    assert_eq!((record.threads.len(), lines(&record)), (1024, 2048));
    let marks =
        [(header::CRASH, 2), (header::CRASH_THREAD, 42), (header::CRASH_SIGNAL, 11), (header::CRASH_CODE, 1)];
    for (word, value) in marks {
        words[word] = value;
    }
    let record = read(&words);
    assert_eq!((record.threads.len(), lines(&record)), (1025, 2048 + 8));
    assert_eq!(record.threads.last().map(|thread| thread.id), Some(42), "the one that died is among them");
}

/// A board of the layout of a later build: wider rows.
#[test]
fn goes_by_the_sizes_in_the_header() {
    let mut words = one();
    let wide = SLOT_WORDS + 8;
    words[header::SLOT_WORDS] = wide as u64;
    words[header::SLOTS] = 2;
    words[header::USED] = 2;
    words[HEADER_WORDS + wide + slot::OWNER] = 43;
    let record = read(&words);
    assert_eq!(record.threads.iter().map(|thread| thread.id).collect::<Vec<_>>(), [42, 43]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever stands there: no panic, nothing endless, nothing beyond what there is.
    #[test]
    fn garbage_is_survived(
        sizes in prop::collection::vec(prop_oneof![0..2000_u64, any::<u64>()], 6),
        garbage in prop::collection::vec(prop_oneof![0..300_u64, any::<u64>()], 2000),
        used in prop_oneof![0..20_u64, any::<u64>()],
    ) {
        let mut words = vec![0; HEADER_WORDS];
        words[header::MAGIC] = MAGIC;
        words[header::VERSION] = VERSION;
        words[header::SLOTS..header::SLOTS + 6].copy_from_slice(&sizes);
        words[header::USED] = used;
        words.extend(garbage);
        let _ = Record::read(&words[..]);
    }

    #[test]
    fn garbage_in_a_sound_layout_is_survived(
        garbage in prop::collection::vec((0..WORDS, prop_oneof![0..300_u64, any::<u64>()]), 200),
    ) {
        let mut words = one();
        for (at, value) in garbage {
            // The sizes stay.
            if at >= header::CLOCK {
                words[at] = value;
            }
        }
        let record = read(&words);
        prop_assert!(record.threads.len() <= SLOTS);
    }
}
