//! The servers: each runs in a process of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use tokio::net::TcpListener;
use watertight::{Incident, QuarantineSettings, Sink, Watertight};
use watertight_supervisor::{Happening, Recording, Supervised, Supervisor, SupervisorSettings};

use crate::exhibit::{Scene, Setting};

/// What a server prints before its address once it listens.
pub(crate) const READY: &str = "listening on ";
/// What a supervisor prints before the process id of each worker.
pub(crate) const WORKER: &str = "worker ";
/// What it prints before how a worker ended.
pub(crate) const DIED: &str = "died of ";
/// What it prints when the next worker serves.
pub(crate) const BACK: &str = "back";
/// What a protected server prints before each incident.
pub(crate) const INCIDENT: &str = "incident ";
/// The path of [`sockets_route`].
pub(crate) const SOCKETS: &str = "/sockets";
/// Threads of every server's runtime, whatever the machine has: so many clients can hold all of it.
pub const THREADS: usize = 2;
/// How long a supervised server may not answer until its parent ends it. The default is 10 s, which is longer than a scene.
const WEDGE_LIMIT: Duration = Duration::from_secs(1);
/// How much CPU time a server may use in all, in seconds: an end for one that spins and that nobody ends.
const CPU_SECONDS: u64 = 60;

/// A router that tells how many sockets the server has. The bare Socket.IO layer belongs around it.
pub fn sockets_route<F>(count: F) -> Router
where
    F: Fn() -> usize + Clone + Send + Sync + 'static,
{
    Router::new().route(SOCKETS, get(async move || count().to_string()))
}

/// Serves until killed. `worker` is what this process is to its supervisor, if it has one.
pub(crate) fn serve(scene: &Scene, setting: Setting, worker: Option<Supervised>) -> Result<()> {
    match (setting, worker) {
        (Setting::Supervised, None) => {
            bound(scene.memory_mib)?;
            supervise()
        }
        // The limits are its parent's, and it ends with it.
        (_, Some(worker)) => run(scene, setting, Some(worker)),
        (_, None) => {
            bound(scene.memory_mib)?;
            run(scene, setting, None)
        }
    }
}

/// The parent of a worker that is this program with the same arguments.
fn supervise() -> Result<()> {
    let settings = SupervisorSettings::this_program()?
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .wedge_limit(WEDGE_LIMIT);
    // Who was at work is recorded by the next worker, from the journal.
    let recording = Recording::new()?.tell(|_| {});
    let supervisor = Supervisor::new(settings)?.black_box(recording);
    let address = *supervisor.addresses().first().context("it listens")?;
    let told = supervisor.observer(move |happening: &Happening| match happening {
        Happening::Started { pid, .. } => print(&format!("{WORKER}{pid}")),
        Happening::Ready { after_death: None, .. } => print(&format!("{READY}{address}")),
        Happening::Ready { .. } => print(BACK),
        Happening::Died(death) => {
            let why = if death.was_wedged() { ", sent by its parent because it did not answer," } else { "" };
            print(&format!("{DIED}{}{why}", death.ending));
        }
        _ => {}
    });
    told.run()?;
    Ok(())
}

fn run(scene: &Scene, setting: Setting, mut worker: Option<Supervised>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        if setting != Setting::Bare {
            install(worker.as_mut())?;
        }
        let app = (scene.app)(setting);
        let listener = match worker.as_mut() {
            Some(worker) => {
                TcpListener::from_std(worker.listeners().pop().context("a supervisor hands over a socket")?)?
            }
            None => TcpListener::bind("127.0.0.1:0").await?,
        };
        match &worker {
            Some(worker) => worker.ready(),
            None => print(&format!("{READY}{}", listener.local_addr()?)),
        }
        match setting {
            Setting::Bare => axum::serve(listener, app).await?,
            Setting::Protected | Setting::Supervised => watertight_axum::serve(listener, app).await?,
        }
        Ok(())
    })
}

fn install(worker: Option<&mut Supervised>) -> Result<()> {
    // All clients of a scene come from one address, and its bystanders must be let in again.
    let alone = QuarantineSettings::new().enabled(false);
    let mut builder = Watertight::builder().quarantine(alone).sink(Printed);
    if let Some(worker) = worker {
        let recorder = worker.flight_recorder()?.context("the supervisor records")?;
        recorder.mark_crashes()?;
        builder = builder.recorder(recorder);
        builder = builder.store(worker.journal()?.context("the supervisor records")?);
    }
    builder.install()?;
    Ok(())
}

/// Whatever happens in here stays in here: memory and time are limited, no core is dumped, and it ends with the
/// process that started it.
fn bound(memory_mib: u64) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limits =
        [(Resource::As, memory_mib * 1024 * 1024), (Resource::Cpu, CPU_SECONDS), (Resource::Core, 0)];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn print(line: &str) {
    let mut output = std::io::stdout().lock();
    // Whoever started us may be gone, and soon we are as well.
    _ = writeln!(output, "{line}");
    _ = output.flush();
}

/// Prints every incident for the process that watches.
struct Printed;

impl Sink for Printed {
    fn incident(&self, incident: &Arc<Incident>) {
        let incident = serde_json::to_string(&**incident).unwrap_or_else(|error| error.to_string());
        print(&format!("{INCIDENT}{incident}"));
    }
}

/// Adds what every server of an exhibit has: the event `echo` in the namespace `/` of `$io`, a `SocketIo` of the crate
/// `$socketioxide`. For versions whose handlers are futures.
#[macro_export]
macro_rules! echo {
    ($socketioxide:ident, $io:expr) => {
        $io.ns("/", async |socket: $socketioxide::extract::SocketRef| $crate::on_echo!($socketioxide, socket))
    };
}

/// The event `echo` of one socket. For versions whose handlers are futures.
#[macro_export]
macro_rules! on_echo {
    ($socketioxide:ident, $socket:expr) => {
        $socket.on(
            "echo",
            async |socket: $socketioxide::extract::SocketRef,
                   $socketioxide::extract::Data(data): $socketioxide::extract::Data<$crate::Value>| {
                // Whoever has just left gets no echo.
                socket.emit("echo", &data).ok();
            },
        )
    };
}

/// As [`echo!`], for versions from before handlers were futures.
#[macro_export]
macro_rules! echo_sync {
    ($socketioxide:ident, $io:expr) => {
        $io.ns("/", |socket: $socketioxide::extract::SocketRef| {
            socket.on(
                        "echo",
                        |socket: $socketioxide::extract::SocketRef,
                         $socketioxide::extract::Data(data): $socketioxide::extract::Data<$crate::Value>| {
                            // Whoever has just left gets no echo.
                            socket.emit("echo", data).ok();
                        },
                    );
        })
    };
}
