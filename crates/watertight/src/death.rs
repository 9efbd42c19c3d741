//! The death of the process: whose work it was at.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::activity::{Activity, ActivityKind};
use crate::fault::Attribution;
use crate::flight::{Crash, Line, Name, Now, Person, Record, Thread};
use crate::identity::Identity;
use crate::incident::IncidentId;

/// How many suspects are named: beyond that everybody is one.
const MAX_SUSPECTS: usize = 64;
/// Who has held a thread for less than this does not hold up a server that has not answered for seconds. For one that has
/// not answered for a shorter time it is half of that: whoever holds it up does so since before.
const HELD: Duration = Duration::from_secs(1);

/// How the process ended, as its parent saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// When.
    pub time: SystemTime,
    /// How long it had run.
    pub uptime: Duration,
    /// The signal that ended it (`SIGSEGV`).
    pub signal: Option<String>,
    /// Its exit code, if no signal ended it.
    pub code: Option<i32>,
    /// Whether the kernel killed it because memory was short; `None` when that is not known.
    pub out_of_memory: Option<bool>,
    /// For how long it had not answered, if the parent ended it for that.
    pub wedged: Option<Duration>,
}

impl Exit {
    /// The end of a process now, after `uptime`. What else is known is for the caller to set.
    #[must_use]
    pub fn now(uptime: Duration) -> Self {
        let time = SystemTime::now();
        Self { time, uptime, signal: None, code: None, out_of_memory: None, wedged: None }
    }
}

/// In what manner the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Manner {
    /// A thread had no stack left.
    StackOverflow,
    /// A thread did what ends a process: it aborted, or accessed memory that is not there.
    Crash,
    /// The kernel killed it because memory was short.
    OutOfMemory,
    /// Somebody killed it.
    Killed,
    /// It did not answer any more, and was ended for that.
    Wedged,
    /// It ended by itself, with an exit code.
    Exited,
}

impl Manner {
    /// The stable word for it, as in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StackOverflow => "stack_overflow",
            Self::Crash => "crash",
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::Wedged => "wedged",
            Self::Exited => "exited",
        }
    }
}

/// A connection that a thread worked for when the process died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Culprit {
    /// The compartment's id: the session id of a Socket.IO client.
    pub id: String,
    /// Who it was, where known.
    pub identity: Option<Identity>,
    /// How many other connections may have come from the same address.
    pub others: usize,
    /// What on, where known.
    pub activity: Option<Activity>,
    /// The thread.
    pub thread: String,
    /// For how long, to within 20 ms.
    pub held_ms: u64,
}

/// The death of the process, and whose work it was at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Death {
    /// Its name: the id of the incident that it becomes.
    pub id: IncidentId,
    /// When. Serialised as milliseconds since 1970, UTC.
    #[serde(rename = "time_unix_ms", with = "crate::moment::unix_ms")]
    pub time: SystemTime,
    /// In what manner.
    pub manner: Manner,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Its exit code, if no signal ended it.
    pub exit_code: Option<i32>,
    /// The mark of the dying thread, if it could still leave one.
    pub crash: Option<Crash>,
    /// How long the process had run.
    pub uptime_ms: u64,
    /// How sure it is whose work that was.
    pub attribution: Attribution,
    /// Whose: one when the attribution is exact or the transport's, everybody who was at work when they are suspects.
    pub culprits: Vec<Culprit>,
    /// The name of the thread that died.
    pub thread: Option<String>,
    /// What that thread had worked on last, the latest first.
    pub last: Vec<String>,
    /// Where its minidump is, if one was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minidump: Option<String>,
}

impl Death {
    /// Finds out whose work the process was at when it ended so, from what its board says, if that can be read.
    #[must_use]
    pub fn new(exit: Exit, record: Option<&Record>) -> Self {
        let Exit { time, uptime, signal, code, out_of_memory, wedged } = exit;
        let crash = record.and_then(|record| record.crash.filter(|crash| crash.is_its_own(record.process)));
        // A signal that the parent sent marks whichever thread it hits, and who ended with an exit code did not die of any.
        let crash = crash.filter(|_| wedged.is_none() && code.is_none());
        let manner = match (&crash, &signal) {
            _ if wedged.is_some() => Manner::Wedged,
            (Some(crash), _) if crash.is_stack_overflow() => Manner::StackOverflow,
            (Some(_), _) => Manner::Crash,
            (None, Some(_)) if out_of_memory == Some(true) => Manner::OutOfMemory,
            (None, Some(_)) => Manner::Killed,
            (None, None) => Manner::Exited,
        };
        let mut death = Self {
            id: IncidentId::at(time),
            time,
            manner,
            signal,
            exit_code: code,
            crash,
            uptime_ms: millis(uptime),
            attribution: Attribution::Unattributed,
            culprits: Vec::new(),
            thread: None,
            last: Vec::new(),
            minidump: None,
        };
        if let Some(record) = record {
            match crash {
                Some(crash) => death.accuse(record, &crash),
                None => death.suspect(record, wedged),
            }
        }
        death
    }

