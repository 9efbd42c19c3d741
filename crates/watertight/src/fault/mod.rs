//! What went wrong, where, and whose it was.

mod backtrace;
mod component;
mod location;
mod report;
mod seen;

use serde::{Deserialize, Serialize};

use crate::conduct::Misbehaviour;

pub(crate) use backtrace::Frames;
pub use component::Component;
pub use location::Location;
pub use report::Report;
pub(crate) use report::{Origin, truncated};
pub(crate) use seen::SeenLocations;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// Code panicked and unwound.
    Panic,
    /// Work ran past its deadline.
    Deadline,
    /// Work did not return to its executor in time: it holds a thread.
    Stall,
    /// Bytes of the client are waiting and nobody reads them: the transport's own code is stuck.
    Deaf,
    /// A client is in a namespace whose connection or session is gone: nobody has ended it.
    Orphan,
    /// A client sends more than it may.
    Flood,
    /// A client sends what the server does not understand, again and again.
    Protocol,
    /// A client does not read what it is sent.
    SlowConsumer,
    /// The process died.
    Abort,
}

impl Fault {
    /// The stable word for it: the `code` that clients see, the label in metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Deadline => "deadline",
            Self::Stall => "stall",
            Self::Deaf => "deaf",
            Self::Orphan => "orphan",
            Self::Flood => "flood",
            Self::Protocol => "protocol",
            Self::SlowConsumer => "slow_consumer",
            Self::Abort => "abort",
        }
    }
}

impl From<Misbehaviour> for Fault {
    /// What it is called when the score of a compartment has reached a threshold by this.
    fn from(kind: Misbehaviour) -> Self {
        match kind {
            Misbehaviour::Flood => Self::Flood,
            Misbehaviour::SlowConsumer => Self::SlowConsumer,
            _ => Self::Protocol,
        }
    }
}

/// How a fault was traced to its compartment, and so how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attribution {
    /// The code ran inside the compartment's scope.
    Exact,
    /// The task was the one that polls the compartment's own connection.
    Transport,
    /// It was at work when the process was killed, as others may have been.
    Suspect,
    /// Nobody's: background work. It never disconnects anyone.
    Unattributed,
}

/// What became of the panic after it was thrown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It unwound out of the guarded code, or killed the task it was in.
    Escaped,
    /// The application's own code caught it. Recorded, and no reason to disconnect anyone.
    Caught,
}
