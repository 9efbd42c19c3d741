//! Reading a board that nobody vouches for.

use std::collections::{HashMap, HashSet};
use std::io;

use super::{Crash, Line, Name, Now, Person, Record, Thread};
use crate::activity::ActivityKind;
use crate::board::layout::{HEADER_WORDS, MAGIC, VERSION, activity, header, line, person, slot};
use crate::board::{hash_of, text};
use crate::identity::Identity;

/// The most of anything that a board of any build may have: more is garbage.
const MOST: usize = 1 << 20;
/// The most words that one of them may have.
const WIDEST: usize = 1 << 10;
/// How many words of connections are read at once.
const CHUNK: usize = 4096;

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
struct Table {
    begins: usize,
    rows: usize,
    words: usize,
}

struct Tables {
    slots: Table,
    activities: Table,
    people: Table,
}

/// A slot as it was read, before anything is looked up.
struct RawThread {
    words: Vec<u64>,
}

#[derive(Clone, Copy)]
struct RawLine {
    compartment: u64,
    activity: u32,
    depth: u32,
    since_ms: u64,
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
        let raw = raw_threads(memory, tables.slots, head[header::USED])?;
        let lines = raw.iter().flat_map(RawThread::lines);
        let wanted: HashSet<u64> = lines
            .map(|line| line.compartment)
            .chain(raw.iter().map(RawThread::reading))
            .filter(|key| *key != 0)
            .collect();
        let names =
            Names { memory, activities: tables.activities, people: people(memory, tables.people, &wanted)? };
        let threads = raw.iter().map(|raw| raw.named(&names)).collect::<io::Result<_>>()?;
        Ok(Self {
            process: u32::try_from(head[header::PROCESS]).unwrap_or(0),
            clock_ms: head[header::CLOCK],
            answers: head[header::ANSWERS],
            crash: Crash::read(&head),
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
    /// At most 2^31, so nothing overflows.
    fn ends(self) -> usize {
        self.begins + self.rows * self.words
    }

    fn at(self, row: usize) -> usize {
        self.begins + row * self.words
    }
}

fn raw_threads(memory: &(impl Memory + ?Sized), table: Table, used: u64) -> io::Result<Vec<RawThread>> {
    let used = usize::try_from(used).unwrap_or(table.rows).min(table.rows);
    let mut threads = Vec::new();
    for row in 0..used {
        let mut words = vec![0; table.words];
        memory.read(table.at(row), &mut words)?;
        let mut after = vec![0; slot::VERSION + 1];
        memory.read(table.at(row), &mut after)?;
        if words[slot::VERSION] != after[slot::VERSION] {
            // Odd: torn.
            words[slot::VERSION] |= 1;
        }
        if words[slot::OWNER] != 0 {
            threads.push(RawThread { words });
        }
    }
    Ok(threads)
}

impl RawThread {
    fn line(&self, at: usize) -> Option<RawLine> {
        let words = self.words.get(at..at.checked_add(line::WORDS)?)?;
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
        let line = RawLine {
            compartment: words[line::COMPARTMENT],
            activity: words[line::ACTIVITY] as u32,
            depth: (words[line::ACTIVITY] >> 32) as u32,
            since_ms: words[line::SINCE],
        };
        (line.compartment != 0).then_some(line)
    }

    fn is_torn(&self) -> bool {
        !self.words[slot::VERSION].is_multiple_of(2)
    }

    fn current(&self) -> Option<RawLine> {
        self.line(slot::CURRENT).filter(|_| !self.is_torn())
    }

    fn outermost(&self) -> Option<RawLine> {
        self.line(slot::OUTERMOST).filter(|_| !self.is_torn())
    }

    fn reading(&self) -> u64 {
        self.words[slot::READING]
    }

    /// The ring, the latest first.
    fn ring(&self) -> impl Iterator<Item = RawLine> {
        let lines = (self.words.len() - slot::RING) / line::WORDS;
        let head = self.words[slot::RING_HEAD];
        // While the latest line is being written, the one that it replaces is neither.
        let whole = if self.is_torn() { lines.saturating_sub(1) } else { lines };
        let known = usize::try_from(head).unwrap_or(whole).min(whole);
        (1..=known as u64).filter_map(move |back| {
            let place = usize::try_from(head.wrapping_sub(back) % lines as u64).ok()?;
            self.line(slot::RING + place * line::WORDS)
        })
    }

    fn lines(&self) -> impl Iterator<Item = RawLine> {
        self.current().into_iter().chain(self.outermost()).chain(self.ring())
    }

    fn named<M: Memory + ?Sized>(&self, names: &Names<'_, M>) -> io::Result<Thread> {
        let name = text::load(&self.words[slot::NAME..][..slot::NAME_WORDS], slot::NAME_WORDS * 8);
        let now = match (self.is_torn(), self.current(), self.outermost()) {
            (true, ..) => Now::Torn,
            (_, None, _) => Now::Idle,
            (_, Some(current), outermost) => Now::Scope {
                current: names.line(current)?,
                outermost: names.line(outermost.unwrap_or(current))?,
                depth: current.depth,
            },
        };
        let reading = Some(self.reading()).filter(|key| *key != 0).map(|key| names.person(key));
        let flags = self.words[slot::FLAGS];
        Ok(Thread {
            id: self.words[slot::OWNER],
            name: name.trim_end_matches('\0').to_owned(),
            lane: flags & slot::LANE != 0,
            blocking: flags & slot::UNWATCHED != 0,
            now,
            reading,
            last: self.ring().map(|line| names.line(line)).collect::<io::Result<_>>()?,
        })
    }
}

/// What keys and numbers stand for.
struct Names<'a, M: ?Sized> {
    memory: &'a M,
    activities: Table,
    people: HashMap<u64, Person>,
}

impl<M: Memory + ?Sized> Names<'_, M> {
    fn line(&self, raw: RawLine) -> io::Result<Line> {
        let RawLine { compartment, activity, depth: _, since_ms } = raw;
        Ok(Line { person: self.person(compartment), activity: self.activity(activity)?, since_ms })
    }

