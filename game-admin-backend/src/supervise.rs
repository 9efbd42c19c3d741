//! The parent process: it holds the address, starts the server as its worker, and starts it again when it dies.

use std::{ffi::OsString, io, net::SocketAddr, time::Duration};
#[cfg(unix)]
use std::{fs::File, path::Path};

use serde::{Deserialize, Serialize};
use tracing::error;
use watertight::Death;
#[cfg(unix)]
use watertight_supervisor::Recording;
use watertight_supervisor::{
    Exceeded, Happening, Observer as _, Outcome, RestartPolicy, SuperviseError, Supervisor as Parent,
    SupervisorSettings, TracingObserver,
};

use crate::{
    logging::{self, LoggingError},
    server::BindError,
    settings::{Logging, Settings, Supervisor},
};

/// Why the parent did not begin its work, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    /// The log could not be set up.
    #[error("cannot set up the log")]
    Logging(#[from] LoggingError),
    /// The program could not begin anew.
    #[error("cannot begin as the parent of the server; --no-supervise runs it alone")]
    Begin(#[source] io::Error),
    /// The address could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no memory, or no file, for what outlives a worker.
    #[error("cannot keep what outlives the server; --no-supervise runs without")]
    Recording(#[source] io::Error),
    /// The operating system does not give what else it needs.
    #[error("cannot supervise the server; --no-supervise runs it alone")]
    Supervise(#[source] SuperviseError),
}

/// The first argument of a parent process.
const PARENT: &str = "--parent-of";

/// What a parent has to know. It is handed over as text, so that the parent parses nothing else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    listen: SocketAddr,
    drain_timeout_ms: u64,
    supervisor: Supervisor,
    logging: Logging,
    /// The server's own arguments.
    #[serde(skip)]
    arguments: Vec<OsString>,
}

impl Plan {
    /// To supervise a server with these settings, started with the arguments of this process.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            listen: settings.server.listen,
            drain_timeout_ms: settings.server.drain_timeout_ms,
            supervisor: settings.supervisor.clone(),
            logging: settings.logging.clone(),
            arguments: std::env::args_os().skip(1).collect(),
        }
    }

    /// The plan of this process, if it was started as a parent.
    ///
    /// # Errors
    ///
    /// If it was and the plan makes no sense: somebody has typed it.
    pub fn of_this_process() -> Option<serde_json::Result<Self>> {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next()? != PARENT {
            return None;
        }
        let plan = arguments.next().unwrap_or_default();
        let plan = serde_json::from_str::<Self>(&plan.to_string_lossy());
        Some(plan.map(|plan| Self { arguments: arguments.collect(), ..plan }))
    }

    /// Turns this process into the parent.
    ///
    /// What has read the settings is gone then, and the memory that it took: the program begins anew as a process that has
    /// hardly anything in it that could fail. Where processes cannot begin anew it goes on as it is.
    ///
    /// # Errors
    ///
    /// If the process cannot begin, or can wait for nothing any more.
    pub fn carry_out(self) -> Result<Outcome, ParentError> {
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;

            let plan = serde_json::to_string(&self).map_err(|error| ParentError::Begin(error.into()))?;
            let program = std::env::current_exe().map_err(ParentError::Begin)?;
            let mut parent = std::process::Command::new(program);
            parent.arg(PARENT).arg(plan).args(self.arguments);
            Err(ParentError::Begin(parent.exec()))
        }
        #[cfg(not(unix))]
        self.supervise()
    }

    /// Runs the server as the worker of this process until it is told to stop.
    ///
    /// # Errors
    ///
    /// If it cannot begin, or can wait for nothing any more.
    pub fn supervise(self) -> Result<Outcome, ParentError> {
        let _log = logging::install_in_parent(&self.logging)?;
        let worker = SupervisorSettings::this_program().map_err(ParentError::Supervise)?;
        let worker = worker
            .arguments(&self.arguments)
            .listen(self.listen)
            .restart(restart_policy(&self.supervisor))
            .ready_timeout(self.supervisor.ready_timeout())
            .drain_timeout(Duration::from_millis(self.drain_timeout_ms))
            .wedge_limit(self.supervisor.wedge_limit());
        let parent = Parent::new(worker).map_err(why)?;
        let parent = parent.observer(observe);
        let parent = with_recording(parent, &self.supervisor).map_err(ParentError::Recording)?;
        parent.run().map_err(why)
    }
}

/// Logs what happens. When all is well again, what it took is let go: the parent has nothing to do until the next time.
fn observe(happening: &Happening) {
    TracingObserver.observe(happening);
    #[cfg(unix)]
    if is_quiet(happening) {
        watertight_recorder::let_go_of_code();
    }
}

/// Whether the parent has hardly anything to do after this.
#[cfg(unix)]
fn is_quiet(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::Ready { .. }
            | Happening::Restarting { .. }
            | Happening::IntensityExceeded { .. }
            | Happening::CannotStart { .. }
            | Happening::Ended(_)
            | Happening::TakeoverEnded { .. }
            | Happening::TakeoverFailed { .. }
    )
}

fn restart_policy(settings: &Supervisor) -> RestartPolicy {
    RestartPolicy::default()
        .backoff(settings.restart_base(), settings.restart_cap())
        .intensity(settings.restarts, settings.restart_period())
        .reset_after(settings.restart_reset())
        .when_exceeded(if settings.give_up { Exceeded::Exit } else { Exceeded::Wait })
}

#[cfg(unix)]
fn with_recording(parent: Parent, settings: &Supervisor) -> io::Result<Parent> {
    let recording = match &settings.journal {
        Some(path) => Recording::in_journal(open_journal(path)?),
        None => Recording::new()?,
    };
    let recording = recording.tell(log);
    Ok(parent.black_box(match &settings.minidumps {
        Some(directory) => recording.minidumps(directory),
        None => recording,
    }))
}

/// The file, for reading and appending. What is in it concerns clients, so nobody else reads it.
#[cfg(unix)]
fn open_journal(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let file = File::options().read(true).append(true).create(true).mode(0o600).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// There is no memory that outlives a worker here.
#[cfg(not(unix))]
fn with_recording(parent: Parent, _: &Supervisor) -> io::Result<Parent> {
    let _ = log;
    Ok(parent)
}

fn log(death: &Death) {
    error!(
        incident = %death.id,
        manner = death.manner.as_str(),
        signal = death.signal,
        exit_code = death.exit_code,
        attribution = ?death.attribution,
        socket_id = death.culprits.first().map(|culprit| &*culprit.id).unwrap_or_default(),
        thread = death.thread,
        uptime_ms = death.uptime_ms,
        last = ?death.last,
        minidump = death.minidump,
        "💀 The server died: {death}"
    );
}

fn why(error: SuperviseError) -> ParentError {
    match error {
        SuperviseError::Bind { address, source } => BindError::new(address, source).into(),
        error => ParentError::Supervise(error),
    }
}
