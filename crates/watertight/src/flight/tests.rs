use proptest::prelude::*;

use super::*;
use crate::board::layout::{
    ACTIVITIES, ACTIVITY_WORDS, HEADER_WORDS, MAGIC, PEOPLE, PERSON_WORDS, SLOT_WORDS, SLOTS, VERSION,
    header, line, slot,
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
        words[at + scope + line::ACTIVITY] = 1 << 32;
    }
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
    assert!(unreadable(&words).contains("version 2"), "{}", unreadable(&words));
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
