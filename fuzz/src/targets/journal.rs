//! The journal, in whose file a process may have died at any point, or written anything.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use watertight::{Identity, Journal, Moment, Quarantine, Store};
use watertight_recorder::shared_journal;

use super::{MEMORY, Target};

pub(super) const TARGET: Target = Target {
    name: "journal",
    check,
    words: &[
        "\n",
        "{\"quarantined\":{\"identity\":\"user:1\",\"until_unix_ms\":1700000000000,\"level\":1,\"strikes\":1,\"reason\":\"\",\"incident\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}}",
        "{\"lifted\":\"user:1\"}",
        "{\"told\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}",
        "{\"death\":{",
        "\"culprits\":[",
        "\"activity\":{\"kind\":\"event\",\"namespace\":\"/\",\"name\":\"x\"},",
        "18446744073709551615",
        "-1",
        "null",
        "[[[[",
        "}}",
        "\\ud800",
        "é",
        "\0",
    ],
    memory: MEMORY + 128 * 1024,
};

/// It opens, whatever is in it, and what is written then is there the next time, with all that was known before.
fn check(bytes: &[u8]) {
    let mut file = shared_journal().expect("memory");
    file.write_all(bytes).expect("memory");
    let open = |file: &File| Journal::open(file.try_clone().expect("a descriptor")).expect("it can be read");
    let journal = open(&file);
    let (new, now) = (Identity::named("user:new"), Moment::now());
    let quarantine = Quarantine::default();
    quarantine.add(&new, Duration::from_secs(60), "", None, now).expect("it is on");
    journal.quarantined(&quarantine.entry(&new, now.instant).expect("it was added"));
    if let Some((death, _)) = journal.deaths().first() {
        journal.death_told(death.id);
    }
    let next = open(&file);
    assert_eq!(next.deaths(), journal.deaths());
    assert_eq!(next.damaged(), journal.damaged(), "what this process writes is whole");
    let identities = |journal: &Journal| {
        let mut all: Vec<_> = journal.quarantine().into_iter().map(|entry| entry.identity).collect();
        all.sort();
        all
    };
    assert_eq!(identities(&next), identities(&journal));
    assert!(identities(&next).contains(&new));
}
