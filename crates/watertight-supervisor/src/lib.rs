//! A small parent process for a server: it holds the listening sockets, and a worker that dies costs everyone else one
//! quick reconnect.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use watertight_supervisor::{Supervised, Supervisor, SupervisorSettings};
//!
//! fn main() -> ExitCode {
//!     // First thing in the program, before there are threads.
//!     match Supervised::from_env() {
//!         Ok(Some(worker)) => serve(worker),
//!         Ok(None) => supervise().unwrap_or_else(|error| {
//!             eprintln!("error: {error}");
//!             ExitCode::from(watertight_supervisor::EXIT_OS)
//!         }),
//!         Err(error) => {
//!             eprintln!("error: {error}");
//!             ExitCode::from(watertight_supervisor::EXIT_OS)
//!         }
//!     }
//! }
//!
//! fn supervise() -> Result<ExitCode, Box<dyn std::error::Error>> {
//!     let settings = SupervisorSettings::this_program()?.listen("127.0.0.1:3002".parse()?);
//!     Ok(Supervisor::new(settings)?.run()?.into())
//! }
//!
//! fn serve(mut worker: Supervised) -> ExitCode {
//!     let listeners = worker.listeners();
//!     worker.on_parent_death(|| { /* as on SIGTERM: stop accepting, drain, end */ });
//!     worker.ready();
//!     for connection in listeners.iter().flat_map(|listener| listener.accept()) {
//!         drop(connection);
//!     }
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! # What the parent does
//!
//! - It binds the listening sockets, or takes them from the service manager (`LISTEN_FDS`), and hands them to the worker, which
//!   is the same program unless told otherwise. It never accepts. Connections that arrive while no worker runs wait in
//!   the kernel's backlog, and the next worker serves them.
//! - It replaces a worker that dies: at once the first time, then by its [`RestartPolicy`].
//! - It ends a worker that does not answer any more ([`BlackBox::answered`]), and one that is not ready in time.
//! - On SIGHUP it starts a new worker beside the old one. When that is ready, the old one is told to drain.
//! - On SIGTERM and SIGINT it has the worker drain, within bounds, and ends with a code that means something.
//! - It tells systemd (`NOTIFY_SOCKET`) when the service is ready, reloading and stopping, and how it is; with a watchdog
//!   (`WATCHDOG_USEC`) it says that all is well while a worker serves or is coming, and is silent while workers die
//!   faster than is allowed.
//! - As process 1 of a container, or as a subreaper, it waits for processes that have lost their parent.
//!
//! It is one thread that waits in `poll`, keeps less than 5 MiB (a test prints how much), and has little to crash on: what a worker writes into its
//! channel is bounded and may be anything, and a panic in an [`Observer`] or [`BlackBox`] is caught.
//!
//! # The worker
//!
//! [`Supervised::from_env`] gives it its sockets, its generation and whether it replaces one that died. It says when it is
//! [`ready`](Supervised::ready), and on SIGTERM it stops accepting, finishes what it has begun, and ends with code 0.
//!
//! When the parent is gone, even by SIGKILL, the worker notices: the channel between them ends. It drains and ends; it
//! cannot stay, because two parents would hold two sets of sockets.
//!
//! A program that knows nothing of this can be a worker too, if it takes `LISTEN_FDS` and does not insist on `LISTEN_PID`, which
//! nobody can know before the process is there: see [`SupervisorSettings::ready_after`]. Its sockets are non-blocking, and it
//! does not notice the end of the parent.
//!
//! # Exit codes
//!
//! | code | [`Outcome`] | what a service manager should do |
//! |---|---|---|
//! | 0 | asked to stop, and all has drained | nothing |
//! | the worker's, or 128 and its signal | asked to stop, and the worker ended badly or had to be killed (137) | nothing |
//! | 69 | a worker's own: its parent is gone and it had not said what to do then | nothing; its parent is what matters |
//! | 70 | workers die too fast, and [`Exceeded::Exit`] is set | start it again, later |
//! | 71 | no socket, no process, no signals ([`SuperviseError`]) | see what it says |
//! | 75 | the first worker was not ready in time | start it again |
//! | 78 | the first worker ended before it was ready | not start it again (`RestartPreventExitStatus=78`) |
//! | 128 and a signal | a signal has killed the first worker before it was ready | start it again |
//!
//! # What it does not promise
//!
//! - Connections that a worker had accepted end with it.
//! - A connection that the backlog has no place for is not served ([`SupervisorSettings::backlog`]); Linux lets the client try
//!   again by itself.
//! - A request on a kept connection that crosses the end of it is the protocol's business, not the parent's: a worker that
//!   drains should say in its answer that it is the last, and then close.
//! - Descriptors that the parent was itself started with and that are not close-on-exec are the worker's as well.
//! - How a worker ends that was told to stop or to drain is told ([`Happening::Ended`]), and is no death, unless it crashes:
//!   [`Recording`] names nobody then. A worker that is about to take over has read what those before it have left when it began; a death that comes after
//!   that is known to the next one.
//! - Of several listening sockets the worker has to accept from each: what it leaves out is never refused, because the parent holds it.
//! - Whether the kernel has killed for memory is told by the count of such kills in the worker's control group. If another
//!   process of that group was killed so at the same time, a `kill -9` is taken for one.
//! - On systems that are no Unix the worker binds its sockets itself, is taken for ready when it has lived for two seconds, and
//!   there is no takeover, no wedge, and no signal: end the parent, and the worker notices.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod black_box;
mod death;
#[cfg(any(not(unix), test))]
#[cfg_attr(unix, expect(dead_code, unreachable_pub, reason = "compiled here for its tests"))]
mod elsewhere;
#[cfg_attr(not(unix), allow(dead_code, reason = "signals and messages come on Unix only"))]
mod machine;
mod observer;
mod outcome;
mod restart;
mod settings;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use black_box::Descriptors;
pub use black_box::{BlackBox, NoBlackBox};
pub use death::{Ending, Told, WorkerDeath};
#[cfg(not(unix))]
pub use elsewhere::{Supervised, Supervisor};
pub use observer::{Happening, Observer, TracingObserver};
pub use outcome::{
    EXIT_CONFIGURATION, EXIT_INTENSITY, EXIT_NOT_READY, EXIT_ORPHANED, EXIT_OS, Outcome, SuperviseError,
};
pub use restart::{Exceeded, Next, RestartPolicy, Restarts};
pub use settings::SupervisorSettings;
#[cfg(unix)]
pub use unix::{Recording, Supervised, Supervisor};

/// Why a worker cannot be one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSupervised {
    /// The parent has started this process, but its standard input is not the parent's channel: something between them, such
    /// as a shell script, has changed it.
    #[error("a supervisor has started this process, but standard input is not its channel")]
    NoChannel,
    /// What came through the channel is not what this version of the program understands.
    #[error("the supervisor is of another version: it says {0:?}")]
    Greeting(String),
    /// A listening socket that was announced is not there.
    #[error("listening socket {index} that the supervisor has announced is not there")]
    Listener {
        /// Its place in the list, from 0.
        index: usize,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system did not give what is needed: a thread, a descriptor.
    #[error("cannot watch over the parent")]
    Os(#[from] std::io::Error),
}
