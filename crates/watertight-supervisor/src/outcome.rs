//! How the parent's work ends, as a service manager understands it.

use std::{io, net::SocketAddr, process::ExitCode};

use crate::{Ending, WorkerDeath};

/// `EX_SOFTWARE` of `sysexits.h`: workers died faster than the policy allows, and it says to end then.
pub const EXIT_INTENSITY: u8 = 70;
/// `EX_OSERR` of `sysexits.h`: the operating system did not give what the parent needs: a socket, a process.
pub const EXIT_OS: u8 = 71;
/// `EX_TEMPFAIL` of `sysexits.h`: the first worker was not ready in time.
pub const EXIT_NOT_READY: u8 = 75;
/// `EX_CONFIG` of `sysexits.h`: the first worker ended by itself before it was ready.
pub const EXIT_CONFIGURATION: u8 = 78;
/// With what a worker ends whose parent is gone, where nobody had asked to be called then
/// ([`Supervised::on_parent_death`](crate::Supervised::on_parent_death)). It is `EX_UNAVAILABLE` of `sysexits.h`.
pub const EXIT_ORPHANED: u8 = 69;

/// Why the parent's work has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was asked to stop and every worker ended in time, with exit code 0 or by the very signal that asked it. Code 0.
    Stopped,
    /// It was asked to stop; the worker ended otherwise, or had to be killed. Its own exit code, or 128 and the signal's number.
    StoppedBadly(WorkerDeath),
    /// The first worker ended before it was ready. [`EXIT_CONFIGURATION`], or 128 and the signal's number.
    ConfigurationFault(WorkerDeath),
    /// The first worker was not ready in time. [`EXIT_NOT_READY`].
    NotReadyInTime(WorkerDeath),
    /// The first worker's process could not be started. [`EXIT_OS`].
    CannotStart,
    /// Workers died faster than the policy allows, and it says to end then. [`EXIT_INTENSITY`].
    IntensityExceeded,
}

impl Outcome {
    /// The exit code, as the variants say.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::StoppedBadly(death) => match death.ending.shell_code() {
                0 => 1,
                code => code,
            },
            Self::ConfigurationFault(death) => match death.ending {
                Ending::Signal(_) => death.ending.shell_code(),
                Ending::Exited(_) | Ending::Unknown => EXIT_CONFIGURATION,
            },
            Self::NotReadyInTime(_) => EXIT_NOT_READY,
            Self::CannotStart => EXIT_OS,
            Self::IntensityExceeded => EXIT_INTENSITY,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.exit_code())
    }
}

/// Why the parent could not begin its work, or could not go on. Its exit code is [`EXIT_OS`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// An address could not be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// What the service manager has handed over is no TCP listener.
    #[error("descriptor {index} of LISTEN_FDS is no listening TCP socket")]
    Inherited {
        /// Its place in the list, from 0.
        index: usize,
        /// What the operating system says.
        source: io::Error,
    },
    /// The program does not know its own path, so it cannot start itself as worker.
    #[error("cannot find the program that is to be the worker")]
    OwnPath(#[source] io::Error),
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// Waiting for signals and workers failed.
    #[error("cannot wait for signals and workers")]
    Wait(#[source] io::Error),
}
