//! What went wrong, where, and whose it was.

mod backtrace;
mod component;
mod location;
mod report;
mod seen;

use serde::Serialize;

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
        }
    }
}

/// How a fault was traced to its compartment, and so how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attribution {
    /// The code ran inside the compartment's scope.
    Exact,
    /// The task was the one that polls the compartment's own connection.
    Transport,
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
