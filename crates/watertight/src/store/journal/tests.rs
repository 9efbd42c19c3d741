use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::death::Exit;

/// A file of its own for each test, which goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("watertight-journal-{}-{}", std::process::id(), IncidentId::new());
        Self(std::env::temp_dir().join(name))
    }

    fn file(&self) -> File {
        OpenOptions::new().create(true).read(true).append(true).open(&self.0).expect("a file")
    }

    fn open(&self) -> Journal {
        Journal::open(self.file()).expect("it can be read")
    }

    fn write(&self, text: &[u8]) {
        std::fs::write(&self.0, text).expect("it can be written");
    }

    fn text(&self) -> Vec<u8> {
        std::fs::read(&self.0).expect("it can be read")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// To the millisecond, as it is stored.
fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn entry(name: &str, until: u64) -> Entry {
    Entry {
        identity: Identity::named(name),
        until: moment(until),
        level: 1,
        strikes: 2,
        reason: format!("a reason\n with lines and \"quotes\": {name}"),
        incident: IncidentId::new(),
    }
}

fn death(seconds: u64) -> Death {
    let mut exit = Exit::now(Duration::from_secs(60));
    (exit.time, exit.signal) = (moment(seconds), Some("SIGSEGV".to_owned()));
    Death::new(exit, None)
}

fn ids(journal: &Journal) -> Vec<(IncidentId, bool)> {
    journal.deaths().iter().map(|(death, told)| (death.id, *told)).collect()
}

fn names(journal: &Journal) -> Vec<String> {
    journal.quarantine().iter().map(|entry| entry.identity.to_string()).collect()
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let (place, lasting, lifted) = (Place::new(), entry("user:lasting", 10), entry("user:lifted", 20));
    let (first, second) = (death(1), death(2));
    let before = place.open();
    before.quarantined(&entry("user:lasting", 5));
    before.quarantined(&lifted);
    before.quarantined(&lasting);
    before.lifted(&lifted.identity);
    assert_eq!(before.quarantine(), std::slice::from_ref(&lasting), "at once");
    for death in [&first, &second] {
        Journal::append_death(&place.file(), death).expect("it is written");
    }
    drop(before);

    let next = place.open();
    assert_eq!(next.quarantine(), [lasting]);
    assert_eq!(next.deaths(), [(first.clone(), false), (second.clone(), false)]);
    next.death_told(first.id);
    assert_eq!(ids(&next), [(first.id, true), (second.id, false)]);
    next.death_told(IncidentId::new());
    assert_eq!(ids(&place.open()), ids(&next));
    assert_eq!(place.open().damaged(), 0);
}

#[test]
fn a_line_without_end_does_not_cost_the_next_one() {
    let (place, whole) = (Place::new(), death(1));
    Journal::append_death(&place.file(), &death(0)).expect("it is written");
    let mut text = place.text();
    text.truncate(text.len() - 20);
    place.write(&text);
    Journal::append_death(&place.file(), &whole).expect("it is written");
    let journal = place.open();
    assert_eq!((ids(&journal), journal.damaged()), (vec![(whole.id, false)], 1));
}

#[test]
fn damaged_lines_are_counted_and_left_out() {
    let (place, known) = (Place::new(), death(1));
    Journal::append_death(&place.file(), &known).expect("it is written");
    let mut text = b"{}\n\n  \n{\"unknown_thing\":1}\n\xff\xfe\0\n[[[[".to_vec();
    text.extend(place.text());
    text.extend(b"{\"death\":");
    place.write(&text);
    let journal = place.open();
    assert_eq!((ids(&journal), journal.damaged()), (vec![(known.id, false)], 5));
}

#[test]
fn a_huge_line_is_one_damaged_line() {
    let (place, known) = (Place::new(), death(1));
    place.write(&vec![b'['; MAX_LINE as usize * 3 + 100]);
    Journal::append_death(&place.file(), &known).expect("it is written");
    let journal = place.open();
    assert_eq!((ids(&journal), journal.damaged()), (vec![(known.id, false)], 1));
}

#[test]
fn a_death_that_was_written_twice_is_one() {
    let (place, twice) = (Place::new(), death(1));
    Journal::append_death(&place.file(), &twice).expect("it is written");
    place.open().death_told(twice.id);
    Journal::append_death(&place.file(), &twice).expect("it is written");
    assert_eq!(ids(&place.open()), [(twice.id, true)]);
}

#[test]
fn the_oldest_deaths_are_forgotten() {
    let place = Place::new();
    let deaths: Vec<_> = (0..MAX_DEATHS as u64 + 3).map(death).collect();
    for death in &deaths {
        Journal::append_death(&place.file(), death).expect("it is written");
    }
    let kept: Vec<_> = deaths[3..].iter().map(|death| (death.id, false)).collect();
    assert_eq!(ids(&place.open()), kept);
}

/// A parent and two workers have the same descriptor, and with it one position in the file.
#[test]
fn reading_does_not_mind_who_appends_meanwhile() {
    let place = Place::new();
    let shared = place.file();
    let writer = Journal::open(shared.try_clone().expect("the same")).expect("it can be read");
    for number in 0..200 {
        writer.quarantined(&entry(&format!("user:{number}"), number));
    }
    let lines = lines::of(&shared, MAX_LINE).inspect(|_| writer.lifted(&Identity::named("user:nobody")));
    let known = lines.take(200).filter(|line| {
        let line = serde_json::from_slice(line.as_ref().expect("it can be read"));
        matches!(line, Ok(Line::Quarantined(_)))
    });
    assert_eq!(known.count(), 200);
}

#[test]
fn two_who_write_at_once_lose_nothing() {
    let place = Place::new();
    let journals = [place.open(), place.open()];
    std::thread::scope(|threads| {
        for (which, journal) in journals.iter().enumerate() {
            threads.spawn(move || {
                for number in 0..200 {
                    journal.quarantined(&entry(&format!("user:{which}-{number}"), number));
                }
            });
        }
    });
    let journal = place.open();
    assert_eq!((names(&journal).len(), journal.damaged()), (400, 0));
}

#[test]
fn a_file_that_has_become_large_keeps_what_is_known() {
    const LIMIT: u64 = 16 * 1024;
    let place = Place::new();
    let journal = Journal::with_limit(place.file(), LIMIT).expect("it can be read");
    // Of others, which this process does not know of.
    let (death, theirs) = (death(1), entry("user:theirs", 9));
    Journal::append_death(&place.file(), &death).expect("it is written");
    let other = place.open();
    other.quarantined(&theirs);
    other.death_told(death.id);
    let mut largest = 0;
    for number in 0..2_000 {
        journal.quarantined(&entry(&format!("user:{}", number % 10), number));
        largest = largest.max(place.text().len() as u64);
    }
    assert!((LIMIT / 2..LIMIT).contains(&largest), "{largest}");
    let next = place.open();
    assert_eq!((next.damaged(), ids(&next)), (0, vec![(death.id, true)]));
    let mut known = names(&next);
    known.sort();
    let mut expected: Vec<_> = (0..10).map(|number| format!("user:{number}")).collect();
    expected.push("user:theirs".to_owned());
    expected.sort();
    assert_eq!(known, expected);
    assert!(next.quarantine().contains(&theirs));
}

/// When more is known than the limit allows, not every line writes the file anew.
#[test]
fn what_is_known_may_be_larger_than_the_limit() {
    let place = Place::new();
    let journal = Journal::with_limit(place.file(), 1024).expect("it can be read");
    let (mut anew, mut limit) = (0, 0);
    for number in 0..500 {
        journal.quarantined(&entry(&format!("user:{number}"), number));
        let before = std::mem::replace(&mut limit, journal.0.file.lock().limit);
        anew += usize::from(before != limit);
    }
    assert!(anew < 20, "it was written anew {anew} times");
    assert_eq!(names(&place.open()).len(), 500);
}

#[test]
fn a_file_that_cannot_be_written_loses_nothing_else() {
    let (place, death) = (Place::new(), death(1));
    Journal::append_death(&place.file(), &death).expect("it is written");
    let text = place.text();
    let journal = Journal::open(File::open(&place.0).expect("to be read only")).expect("it can be read");
    journal.quarantined(&entry("user:new", 9));
    journal.death_told(death.id);
    assert_eq!((names(&journal), ids(&journal)), (vec!["user:new".to_owned()], vec![(death.id, true)]));
    assert_eq!(place.text(), text);
    assert!(Journal::append_death(&File::open(&place.0).expect("to be read only"), &death).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in the file: it can be opened, and what is written then is there the next time.
    #[test]
    fn garbage_is_survived(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (place, known) = (Place::new(), entry("user:eve", 9));
        place.write(&garbage);
        place.open().quarantined(&known);
        prop_assert!(place.open().quarantine().contains(&known));
    }

    /// Cut anywhere, everything before the cut is there, and so is what follows.
    #[test]
    fn a_file_that_was_cut_keeps_the_rest(lines in 1..6_u64, cut in any::<prop::sample::Index>()) {
        let place = Place::new();
        let mut ends = Vec::new();
        for number in 0..lines {
            place.open().quarantined(&entry(&format!("user:{number}"), number));
            ends.push(place.text().len());
        }
        let text = place.text();
        let at = cut.index(text.len());
        place.write(&text[..at]);
        place.open().quarantined(&entry("user:next", 99));
        // The line is whole without the end that follows it.
        let whole = ends.iter().filter(|end| **end - 1 <= at).count();
        prop_assert_eq!(names(&place.open()).len(), whole + 1);
    }
}
