//! Errors of setting up.

use std::time::Duration;

use crate::bounds::SettingError;

/// Why [`Builder::install`](crate::Builder::install) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A setting of the quarantine, the breakers, the conduct or the rates is out of its bounds.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// There would be no threads for blocking work, or too many.
    #[error("`blocking_threads` is {0}: 1 to 4096 are possible")]
    BlockingThreads(usize),
    /// The lanes would have no threads, or too many.
    #[error(
        "lanes of {threads} threads and {spares} spares: 1 to 1024 threads and at most 4096 spares are possible"
    )]
    LaneThreads {
        /// As set.
        threads: usize,
        /// As set.
        spares: usize,
    },
    /// There is one panic hook and one recovery thread per process.
    #[error(
        "watertight is already installed in this process: install it once, before the first SocketIo is \
         built and before `serve` (both install the defaults when nothing is installed yet)"
    )]
    AlreadyInstalled,
    /// The recorder came too late, or has too little memory.
    #[error(
        "the recorder cannot be used: it needs {} bytes of memory, and to be installed before the first connection",
        crate::flight::WORDS * 8
    )]
    Recorder,
    /// A duration is outside of its bounds.
    #[error("`{name}` is {value:?}: it must be between {min:?} and {max:?}")]
    OutOfBounds {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: Duration,
        /// The least it may be.
        min: Duration,
        /// The most it may be.
        max: Duration,
    },
    /// A limit of 0 would never let an incident be printed.
    #[error("`storm_limit` is 0: at least one incident per location and second must be printed")]
    NoStormLimit,
    /// The recovery thread did not start.
    #[error("cannot start the recovery thread")]
    Thread(#[source] std::io::Error),
}
