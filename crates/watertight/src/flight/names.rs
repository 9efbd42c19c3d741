//! What keys and numbers stand for.

use std::collections::{HashMap, HashSet};
use std::io;

use super::raw::RawLine;
use super::read::{Memory, Table};
use super::{Line, Name, Person};
use crate::activity::ActivityKind;
use crate::board::layout::{activity, person};
use crate::board::{hash_of, text};
use crate::identity::Identity;

/// How many words of connections are read at once.
const CHUNK: usize = 4096;

pub(super) struct Names<'a, M: ?Sized> {
    memory: &'a M,
    activities: Table,
    people: HashMap<u64, Person>,
}

/// A connection's row, before it is known how many others come from its address.
struct Row {
    at: usize,
    version: u64,
    address: u64,
    person: Person,
}

impl<'a, M: Memory + ?Sized> Names<'a, M> {
    /// With the `wanted` connections. So many are `nameless`: nobody knows where they came from.
    pub(super) fn look_up(
        memory: &'a M,
        activities: Table,
        people: Table,
        wanted: &HashSet<u64>,
        nameless: usize,
    ) -> io::Result<Self> {
        let rows = rows_of(memory, people, wanted)?;
        let others = others(memory, people, rows.iter().map(|row| row.address))?;
        let people = rows.into_iter().map(|Row { address, mut person, .. }| {
            // It is one of them itself.
            let same = others.get(&address).map_or(0, |count| count.saturating_sub(1));
            person.others = same.saturating_add(nameless);
            (person.key, person)
        });
        Ok(Self { memory, activities, people: people.collect() })
    }

    pub(super) fn line(&self, raw: RawLine) -> io::Result<Line> {
        let RawLine { compartment, activity, since_ms, .. } = raw;
        Ok(Line { person: self.person(compartment), activity: self.activity(activity)?, since_ms })
    }

    pub(super) fn person(&self, key: u64) -> Person {
        let unknown = || Person { key, session: None, identity: None, others: 0 };
        self.people.get(&key).cloned().unwrap_or_else(unknown)
    }

    fn activity(&self, number: u32) -> io::Result<Option<Name>> {
        if number == 0 {
            return Ok(None);
        }
        let at = self.activities.at(number as usize % self.activities.rows);
        let mut row = vec![0; self.activities.words];
        self.memory.read(at, &mut row)?;
        let mut after = [0];
        self.memory.read(at + activity::NUMBER, &mut after)?;
        // It must be this one's before and after: another may take its place meanwhile.
        if [row[activity::NUMBER], after[0]] != [u64::from(number); 2] {
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

/// The rows of the connections with these keys, one for each.
fn rows_of(memory: &(impl Memory + ?Sized), table: Table, wanted: &HashSet<u64>) -> io::Result<Vec<Row>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut found: HashMap<u64, Row> = HashMap::new();
    each_row(memory, table, |at, words| {
        if wanted.contains(&words[person::KEY])
            && let Some(row) = row_of(at, words)
        {
            found.insert(words[person::KEY], row);
        }
    })?;
    let mut rows: Vec<_> = found.into_values().collect();
    let mut failed = Ok(());
    rows.retain(|row| match is_still(memory, row) {
        Ok(is) => is,
        Err(error) => {
            failed = Err(error);
            false
        }
    });
    failed.map(|()| rows)
}

/// Whether a row says what it said before: it may have become another's while it was read.
fn is_still(memory: &(impl Memory + ?Sized), row: &Row) -> io::Result<bool> {
    let mut words = [0; person::VERSION + 1];
    memory.read(row.at, &mut words)?;
    Ok((words[person::KEY], words[person::VERSION]) == (row.person.key, row.version))
}

/// How many connections come from each of these addresses.
fn others(
    memory: &(impl Memory + ?Sized),
    table: Table,
    addresses: impl Iterator<Item = u64>,
) -> io::Result<HashMap<u64, usize>> {
    let mut counts: HashMap<u64, usize> =
        addresses.filter(|address| *address != 0).map(|address| (address, 0)).collect();
    if !counts.is_empty() {
        each_row(memory, table, |_, words| {
            if let Some(count) = counts.get_mut(&words[person::ADDRESS_HASH])
                && words[person::KEY] != 0
            {
                *count += 1;
            }
        })?;
    }
    Ok(counts)
}

fn each_row(
    memory: &(impl Memory + ?Sized),
    table: Table,
    mut each: impl FnMut(usize, &[u64]),
) -> io::Result<()> {
    let at_once = (CHUNK / table.words).clamp(1, table.rows);
    let mut chunk = vec![0; at_once * table.words];
    for first in (0..table.rows).step_by(at_once) {
        let rows = at_once.min(table.rows - first);
        let words = &mut chunk[..rows * table.words];
        memory.read(table.at(first), words)?;
        for (row, words) in words.chunks_exact(table.words).enumerate() {
            each(table.at(first + row), words);
        }
    }
    Ok(())
}

/// Who stands in a row; `None` while that is being written.
fn row_of(at: usize, row: &[u64]) -> Option<Row> {
    let version = row[person::VERSION];
    if !version.is_multiple_of(2) {
        return None;
    }
    let [session, identity, cut, _, a, b, c, d] = row[person::FORM].to_le_bytes();
    let session = text::load(&row[person::SESSION..][..person::SESSION_WORDS], usize::from(session));
    let identity = text::load(&row[person::IDENTITY..], usize::from(identity));
    // Whoever is not quite whom the hash says is nobody.
    let is_whole = hash_of(&identity).to_le_bytes()[..4] == [a, b, c, d];
    let known = !identity.is_empty() && is_whole;
    let session = match (session.is_empty(), cut) {
        (true, _) => None,
        (false, 0) => Some(session),
        (false, _) => Some(format!("{session}…")),
    };
    let identity = known.then(|| identity.parse::<Identity>().ok()).flatten();
    let person = Person { key: row[person::KEY], session, identity, others: 0 };
    Some(Row { at, version, address: row[person::ADDRESS_HASH], person })
}