    fn person(&self, key: u64) -> Person {
        let unknown = || Person { key, session: None, identity: None, others: 0 };
        self.people.get(&key).cloned().unwrap_or_else(unknown)
    }

    fn activity(&self, number: u32) -> io::Result<Option<Name>> {
        if number == 0 {
            return Ok(None);
        }
        let mut row = vec![0; self.activities.words];
        self.memory.read(self.activities.at(number as usize % self.activities.rows), &mut row)?;
        if row[activity::NUMBER] != u64::from(number) {
            return Ok(None);
        }
        let [kind, namespace, name, cut, ..] = row[activity::FORM].to_le_bytes();
        let (namespace, name) = (usize::from(namespace), usize::from(name));
        let both = text::load(&row[activity::TEXT..], namespace + name);
        let Some(kind) = ActivityKind::by_number(kind) else { return Ok(None) };
        Ok(both.split_at_checked(namespace).map(|(namespace, name)| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Name { kind, namespace, name, cut: cut != 0 }
        }))
    }
}

/// The connections with these keys.
fn people(
    memory: &(impl Memory + ?Sized),
    table: Table,
    wanted: &HashSet<u64>,
) -> io::Result<HashMap<u64, Person>> {
    let mut found: HashMap<u64, (Person, u64)> = HashMap::new();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    each_row(memory, table, |row| {
        if wanted.contains(&row[person::KEY])
            && let Some(person) = person_of(row)
        {
            found.insert(row[person::KEY], (person, row[person::IDENTITY_HASH]));
        }
    })?;
    let mut others: HashMap<u64, usize> =
        found.values().map(|(_, hash)| (*hash, 0)).filter(|(hash, _)| *hash != 0).collect();
    each_row(memory, table, |row| {
        if let Some(count) = others.get_mut(&row[person::IDENTITY_HASH])
            && row[person::KEY] != 0
        {
            *count += 1;
        }
    })?;
    let counted = found.into_iter().map(|(key, (mut person, hash))| {
        // It is one of them itself.
        person.others = others.get(&hash).map_or(0, |count| count.saturating_sub(1));
        (key, person)
    });
    Ok(counted.collect())
}

fn each_row(memory: &(impl Memory + ?Sized), table: Table, mut each: impl FnMut(&[u64])) -> io::Result<()> {
    let at_once = (CHUNK / table.words).max(1);
    let mut chunk = vec![0; at_once * table.words];
    for first in (0..table.rows).step_by(at_once) {
        let rows = at_once.min(table.rows - first);
        let words = &mut chunk[..rows * table.words];
        memory.read(table.at(first), words)?;
        words.chunks_exact(table.words).for_each(&mut each);
    }
    Ok(())
}

/// Who stands in a row; `None` while that is being written.
fn person_of(row: &[u64]) -> Option<Person> {
    if !row[person::VERSION].is_multiple_of(2) {
        return None;
    }
    let [session, identity, cut, ..] = row[person::FORM].to_le_bytes();
    let session = text::load(&row[person::SESSION..][..person::SESSION_WORDS], usize::from(session));
    let identity = text::load(&row[person::IDENTITY..], usize::from(identity));
    // Whoever is not quite whom the hash says is nobody.
    let known = !identity.is_empty() && hash_of(&identity) == row[person::IDENTITY_HASH];
    let session = match (session.is_empty(), cut) {
        (true, _) => None,
        (false, 0) => Some(session),
        (false, _) => Some(format!("{session}…")),
    };
    let identity = known.then(|| identity.parse::<Identity>().ok()).flatten();
    Some(Person { key: row[person::KEY], session, identity, others: 0 })
}
