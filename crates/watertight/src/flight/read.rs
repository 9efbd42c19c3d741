//! Reading a board that nobody vouches for.

use std::collections::HashSet;
use std::io;

use super::names::Names;
use super::raw::{RawThread, raw_threads};
use super::{Crash, Record};
use crate::board::layout::{HEADER_WORDS, MAGIC, VERSION, activity, header, line, person, slot};

/// The most of anything that a board of any build may have: more is garbage.
const MOST: usize = 1 << 20;
/// The most words that one of them may have.
const WIDEST: usize = 1 << 10;

/// Where a board is read from.
pub trait Memory {
    /// Fills `into` from the word with this number on.
    ///
    /// # Errors
    ///
    /// When there are not that many words, or they cannot be read.
    fn read(&self, word: usize, into: &mut [u64]) -> io::Result<()>;
}

impl Memory for [u64] {
    fn read(&self, word: usize, into: &mut [u64]) -> io::Result<()> {
        let words = word.checked_add(into.len()).and_then(|end| self.get(word..end));
        into.copy_from_slice(words.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The process died before it had set the board up, or this is something else.
    #[error("this is not a board of threads, or nothing was ever written on it")]
    NoBoard,
    /// Another build's, whose words mean something else.
    #[error("the board has layout version {found}, and this build reads version {VERSION}")]
    Version {
        /// The version that it says.
        found: u64,
    },
    /// The header makes no sense.
    #[error("the board's header is damaged: {what} cannot be {value}")]
    Damaged {
        /// Which number.
        what: &'static str,
        /// What it says.
        value: u64,
    },
    /// It cannot be read.
    #[error("the board cannot be read")]
    Io(#[from] io::Error),
}

/// A table: where it begins, how many rows it has, and how many words each.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) begins: usize,
    pub(super) rows: usize,
    pub(super) words: usize,
}

struct Tables {
    slots: Table,
    activities: Table,
    people: Table,
}

impl Record {
    /// Reads a board. The process may be alive: what changes meanwhile is torn.
    ///
    /// # Errors
    ///
    /// When it is no board that this build can read.
    pub fn read(memory: &(impl Memory + ?Sized)) -> Result<Self, Unreadable> {
        let mut head = [0; HEADER_WORDS];
        memory.read(0, &mut head)?;
        let tables = Tables::of(&head)?;
        let crash = Crash::read(&head);
        let raw = raw_threads(memory, tables.slots, head[header::USED], crash.map(|crash| crash.thread))?;
        let wanted: HashSet<u64> = raw.iter().flat_map(RawThread::people).collect();
        let nameless = usize::try_from(head[header::NAMELESS]).unwrap_or(usize::MAX);
        let names = Names::look_up(memory, tables.activities, tables.people, &wanted, nameless)?;
        let threads = raw.iter().map(|raw| raw.named(&names)).collect::<io::Result<_>>()?;
        Ok(Self {
            process: u32::try_from(head[header::PROCESS]).unwrap_or(0),
            clock_ms: head[header::CLOCK],
            answers: head[header::ANSWERS],
            crash,
            threads,
        })
    }

    /// How often the runtimes of the process have answered, without reading the rest.
    ///
    /// # Errors
    ///
    /// When it is no board that this build can read.
    pub fn answers(memory: &(impl Memory + ?Sized)) -> Result<u64, Unreadable> {
        let mut head = [0; HEADER_WORDS];
        memory.read(0, &mut head)?;
        Tables::of(&head)?;
        Ok(head[header::ANSWERS])
    }
}

impl Tables {
    fn of(head: &[u64; HEADER_WORDS]) -> Result<Self, Unreadable> {
        match (head[header::MAGIC], head[header::VERSION]) {
            (MAGIC, VERSION) => {}
            (MAGIC, found) => return Err(Unreadable::Version { found }),
            _ => return Err(Unreadable::NoBoard),
        }
        let size = |word: usize, what: &'static str, least: usize, most: usize| {
            let value = head[word];
            let size = usize::try_from(value).ok().filter(|size| (least..=most).contains(size));
            size.ok_or(Unreadable::Damaged { what, value })
        };
        // Rows may have grown in a later build; what this one knows of them is in front.
        let slots = size(header::SLOTS, "the number of slots", 1, MOST)?;
        let slot_words = size(header::SLOT_WORDS, "the size of a slot", slot::RING + line::WORDS, WIDEST)?;
        let activities = size(header::ACTIVITIES, "the number of activities", 1, MOST)?;
        let activity_words =
            size(header::ACTIVITY_WORDS, "the size of an activity", activity::TEXT + 1, WIDEST)?;
        let people = size(header::PEOPLE, "the number of connections", 1, MOST)?;
        let person_words =
            size(header::PERSON_WORDS, "the size of a connection", person::IDENTITY + 1, WIDEST)?;
        let slots = Table { begins: HEADER_WORDS, rows: slots, words: slot_words };
        let activities = Table { begins: slots.ends(), rows: activities, words: activity_words };
        let people = Table { begins: activities.ends(), rows: people, words: person_words };
        Ok(Self { slots, activities, people })
    }
}

impl Table {
    /// At most 2^30 words further, so nothing overflows: there are three.
    fn ends(self) -> usize {
        self.begins + self.rows * self.words
    }

    pub(super) fn at(self, row: usize) -> usize {
        self.begins + row * self.words
    }
}
