//! The parent process: it holds the address, starts the server as its worker, and starts it again when it dies.

use std::io;

use tracing::error;
use watertight::Death;
use watertight_supervisor::{
    Exceeded, Outcome, RestartPolicy, SuperviseError, Supervisor as Parent, SupervisorSettings,
};

use crate::{
    logging::{self, LoggingError},
    server::BindError,
    settings::{Settings, Supervisor},
};

/// Why the parent did not begin its work, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    /// The log could not be set up.
    #[error("cannot set up the log")]
    Logging(#[from] LoggingError),
    /// The address could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no memory for what outlives a worker.
    #[error("cannot get memory for the flight recorder; --no-supervise runs without it")]
    Recording(#[source] io::Error),
    /// The operating system does not give what else it needs.
    #[error("cannot supervise the server; --no-supervise runs it alone")]
    Supervise(#[source] SuperviseError),
}

/// Runs the server as the worker of this process until it is told to stop.
///
/// # Errors
///
/// If it cannot begin, or can wait for nothing any more.
pub fn supervise(settings: &Settings) -> Result<Outcome, ParentError> {
    let _log = logging::install(&settings.logging)?;
    let worker = SupervisorSettings::this_program().map_err(ParentError::Supervise)?;
    let worker = worker
        .listen(settings.server.listen)
        .restart(restart_policy(&settings.supervisor))
        .ready_timeout(settings.supervisor.ready_timeout())
        .drain_timeout(settings.server.drain_timeout())
        .wedge_limit(settings.supervisor.wedge_limit());
    let parent = Parent::new(worker).map_err(why)?;
    let parent = with_recording(parent).map_err(ParentError::Recording)?;
    parent.run().map_err(why)
}

fn restart_policy(settings: &Supervisor) -> RestartPolicy {
    RestartPolicy::default()
        .backoff(settings.restart_base(), settings.restart_cap())
        .intensity(settings.restarts, settings.restart_period())
        .reset_after(settings.restart_reset())
        .when_exceeded(if settings.give_up { Exceeded::Exit } else { Exceeded::Wait })
}

#[cfg(unix)]
fn with_recording(parent: Parent) -> io::Result<Parent> {
    let recording = watertight_supervisor::Recording::new()?;
    Ok(parent.black_box(recording.tell(log)))
}

/// There is no memory that outlives a worker here.
#[cfg(not(unix))]
fn with_recording(parent: Parent) -> io::Result<Parent> {
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
        "💀 The server died: {death}"
    );
}

fn why(error: SuperviseError) -> ParentError {
    match error {
        SuperviseError::Bind { address, source } => BindError::new(address, source).into(),
        error => ParentError::Supervise(error),
    }
}
