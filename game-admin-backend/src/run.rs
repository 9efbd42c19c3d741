//! From settings to a running server, and from a signal to its end.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use watertight::{InstallError, RingSink};
use watertight_supervisor::Supervised;

use crate::{
    isolation,
    left::Left,
    logging::{self, LoggingError},
    parent::Parent,
    server::{BindError, Server},
    settings::Settings,
    signals::StopSignals,
};

/// Why the server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The log could not be set up.
    #[error("cannot set up the log")]
    Logging(#[from] LoggingError),
    /// The panic hook or the recovery thread could not be installed.
    #[error("cannot install the isolation of faults")]
    Isolation(#[from] InstallError),
    /// The threads of the runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The process may not listen for signals.
    #[error("cannot listen for stop signals")]
    Signals(#[source] io::Error),
    /// The address could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The server ended without being told to.
    #[error("the server ended by itself")]
    Serve(#[source] io::Error),
}

/// Runs the server until Ctrl-C or SIGTERM, and then until all clients are told and closed.
///
/// What is in `ignored_variables` is warned about, once the log is there. As a `worker` it serves the socket that its parent
/// holds, tells that when it is ready, and also ends when that is gone.
///
/// When it is ready it prints `listening on http://ADDRESS` to standard output. A second signal cuts the end short.
///
/// # Errors
///
/// If the server cannot start, or ends by itself.
pub fn run(
    settings: Settings,
    ignored_variables: &[String],
    mut worker: Option<Supervised>,
) -> Result<(), RunError> {
    let _log = logging::install(&settings.logging)?;
    for variable in ignored_variables {
        warn!(
            variable,
            "an environment variable is no setting: those are called WATERTIGHT_<SECTION>__<NAME>"
        );
    }
    let left = worker.as_mut().map(|worker| Left::take(worker, &settings.supervisor)).unwrap_or_default();
    let incidents = isolation::install(&settings, left)?;
    let runtime = runtime(settings.server.lanes).map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(serve(settings, incidents, worker));
    // Whatever still runs is past its bound; waiting for it would make the bound a lie.
    runtime.shutdown_background();
    outcome
}

/// The runtime that does the I/O. With lanes it runs no handler, and half of the processors are enough for it: threads
/// that have less to do than there is are woken for nothing, which costs more than they bring.
fn runtime(lanes: bool) -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if lanes {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads((processors / 2).max(1));
    }
    builder.enable_all().build()
}

/// Signals that come this soon after another are the same one.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

async fn serve(settings: Settings, incidents: RingSink, worker: Option<Supervised>) -> Result<(), RunError> {
    let mut signals = StopSignals::listen().map_err(RunError::Signals)?;
    if settings.server.lab {
        warn!(listen = %settings.server.listen, "the lab is open: any client can cause real faults");
    }
    let mut parent = Parent::new(worker);
    let pace = parent.pace(&settings.supervisor);
    let server = Server::new(settings, incidents);
    let server = match parent.listener() {
        Some(listener) => server.adopt(listener)?,
        None => server.bind().await?,
    };
    let server = match pace {
        Some(pace) => server.pace(pace),
        None => server,
    };
    let server = server.taken_over(parent.taken_over());
    let mut orphaned = parent.is_gone();
    parent.ready();
    announce(format!("listening on http://{}", server.address()));

    let (told, stop) = tokio::sync::oneshot::channel();
    let serving = server.serve(async {
        _ = stop.await;
    });
    let interrupted = async {
        tokio::select! {
            signal = signals.next() => info!(signal, "a signal asks the server to stop"),
            () = &mut orphaned => warn!("the parent process is gone: the server stops"),
        }
        parent.stopping();
        _ = told.send(());
        // Service managers signal the parent and the server, and the parent does, too: that is one signal.
        let first = Instant::now();
        let second = loop {
            let signal = signals.next().await;
            if first.elapsed() >= ONE_SIGNAL {
                break signal;
            }
        };
        warn!(signal = second, "a second signal cuts the end short");
    };
    tokio::select! {
        ended = serving => ended.map_err(RunError::Serve),
        () = interrupted => Ok(()),
    }
}

/// Tells whoever started the program that it is ready. Nobody has to listen, and a standard output that takes no more holds up
/// nobody but a thread.
fn announce(line: String) {
    let say = move || {
        let mut stdout = io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            warn!(%error, "cannot write to standard output: {line}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("announcement".to_owned()).spawn(say) {
        warn!(%error, "cannot write to standard output");
    }
}
