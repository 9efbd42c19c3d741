//! Servers that may die, and come back: ours with its parent process, and others under a process manager.
//!
//! The manager does nothing else: it starts the server again, at the same address, within a millisecond of its death. Real
//! ones are slower: systemd waits 100 ms by default.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::machine;
use crate::server::{Server, binary};

/// How often the manager looks.
const EVERY: Duration = Duration::from_millis(1);

/// A server that can die; killed for good when dropped.
pub(crate) struct Mortal(Kind);

enum Kind {
    Supervised(Server),
    Managed(Managed),
}

impl Mortal {
    /// The game server with its parent process and its lab open, on a free port. It logs to `log`.
    pub(crate) fn watertight(arguments: &[&str], log: &Path) -> Result<Self> {
        let mut command = Command::new(binary("WATERTIGHT_SERVER", "game-admin-backend")?);
        command.args(["--lab", "--port", "0"]).args(arguments);
        Ok(Self(Kind::Supervised(Server::start(command, log)?)))
    }

    /// A program under the manager. It logs to `log`, and what is started again beside it.
    pub(crate) fn managed(program: Program, log: &Path) -> Result<Self> {
        Ok(Self(Kind::Managed(Managed::start(program, log)?)))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.0 {
            Kind::Supervised(server) => server.address(),
            Kind::Managed(server) => server.address,
        }
    }

    /// The id of the process that serves clients, or did last. `None` where the operating system does not tell.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.0 {
            // While a worker is replaced there may be none.
            Kind::Supervised(parent) => machine::children(parent.process())?.into_iter().max(),
            Kind::Managed(server) => Some(server.shared.server().process()),
        }
    }

    /// Kills the process that serves clients; when that was.
    pub(crate) fn kill(&self) -> Result<Instant> {
        let process = self.process().context("the system does not tell which process serves clients")?;
        let killed = Instant::now();
        machine::kill(process)?;
        Ok(killed)
    }
}

/// A program whose last argument is the port that it listens at.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    pub(crate) fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Port 0 is a free one.
    fn at(&self, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(port.to_string());
        command
    }
}

/// A server that is started again whenever it has ended.
struct Managed {
    address: SocketAddr,
    shared: Arc<Shared>,
    manager: Option<JoinHandle<()>>,
}

struct Shared {
    server: Mutex<Server>,
    stop: AtomicBool,
}

impl Managed {
    fn start(program: Program, log: &Path) -> Result<Self> {
        let server = Server::start(program.at(0), log)?;
        let address = server.address();
        let (server, stop) = (Mutex::new(server), AtomicBool::new(false));
        let shared = Arc::new(Shared { server, stop });
        let manager = {
            let (shared, log) = (Arc::clone(&shared), log.with_extension("again.log"));
            thread::Builder::new().name("manager".into()).spawn(move || {
                shared.manage(|| Server::start(program.at(address.port()), &log));
            })
        };
        let manager = Some(manager.context("a manager")?);
        Ok(Self { address, shared, manager })
    }
}

impl Shared {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manage(&self, start: impl Fn() -> Result<Server>) {
        while !self.stop.load(Ordering::Acquire) {
            if self.server().has_ended() {
                self.replace(&start);
            }
            thread::sleep(EVERY);
        }
    }

    /// Tries until one listens.
    fn replace(&self, start: impl Fn() -> Result<Server>) {
        while !self.stop.load(Ordering::Acquire) {
            match start() {
                Ok(server) => {
                    *self.server() = server;
                    return;
                }
                Err(error) => eprintln!("a manager cannot start its server again: {error:#}"),
            }
            thread::sleep(EVERY);
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(manager) = self.manager.take() {
            // It has said why, if it panicked.
            _ = manager.join();
        }
    }
}
