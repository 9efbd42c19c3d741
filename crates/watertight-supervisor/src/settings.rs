//! What a supervisor is told.

use std::{
    env,
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use crate::{RestartPolicy, SuperviseError};

/// Which program is the worker, where it listens, and how long things may take.
///
/// Times that are zero are taken for one millisecond.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SupervisorSettings {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) backlog: u32,
    pub(crate) restart: RestartPolicy,
    pub(crate) ready_timeout: Duration,
    pub(crate) ready_after: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    pub(crate) wedge_limit: Duration,
}

impl SupervisorSettings {
    /// How many connections the kernel keeps while no worker accepts them: 4096, which is what Linux allows
    /// (`net.core.somaxconn`, since 5.4); the kernel takes less where it is configured to.
    pub const BACKLOG: u32 = 4096;
    /// How long a worker may take until it is ready: 30 s.
    pub const READY_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a worker may drain: 30 s, as long as Kubernetes waits between SIGTERM and SIGKILL; the parent kills it
    /// 2 s later.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a worker may not answer: 10 s.
    pub const WEDGE_LIMIT: Duration = Duration::from_secs(10);

    /// The worker is this very program, called with the same arguments.
    ///
    /// Its path is looked up now, so that a reload runs whatever lies at that path by then.
    ///
    /// # Errors
    ///
    /// If the program does not know its own path.
    pub fn this_program() -> Result<Self, SuperviseError> {
        let program = env::current_exe().map_err(SuperviseError::OwnPath)?;
        Ok(Self::program(program).arguments(env::args_os().skip(1)))
    }

    /// The worker is another program, called without arguments. It is looked for in `PATH` if it is a bare name.
    #[must_use]
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            listen: Vec::new(),
            backlog: Self::BACKLOG,
            restart: RestartPolicy::default(),
            ready_timeout: Self::READY_TIMEOUT,
            ready_after: None,
            drain_timeout: Self::DRAIN_TIMEOUT,
            wedge_limit: Self::WEDGE_LIMIT,
        }
    }

    /// The worker's arguments, in place of those before.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        self
    }

    /// One more variable of the worker's environment, which is the parent's without what concerns the parent only
    /// (`NOTIFY_SOCKET`, `WATCHDOG_*`, `LISTEN_*`).
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// One more address to listen on; port 0 is a free one, the same for every worker. If the service manager hands
    /// sockets over (`LISTEN_FDS`), these are used in place of all addresses.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// How many connections the kernel keeps for each address while no worker accepts them. Default: [`BACKLOG`](Self::BACKLOG).
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// When a worker that died is replaced.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// How long a worker may take until it is ready. Default: [`READY_TIMEOUT`](Self::READY_TIMEOUT).
    #[must_use]
    pub fn ready_timeout(mut self, limit: Duration) -> Self {
        self.ready_timeout = at_least_a_little(limit);
        self
    }

    /// For a worker that knows nothing of the parent, such as any program that takes `LISTEN_FDS`: it is taken for ready when it
    /// has lived this long. Default: a worker has to say that it is ready.
    ///
    /// Such a worker does not notice the death of the parent either.
    #[must_use]
    pub fn ready_after(mut self, uptime: Duration) -> Self {
        self.ready_after = Some(uptime);
        self
    }

    /// How long a worker may drain after it was told to end; 2 s later it is killed. Default: [`DRAIN_TIMEOUT`](Self::DRAIN_TIMEOUT).
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = at_least_a_little(limit);
        self
    }

    /// How long a worker that is ready may not answer until it is aborted. It means something only with a
    /// [`BlackBox`](crate::BlackBox) that says when it last did. Default: [`WEDGE_LIMIT`](Self::WEDGE_LIMIT).
    #[must_use]
    pub fn wedge_limit(mut self, limit: Duration) -> Self {
        self.wedge_limit = at_least_a_little(limit);
        self
    }
}

fn at_least_a_little(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}
