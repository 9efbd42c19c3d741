//! Incidents: the record of one fault.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::activity::Activity;
use crate::death::Death;
use crate::fault::{Attribution, Component, Fault, Location, Outcome};
use crate::identity::Identity;
use crate::policy::Verdict;

/// Names one incident, everywhere: in the client's notice, the log, the API. A ULID: 26 characters that
/// sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(Ulid);

impl IncidentId {
    /// A fresh id for now.
    #[must_use]
    pub fn new() -> Self {
        Self(Ulid::generate())
    }

    /// A fresh id for a fault that happened at `time`.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        Self(Ulid::from_datetime(time))
    }
}

impl Default for IncidentId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not an incident id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an incident id: 26 letters and digits are expected")]
pub struct ParseIncidentIdError(String);

impl FromStr for IncidentId {
    type Err = ParseIncidentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ulid::from_string(text).map(Self).map_err(|_| ParseIncidentIdError(text.to_owned()))
    }
}

impl Serialize for IncidentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IncidentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The compartment of an incident, as it was when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Offender {
    /// The compartment's id: the session id of a Socket.IO client.
    pub id: String,
    /// Who it is.
    pub identity: Option<Identity>,
    /// The address at the other end.
    pub peer: Option<SocketAddr>,
}

/// The record of one fault, complete: it is written once its compartment has been dealt with.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// When the fault happened.
    #[serde(serialize_with = "as_unix_millis", rename = "time_unix_ms")]
    pub time: SystemTime,
    /// What went wrong.
    pub fault: Fault,
    /// The panic's text or a description, cut at 2 KiB.
    pub message: String,
    /// Where the code panicked.
    pub location: Option<Location>,
    /// Whose code that is.
    pub component: Component,
    /// How the fault was traced to its compartment.
    pub attribution: Attribution,
    /// Whose fault it was.
    pub offender: Option<Offender>,
    /// What the code was doing.
    pub activity: Option<Activity>,
    /// Whether the application caught the panic itself.
    pub outcome: Outcome,
    /// The name of the thread.
    pub thread: Option<String>,
    /// The backtrace of the first panic at this location, or where a stalling thread was, with names, cut at 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<Arc<str>>,
    /// What the policy decided.
    pub verdict: Verdict,
    /// From the fault until nothing of the compartment was left. `None` when nothing was sealed for it.
    #[serde(serialize_with = "as_micros", rename = "sealed_after_us")]
    pub sealed_after: Option<Duration>,
    /// How the process died, when that was the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub death: Option<Arc<Death>>,
    /// Whether its location panics so often that it should be counted, not printed.
    pub storm: bool,
}

fn as_unix_millis<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn as_micros<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ulids_and_parse_back() {
        let id = IncidentId::new();
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        let wrong = "not an id".parse::<IncidentId>().expect_err("too short");
        assert!(wrong.to_string().contains("not an id"));
    }
}
