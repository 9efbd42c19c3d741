//! What stands in a slot, before anything is looked up.

use std::io;

use super::names::Names;
use super::read::{Memory, Table};
use super::{Now, Thread};
use crate::board::layout::{line, slot};
use crate::board::text;

/// The most threads that are read: the reader has little memory, and a damaged board may seem to have any number.
const MOST_THREADS: usize = 1024;
/// The most scopes of the past that are read, of all threads together. Whoever died has all of its own besides.
const MOST_LAST: usize = 2048;
/// The most of one thread.
const RING: usize = slot::RING_LINES - 1;

/// A slot. What was being written is not in it.
pub(super) struct RawThread {
    id: u64,
    flags: u64,
    torn: bool,
    depth: u32,
    current: Option<RawLine>,
    outermost: Option<RawLine>,
    reading: u64,
    name: [u64; slot::NAME_WORDS],
    /// The latest first.
    ring: Vec<RawLine>,
}

#[derive(Clone, Copy)]
pub(super) struct RawLine {
    pub(super) compartment: u64,
    pub(super) activity: u32,
    pub(super) since_ms: u64,
}

/// The threads in the first `used` slots. `died` has all of its past, and others as long as there is room.
pub(super) fn raw_threads(
    memory: &(impl Memory + ?Sized),
    table: Table,
    used: u64,
    mut died: Option<u64>,
) -> io::Result<Vec<RawThread>> {
    let used = usize::try_from(used).unwrap_or(table.rows).min(table.rows);
    let (mut threads, mut room) = (Vec::new(), MOST_LAST);
    let mut words = vec![0; table.words];
    for row in 0..used {
        let torn = read_slot(memory, table.at(row), &mut words)?;
        let id = words[slot::OWNER];
        if id == 0 {
            continue;
        }
        let has_died = died.take_if(|died| *died == id).is_some();
        let most = if has_died { RING } else { room.min(RING) };
        let thread = RawThread::of(&words, torn, most);
        if !has_died {
            room -= thread.ring.len();
        }
        if threads.len() < MOST_THREADS || has_died {
            threads.push(thread);
        }
    }
    Ok(threads)
}

/// Fills `words` from a slot; answers whether its thread was writing meanwhile, or died while it did.
fn read_slot(memory: &(impl Memory + ?Sized), at: usize, words: &mut [u64]) -> io::Result<bool> {
    // In reads of their own: nobody says in which order one read copies its words.
    let changes = || -> io::Result<[u64; 3]> {
        let mut changes = [0; 3];
        for (word, at_word) in changes.iter_mut().zip([slot::VERSION, slot::TURN, slot::RING_HEAD]) {
            memory.read(at + at_word, std::slice::from_mut(word))?;
        }
        Ok(changes)
    };
    let before = changes()?;
    memory.read(at, words)?;
    let [version, ..] = before;
    Ok(before != changes()? || !version.is_multiple_of(2))
}

impl RawThread {
    fn of(words: &[u64], torn: bool, most: usize) -> Self {
        let mut name = [0; slot::NAME_WORDS];
        name.copy_from_slice(&words[slot::NAME..][..slot::NAME_WORDS]);
        let depth = (words[slot::TURN] & slot::DEPTH) as u32;
        let current = RawLine::at(words, slot::CURRENT).filter(|_| !torn && depth > 0);
        let outermost =
            if depth > 1 { RawLine::at(words, slot::OUTERMOST).filter(|_| !torn) } else { current };
        Self {
            id: words[slot::OWNER],
            flags: words[slot::FLAGS],
            torn,
            depth,
            current,
            outermost,
            reading: words[slot::READING],
            name,
            ring: ring(words).take(most).collect(),
        }
    }

    /// The keys of all whom it speaks of.
    pub(super) fn people(&self) -> impl Iterator<Item = u64> {
        let lines = self.current.iter().chain(&self.outermost).chain(&self.ring);
        lines.map(|line| line.compartment).chain([self.reading]).filter(|key| *key != 0)
    }

    pub(super) fn named<M: Memory + ?Sized>(&self, names: &Names<'_, M>) -> io::Result<Thread> {
        let Self { id, flags, torn, depth, current, outermost, reading, name, ring } = self;
        let now = match (torn, current, outermost) {
            (true, ..) => Now::Torn,
            (_, None, _) => Now::Idle,
            (_, Some(current), outermost) => Now::Scope {
                current: names.line(*current)?,
                outermost: names.line(outermost.unwrap_or(*current))?,
                depth: *depth,
            },
        };
        Ok(Thread {
            id: *id,
            name: text::load(name, slot::NAME_WORDS * 8).trim_end_matches('\0').to_owned(),
            lane: flags & slot::LANE != 0,
            blocking: flags & slot::UNWATCHED != 0,
            now,
            reading: Some(*reading).filter(|key| *key != 0).map(|key| names.person(key)),
            last: ring.iter().map(|line| names.line(*line)).collect::<io::Result<_>>()?,
        })
    }
}

/// The ring of a slot, the latest first. Into the place of the oldest the next one may be being written.
fn ring(words: &[u64]) -> impl Iterator<Item = RawLine> {
    let lines = (words.len() - slot::RING) / line::WORDS;
    let head = words[slot::RING_HEAD];
    let whole = lines.saturating_sub(1);
    let known = usize::try_from(head).unwrap_or(whole).min(whole);
    (1..=known as u64).filter_map(move |back| {
        let place = usize::try_from(head.wrapping_sub(back) % lines as u64).ok()?;
        RawLine::at(words, slot::RING + place * line::WORDS)
    })
}

impl RawLine {
    fn at(words: &[u64], at: usize) -> Option<Self> {
        let words = words.get(at..at.checked_add(line::WORDS)?)?;
        #[expect(clippy::cast_possible_truncation, reason = "the number is the low half")]
        let line = Self {
            compartment: words[line::COMPARTMENT],
            activity: words[line::ACTIVITY] as u32,
            since_ms: words[line::SINCE],
        };
        (line.compartment != 0).then_some(line)
    }
}
