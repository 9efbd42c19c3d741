//! The worker's side.

use std::{net::TcpListener, os::fd::OwnedFd};

use crate::NotSupervised;

/// A worker's link to its parent.
#[derive(Debug)]
pub struct Supervised {
    generation: u64,
}

impl Supervised {
    /// The link, if a [`Supervisor`](crate::Supervisor) has started this process; `None` if nobody has.
    ///
    /// Call it once, first thing in the program and before there are threads. It takes standard input, which is `/dev/null` from
    /// then on, and starts a thread that waits for the end of the parent. When that comes and nobody has called
    /// [`on_parent_death`](Self::on_parent_death), the process ends at once with
    /// [`EXIT_ORPHANED`](crate::EXIT_ORPHANED).
    ///
    /// # Errors
    ///
    /// If a supervisor has started this process and its channel or its sockets are not there.
    pub fn from_env() -> Result<Option<Self>, NotSupervised> {
        Ok(None)
    }

    /// The listening sockets, in the order of the settings; empty the second time. They are non-blocking and have to
    /// stay so: the worker before and the worker after this one share that setting.
    pub fn listeners(&mut self) -> Vec<TcpListener> {
        Vec::new()
    }

    /// What the flight recorder has handed down under this name; `None` the second time.
    pub fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        _ = name;
        None
    }

    /// Tells the parent that this worker serves. Once is enough.
    pub fn ready(&self) {}

    /// Tells the parent that this worker has begun to drain.
    pub fn stopping(&self) {}

    /// What to do when the parent is gone: stop accepting, drain, end, as on SIGTERM. It runs on a thread of its own; the process
    /// is killed when it is still there 2 s after the drain timeout of the supervisor. If the parent is gone already, it
    /// runs now. Only the last one counts.
    pub fn on_parent_death(&self, callback: impl FnOnce() + Send + 'static) {
        drop(callback);
    }

    /// Which worker this is: 1 for the first, one more for each that was started after it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this worker replaces one that died, so that its clients come back all at once. It may become true later:
    /// when the old worker dies while this one is about to take over.
    #[must_use]
    pub fn after_death(&self) -> bool {
        false
    }
}
