//! Signals to the parent, as bytes in sockets that can be waited for.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
};

use signal_hook::{
    SigId,
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    low_level::{pipe, unregister},
};

/// What the parent listens to. SIGUSR1 and SIGUSR2 are for the worker.
const SIGNALS: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2];

/// The signals that arrive from now on; on drop they are ignored, not defaulted: the process is about to end.
#[derive(Debug)]
pub(super) struct Signals(Vec<Caught>);

#[derive(Debug)]
struct Caught {
    signal: i32,
    arrived: UnixStream,
    registration: SigId,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let catch = |signal: i32| {
            let (arrived, handler) = UnixStream::pair()?;
            arrived.set_nonblocking(true)?;
            Ok(Caught { signal, arrived, registration: pipe::register(signal, handler)? })
        };
        SIGNALS.into_iter().map(catch).collect::<io::Result<_>>().map(Self)
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &UnixStream> {
        self.0.iter().map(|caught| &caught.arrived)
    }

    /// What has arrived since the last time, and how often.
    pub(super) fn arrived(&self) -> Vec<(i32, usize)> {
        let arrived = |caught: &Caught| {
            let mut bytes = [0; 16];
            // Nothing to read is the only error there is: this process holds both ends.
            let count = (&caught.arrived).read(&mut bytes).unwrap_or(0);
            (count > 0).then_some((caught.signal, count))
        };
        self.0.iter().filter_map(arrived).collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for caught in &self.0 {
            unregister(caught.registration);
        }
    }
}
