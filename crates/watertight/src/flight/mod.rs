//! The flight recorder: the [board](crate::Recorder) as somebody else reads it, who was on which thread when the process
//! died.
//!
//! The process writes what each thread works on into memory that outlives it; a few stores for every poll. Its parent
//! reads that when it is dead, or wedged. Nothing in there is believed: every number is checked, half-written entries are
//! told as such, and memory full of garbage is an error or a record of nobody.
//!
//! The layout has a version and says its own sizes, so that a parent reads the board of a worker of another build.

mod crash;
mod names;
mod raw;
mod read;

use serde::Serialize;

pub use crash::{Crash, mark};
pub use read::{Memory, Unreadable};

use crate::activity::ActivityKind;
use crate::board::layout::ALL_WORDS;
use crate::identity::Identity;

/// How many words of eight bytes a [`Recorder`](crate::Recorder) must have.
pub const WORDS: usize = ALL_WORDS;

/// What a board says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The process that wrote it.
    pub process: u32,
    /// Its clock, in milliseconds: to see how old an entry is. It goes in steps of 10 ms, while the process is not
    /// stopped.
    pub clock_ms: u64,
    /// Grows while the runtimes of the process answer.
    pub answers: u64,
    /// How it died, if a signal's handler could still say so.
    pub crash: Option<Crash>,
    /// Its threads that have worked for connections, at most 1,024.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Thread {
    /// What the system knows it by.
    pub id: u64,
    /// Its name, at most 24 bytes of it.
    pub name: String,
    /// Whether it is one of the lanes'.
    pub lane: bool,
    /// Whether it may take as long as it likes: it does blocking work.
    pub blocking: bool,
    /// What it works on.
    pub now: Now,
    /// The connection whose bytes it has read and not made sense of yet, outside of any scope.
    pub reading: Option<Person>,
    /// The scopes that it was in last, the latest first: at most 15, and of all threads together 2,048 and those of the one
    /// that died.
    pub last: Vec<Line>,
}

/// What a thread works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there are as many as threads")]
pub enum Now {
    /// Nothing that concerns a connection.
    Idle,
    /// It was just about to change what it says, from one scope to another within: nobody knows.
    Torn,
    /// In a scope.
    Scope {
        /// The innermost scope.
        current: Line,
        /// The one that the turn began with.
        outermost: Line,
        /// How deep they are nested.
        depth: u32,
    },
}

/// A scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// For whom.
    pub person: Person,
    /// What on, where known.
    pub activity: Option<Name>,
    /// Since when, by the clock.
    pub since_ms: u64,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Person {
    /// The compartment's key.
    pub key: u64,
    /// The session's id, if it had one.
    pub session: Option<String>,
    /// Who it was, where known.
    pub identity: Option<Identity>,
    /// How many other connections came from the same address, as far as that says anything. Those count as well of whom
    /// nothing is known, because there was no room for their names.
    pub others: usize,
}

/// An activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Name {
    /// Its kind.
    pub kind: ActivityKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether there was no room for all of it.
    pub cut: bool,
}

impl Person {
    /// The name that clients and operators know it by, as [`Compartment::id`](crate::Compartment::id).
    #[must_use]
    pub fn id(&self) -> String {
        self.session.clone().unwrap_or_else(|| format!("connection-{}", self.key))
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests;
