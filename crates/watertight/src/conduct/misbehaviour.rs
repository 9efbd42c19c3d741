//! The kinds of misbehaviour that are scored.

use std::fmt;

use serde::Serialize;

/// Something that a client should not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A packet that is not one of the protocol.
    Malformed,
    /// An event that nothing handles.
    UnknownEvent,
    /// An event whose data its handler does not take.
    FailedExtraction,
    /// An event whose handler returned an error.
    HandlerError,
    /// It does not read what it is sent.
    SlowConsumer,
    /// A heartbeat that did not come in time, which ends the session.
    Heartbeat,
    /// A message or its bytes beyond the rate.
    Flood,
    /// A fault after which the policy left it connected.
    Fault,
}

impl Misbehaviour {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::UnknownEvent,
        Self::FailedExtraction,
        Self::HandlerError,
        Self::SlowConsumer,
        Self::Heartbeat,
        Self::Flood,
        Self::Fault,
    ];

    /// The setting that has its weight.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Malformed => "weights.malformed",
            Self::UnknownEvent => "weights.unknown_event",
            Self::FailedExtraction => "weights.failed_extraction",
            Self::HandlerError => "weights.handler_error",
            Self::SlowConsumer => "weights.slow_consumer",
            Self::Heartbeat => "weights.heartbeat",
            Self::Flood => "weights.flood",
            Self::Fault => "weights.fault",
        }
    }
}

/// Several of them, in words: `unknown events`.
impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed packets",
            Self::UnknownEvent => "unknown events",
            Self::FailedExtraction => "failed extractions",
            Self::HandlerError => "handler errors",
            Self::SlowConsumer => "slow reads",
            Self::Heartbeat => "missed heartbeats",
            Self::Flood => "messages over the rate",
            Self::Fault => "faults",
        })
    }
}
