//! What the parent tells of its work.

use std::{net::SocketAddr, time::Duration};

use tracing::{error, info, warn};

use crate::WorkerDeath;

/// Something that the parent did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// The listening sockets are there, and no worker yet.
    Listening {
        /// Their addresses, with real ports.
        addresses: Vec<SocketAddr>,
        /// Whether they came from the service manager (`LISTEN_FDS`).
        inherited: bool,
    },
    /// A worker's process runs; it is not ready yet.
    Started {
        /// Which worker.
        generation: u64,
        /// Its process.
        pid: u32,
        /// Whether it replaces one that died.
        after_death: bool,
    },
    /// A worker has said that it is ready.
    Ready {
        /// Which worker.
        generation: u64,
        /// Its process.
        pid: u32,
        /// Since its start.
        after: Duration,
        /// Since the death of the one that it replaces; `None` when nobody died.
        after_death: Option<Duration>,
    },
    /// A worker has ended and nobody had asked it to.
    Died(WorkerDeath),
    /// A worker has ended because it was told to stop or to drain.
    Ended(WorkerDeath),
    /// The next worker is started after this delay, which may be zero.
    Restarting {
        /// Which worker it will be.
        generation: u64,
        /// How long is waited.
        delay: Duration,
    },
    /// More deaths than [`RestartPolicy`](crate::RestartPolicy) allows within its period. Said at every further death,
    /// until a worker has lived long enough.
    IntensityExceeded {
        /// How many restarts are allowed.
        restarts: u32,
        /// Within which time.
        period: Duration,
        /// How long until the next try; `None`: the parent ends instead.
        delay: Option<Duration>,
    },
    /// A worker that was ready does not answer any more and is aborted.
    Wedged {
        /// Which worker.
        generation: u64,
        /// Its process.
        pid: u32,
        /// Since when it has not answered.
        silent: Duration,
    },
    /// A worker is not ready in time and is ended.
    NotReady {
        /// Which worker.
        generation: u64,
        /// Its process.
        pid: u32,
        /// How long it had.
        limit: Duration,
    },
    /// A worker's process could not be started.
    CannotStart {
        /// Which worker.
        generation: u64,
        /// What the operating system says.
        error: String,
    },
    /// The first worker ended before it was ready: nothing was ever served, and a restart would not help. The parent ends.
    ConfigurationFault(WorkerDeath),
    /// A new worker is started while the old one serves.
    TakeoverBegun {
        /// The one that serves.
        old: u64,
        /// The one that will.
        new: u64,
    },
    /// The new worker is ready and serves; the old one is told to drain.
    TakenOver {
        /// The one that drains.
        old: u64,
        /// The one that serves.
        new: u64,
    },
    /// The old worker has ended.
    TakeoverEnded {
        /// The one that ended.
        old: u64,
    },
    /// The new worker has ended before it was ready, or could not be started: the old one goes on serving.
    TakeoverFailed {
        /// The one that serves.
        old: u64,
        /// The one that came to nothing.
        new: u64,
    },
    /// A request to reload came while one was at work: it is done afterwards, once however many came.
    ReloadRemembered,
    /// A request to reload came while a restart was waited for: the worker is started now.
    ReloadHurries {
        /// Which worker.
        generation: u64,
    },
    /// The parent was asked to stop, and asks the workers.
    Stopping {
        /// The number of the signal.
        signal: i32,
    },
    /// The parent was asked to stop once more: the workers have one more second (second time) or none (third time).
    Hurried {
        /// The number of the signal.
        signal: i32,
    },
    /// A worker did not end in time and is killed.
    Killed {
        /// Which worker.
        generation: u64,
        /// Its process.
        pid: u32,
    },
    /// A worker has sent what is no message. It is ignored, and so is everything after the third time.
    Garbage {
        /// Which worker.
        generation: u64,
        /// The beginning of it, escaped.
        text: String,
    },
    /// As process 1 of a container: a process that lost its parent has ended and was waited for.
    Reaped {
        /// Its process.
        pid: u32,
    },
    /// Something that does not keep the service from running.
    Trouble {
        /// What the parent could not do.
        what: &'static str,
        /// What the operating system or the panic says.
        error: String,
    },
}

