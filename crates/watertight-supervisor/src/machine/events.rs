//! What the machine is told, and what it wants done.

use std::time::Duration;

use crate::{Ending, Happening, Outcome, WorkerDeath};

/// Something has happened to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing, but time goes on.
    Time,
    /// The machine was asleep: what looks silent may not be.
    Suspended,
    /// What [`Action::Start`] came to.
    Started {
        generation: u64,
        pid: u32,
    },
    CannotStart {
        generation: u64,
        error: String,
    },
    /// A worker has said something.
    Said {
        generation: u64,
        message: Message,
    },
    /// A worker's process has ended.
    Ended {
        generation: u64,
        ending: Ending,
        oom_killed: Option<bool>,
    },
    /// What [`Action::Look`] came to.
    Answered {
        generation: u64,
        ago: Option<Duration>,
    },
    /// Signals to the parent.
    Stop {
        signal: i32,
    },
    Reload,
    Forward {
        signal: i32,
    },
}

/// What a worker can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Ready,
    Stopping,
    Garbage(String),
}

/// What the parent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// To be answered with [`Event::Started`] or [`Event::CannotStart`].
    Start {
        generation: u64,
        after_death: bool,
    },
    Signal {
        generation: u64,
        signal: Signal,
    },
    /// Tell the black box, before anything is started.
    Died(WorkerDeath),
    /// Tell the black box, before anyone is aborted.
    Wedged {
        generation: u64,
        pid: u32,
        silent: Duration,
    },
    /// Tell this worker that another one serves, before it is told to drain.
    TakenOver {
        generation: u64,
    },
    /// Tell this worker that the one before it has died.
    AfterDeath {
        generation: u64,
    },
    /// To be answered with [`Event::Answered`].
    Look {
        generation: u64,
    },
    Tell(Happening),
    Finish(Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Abort,
    Kill,
    Other(i32),
}