    /// The thread that died is known.
    fn accuse(&mut self, record: &Record, crash: &Crash) {
        let Some(thread) = record.threads.iter().find(|thread| thread.id == crash.thread) else { return };
        self.thread = Some(thread.name.clone());
        self.last = thread.last.iter().map(describe).collect();
        if let Some((culprit, attribution)) = at_work(record, thread) {
            self.attribution = attribution;
            self.culprits.push(culprit);
        }
    }

    /// Nobody knows which thread it was, if any.
    fn suspect(&mut self, record: &Record, wedged: Option<Duration>) {
        // Blocking work may take as long as it likes: it holds no thread that others need.
        let threads = record.threads.iter().filter(|thread| !(wedged.is_some() && thread.blocking));
        let mut suspects: Vec<_> =
            threads.filter_map(|thread| at_work(record, thread)).map(|(who, _)| who).collect();
        if let Some(silent) = wedged {
            suspects.retain(|suspect| suspect.held_ms >= millis(HELD.min(silent / 2)));
        }
        suspects.sort_by_key(|suspect| std::cmp::Reverse(suspect.held_ms));
        // Whoever has a thread at an event and one that reads is one suspect, for the event: reading brought it.
        let is_transport = |suspect: &Culprit| {
            suspect.activity.as_ref().is_some_and(|activity| activity.kind() == ActivityKind::Transport)
        };
        let at_more: HashSet<_> = suspects
            .iter()
            .filter(|suspect| !is_transport(suspect))
            .map(|suspect| suspect.id.clone())
            .collect();
        suspects.retain(|suspect| !is_transport(suspect) || !at_more.contains(&suspect.id));
        let mut named = HashSet::new();
        // One who is at the same on several threads is one suspect, the longest of them.
        suspects.retain(|suspect| named.insert((suspect.id.clone(), suspect.activity.clone())));
        suspects.truncate(MAX_SUSPECTS);
        if !suspects.is_empty() {
            self.attribution = Attribution::Suspect;
        }
        self.culprits = suspects;
    }

    /// Whose work it was, when that is certain.
    #[must_use]
    pub fn culprit(&self) -> Option<&Culprit> {
        let certain = matches!(self.attribution, Attribution::Exact | Attribution::Transport);
        self.culprits.first().filter(|_| certain)
    }
}

/// Whom a thread worked for, and how sure that is.
fn at_work(record: &Record, thread: &Thread) -> Option<(Culprit, Attribution)> {
    let culprit = |person: &Person, activity: Option<Activity>, since: Option<u64>| Culprit {
        id: person.id(),
        identity: person.identity.clone(),
        others: person.others,
        activity,
        thread: thread.name.clone(),
        held_ms: since.map_or(0, |since| record.clock_ms.saturating_sub(since)),
    };
    match (&thread.now, &thread.reading) {
        (Now::Scope { current, outermost, .. }, _) => {
            let is_transport = current.activity.as_ref().is_some_and(|on| on.kind == ActivityKind::Transport);
            let attribution = if is_transport { Attribution::Transport } else { Attribution::Exact };
            let activity = current.activity.as_ref().and_then(activity_of);
            // A handler that enters scopes again and again has held its thread since the first.
            let since = current.since_ms.min(outermost.since_ms);
            Some((culprit(&current.person, activity, Some(since)), attribution))
        }
        (Now::Idle, Some(person)) => {
            Some((culprit(person, Some(Activity::transport()), None), Attribution::Transport))
        }
        (Now::Idle | Now::Torn, _) => None,
    }
}

/// The activity, unless only a part of its name is known.
fn activity_of(name: &Name) -> Option<Activity> {
    let Name { kind, namespace, name, cut } = name;
    (!cut).then(|| Activity::new(*kind, namespace.clone(), name.clone()))
}

fn describe(line: &Line) -> String {
    let activity = line.activity.as_ref().map(|Name { kind, namespace, name, cut }| {
        let parts = [kind.as_str(), namespace, name].into_iter().filter(|part| !part.is_empty());
        let words: Vec<_> = parts.collect();
        format!("{}{}", words.join(" "), if *cut { "…" } else { "" })
    });
    format!("{} of {}", activity.as_deref().unwrap_or("unknown work"), line.person.id())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = self.signal.as_deref().unwrap_or("no signal");
        match self.manner {
            Manner::StackOverflow => write!(f, "a thread had no stack left ({signal})")?,
            Manner::Crash => write!(f, "a thread ended the process ({signal})")?,
            Manner::OutOfMemory => write!(f, "the kernel killed the process because memory was short")?,
            Manner::Killed => write!(f, "somebody killed the process ({signal})")?,
            Manner::Wedged => write!(f, "the process did not answer any more and was ended")?,
            Manner::Exited => match self.exit_code {
                Some(code) => write!(f, "the process ended itself with exit code {code}")?,
                None => write!(f, "the process ended")?,
            },
        }
        match (self.attribution, &self.culprits[..]) {
            (Attribution::Suspect, [_, _, ..]) => {
                write!(f, ", {} connections were at work", self.culprits.len())
            }
            (_, [culprit, ..]) => match &culprit.activity {
                Some(activity) => write!(f, ", at work on {activity} for {}", culprit.id),
                None => write!(f, ", at work for {}", culprit.id),
            },
            (_, []) => f.write_str(", and nobody's work is known to have been the reason"),
        }
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests;
