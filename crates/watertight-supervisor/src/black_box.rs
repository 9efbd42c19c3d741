//! The seam for the flight recorder: what a worker leaves behind for the parent to read.

use std::time::Duration;
#[cfg(unix)]
use std::{io, os::fd::OwnedFd};

use crate::WorkerDeath;

/// Descriptors for a worker, each under the name by which [`Supervised::descriptor`](crate::Supervised::descriptor) finds it.
///
/// At most 32; a name has 1 to 64 bytes of printable ASCII without spaces.
#[cfg(unix)]
pub type Descriptors = Vec<(&'static str, OwnedFd)>;

/// What watches a worker from the inside and outlives it, such as a board in shared memory.
///
/// All methods are called on the parent's only thread: while one runs, nobody is restarted. A panic in one is caught (where
/// panics unwind), told as [`Happening::Trouble`](crate::Happening::Trouble), and taken for the answer of [`NoBlackBox`].
pub trait BlackBox {
    /// Called before the worker of this generation is started: what it shall inherit.
    ///
    /// # Errors
    ///
    /// If there is none to be had. The worker is started all the same, without.
    #[cfg(unix)]
    fn prepare(&mut self, generation: u64) -> io::Result<Descriptors>;

    /// The worker that was [prepared](Self::prepare) for could not be started: there is none of this generation.
    fn not_started(&mut self, _generation: u64) {}

    /// How long ago the worker of this generation has last answered its probe; `None`: it does not say, and is taken for
    /// well.
    ///
    /// Asked about a worker that is ready, a few times within
    /// [`wedge_limit`](crate::SupervisorSettings::wedge_limit).
    fn answered(&self, generation: u64) -> Option<Duration>;

    /// The worker has not answered for `silent` and is about to be aborted; it still runs.
    fn wedged(&mut self, generation: u64, pid: u32, silent: Duration);

    /// The worker has ended, whether asked to or not. The next one is not prepared before this has returned.
    fn died(&mut self, death: &WorkerDeath);
}

/// No flight recorder: no descriptors, and every worker is taken for well.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBlackBox;

impl BlackBox for NoBlackBox {
    #[cfg(unix)]
    fn prepare(&mut self, _generation: u64) -> io::Result<Descriptors> {
        Ok(Vec::new())
    }

    fn answered(&self, _generation: u64) -> Option<Duration> {
        None
    }

    fn wedged(&mut self, _generation: u64, _pid: u32, _silent: Duration) {}

    fn died(&mut self, _death: &WorkerDeath) {}
}
