//! What was seen.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that was seen so long after the offence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct After {
    /// How long after it, in milliseconds.
    pub ms: f64,
    /// What it was.
    pub what: String,
}

impl After {
    /// `what`, after that time.
    pub fn new(after: Duration, what: String) -> Self {
        Self { ms: millis(after), what }
    }
}

/// What became of the offender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stayed to see.
    Watched(Watched),
    /// It was many, and all have left in good order.
    Left {
        /// Their ends of their connections.
        addresses: Vec<SocketAddr>,
    },
}

impl Fate {
    /// The offender's end of its connection; several when it was many.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Watched(watched) => &watched.addresses,
            Self::Left { addresses } => addresses,
        }
    }
}

/// What an offender experienced while it was watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Its end of the connection, and those of others who did the same at the same time.
    pub addresses: Vec<SocketAddr>,
    /// How long it was watched at most, in milliseconds.
    pub watched_ms: f64,
    /// The first that its server told it.
    pub told: Option<After>,
    /// The end of its connection.
    pub closed: Option<After>,
    /// Whether it was let into the namespace in the end.
    pub joined: bool,
    /// For how many echoes it asked.
    pub probes: u32,
    /// How many it got.
    pub echoes: u32,
}

impl Watched {
    /// Nothing yet.
    #[must_use]
    pub fn new(address: SocketAddr, watch: Duration) -> Self {
        let (addresses, watched_ms) = (vec![address], millis(watch));
        Self { addresses, watched_ms, told: None, closed: None, joined: false, probes: 0, echoes: 0 }
    }
}

/// What those experienced who did nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Others {
    /// How many they were.
    pub clients: usize,
    /// How many are connected in the end.
    pub connected: usize,
    /// How often one lost its connection.
    pub disconnects: u32,
    /// For how many echoes they asked since the offence.
    pub asked: u32,
    /// How many of those never came.
    pub lost: u32,
    /// The longest that one waited for an echo, through any disconnect; of one that never came, until the end.
    pub worst_ms: f64,
}

impl Others {
    /// Together with another one's.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            clients: self.clients + other.clients,
            connected: self.connected + other.connected,
            disconnects: self.disconnects + other.disconnects,
            asked: self.asked + other.asked,
            lost: self.lost + other.lost,
            worst_ms: self.worst_ms.max(other.worst_ms),
        }
    }
}

/// What the server's process did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its death: the name of the signal or its exit code.
    pub died: Option<After>,
    /// How workers ended, where the process is the supervisor of one.
    pub workers: Vec<After>,
    /// How long after the end of the first the next one served, in milliseconds.
    pub back: Option<f64>,
    /// The last that was printed before a death.
    pub last_words: Option<String>,
    /// How many of its threads have been running, or waiting for a processor, nearly all the time since the offence.
    pub spinning: usize,
    /// How much memory it took at most, over what it had before the offence.
    pub grown_mib: f64,
}

/// What the server recorded of a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// `panic`, `stall` and so on; of a death also how.
    pub fault: String,
    /// Where, from the crate's folder on.
    pub location: Option<String>,
    /// How it was traced.
    pub attribution: String,
    /// Whose connection it was traced to.
    pub whose: Whose,
    /// What was done.
    pub verdict: String,
}

/// Whose a fault was recorded to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// Nobody's.
    Nobodys,
    /// The offender's, or that of one of several.
    Offenders,
    /// That of somebody who did nothing.
    Anothers,
}

/// Everything that was seen of one scene in one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What became of the offender.
    pub offender: Fate,
    /// What the others noticed.
    pub others: Others,
    /// What the process did.
    pub process: Process,
    /// Where the server panicked, from the crate's folder on; each place once.
    pub panics: Vec<String>,
    /// What Watertight recorded; nothing where it does not run.
    pub recorded: Vec<Recorded>,
    /// How many sockets the server still has in the namespace beside those that are connected. `None` when it does
    /// not answer any more.
    pub left_behind: Option<usize>,
}

pub(crate) fn millis(duration: Duration) -> f64 {
    // To the microsecond: nothing here is measured better.
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