/// Is told of everything that the parent does and sees, on the parent's only thread.
pub trait Observer {
    /// Something has happened.
    fn observe(&mut self, happening: &Happening);
}

impl<F: FnMut(&Happening)> Observer for F {
    fn observe(&mut self, happening: &Happening) {
        self(happening);
    }
}

/// Writes everything to the log with `tracing`; it is what [`Supervisor::run`](crate::Supervisor::run) uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingObserver;

impl Observer for TracingObserver {
    fn observe(&mut self, happening: &Happening) {
        log(happening);
    }
}

fn log(happening: &Happening) {
    match happening {
        Happening::Listening { addresses, inherited } => {
            info!(?addresses, inherited, "the parent holds the listening sockets");
        }
        Happening::Started { generation, pid, after_death } => {
            info!(generation, pid, after_death, "a worker is started");
        }
        Happening::Ready { generation, pid, after, after_death } => {
            info!(generation, pid, ?after, ?after_death, "the worker is ready");
        }
        Happening::Died(death) => log_death(death, "the worker died"),
        Happening::Ended(death) => {
            info!(generation = death.generation, pid = death.pid, ending = %death.ending, "the worker has ended");
        }
        Happening::Restarting { generation, delay } => {
            warn!(generation, ?delay, "another worker is started");
        }
        Happening::IntensityExceeded { restarts, period, delay: Some(delay) } => error!(
            restarts,
            ?period,
            ?delay,
            "workers die faster than is allowed; the parent does not give up and tries again"
        ),
        Happening::IntensityExceeded { restarts, period, delay: None } => {
            error!(restarts, ?period, "workers die faster than is allowed; the parent ends");
        }
        Happening::Wedged { generation, pid, silent } => {
            error!(generation, pid, ?silent, "the worker does not answer any more and is aborted");
        }
        Happening::NotReady { generation, pid, limit } => {
            error!(generation, pid, ?limit, "the worker is not ready in time and is ended");
        }
        Happening::CannotStart { generation, error } => {
            error!(generation, error, "a worker cannot be started");
        }
        Happening::ConfigurationFault(death) => log_death(
            death,
            "the first worker ended before it was ready: this is a fault of its configuration or of its \
             surroundings, which a restart does not mend; see what it wrote last",
        ),
        Happening::TakeoverBegun { old, new } => info!(old, new, "a new worker is started to take over"),
        Happening::TakenOver { old, new } => info!(old, new, "the new worker serves, the old one drains"),
        Happening::TakeoverEnded { old } => info!(old, "the old worker has drained and ended"),
        Happening::TakeoverFailed { old, new } => {
            error!(old, new, "the new worker was never ready: the old one goes on serving");
        }
        Happening::ReloadRemembered => info!("a reload is at work; another follows it"),
        Happening::ReloadHurries { generation } => {
            info!(generation, "a reload is asked for: the next worker is not waited for any more");
        }
        Happening::Stopping { signal } => {
            info!(signal, "a signal asks the parent to stop: the workers drain")
        }
        Happening::Hurried { signal } => warn!(signal, "a further signal cuts the end short"),
        Happening::Killed { generation, pid } => {
            warn!(generation, pid, "the worker did not end in time and is killed");
        }
        Happening::Garbage { generation, text } => {
            warn!(generation, text, "the worker has sent what is no message; it is ignored");
        }
        Happening::Reaped { pid } => info!(pid, "a process without a parent has ended"),
        Happening::Trouble { what, error } => warn!(error, "{what}"),
    }
}

fn log_death(death: &WorkerDeath, message: &str) {
    let WorkerDeath { pid, generation, ending, oom_killed, was_ready, uptime, told } = death;
    error!(generation, pid, %ending, ?oom_killed, was_ready, ?uptime, ?told, "{message}");
}
