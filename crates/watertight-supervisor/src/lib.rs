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
