//! The servers: each runs in a process of its own.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use tokio::net::TcpListener;
use watertight::{Incident, QuarantineSettings, Sink, Watertight};

use crate::exhibit::{Scene, Setting};

/// What a server prints before its address once it listens.
pub(crate) const READY: &str = "listening on ";
/// What a protected server prints before each incident.
pub(crate) const INCIDENT: &str = "incident ";
/// The path of [`sockets_route`].
pub(crate) const SOCKETS: &str = "/sockets";
/// Threads of every server's runtime, whatever the machine has: so many clients can hold all of it.
pub const THREADS: usize = 2;
/// How much CPU time a server may use in all, in seconds: an end for one that spins and that nobody ends.
const CPU_SECONDS: u64 = 60;

/// A router that tells how many sockets the server has. The bare Socket.IO layer belongs around it.
pub fn sockets_route<F>(count: F) -> Router
where
    F: Fn() -> usize + Clone + Send + Sync + 'static,
{
    Router::new().route(SOCKETS, get(async move || count().to_string()))
}

/// Serves until killed.
pub(crate) fn serve(scene: &Scene, setting: Setting) -> Result<()> {
    bound(scene.memory_mib).context("the limits of this process cannot be set")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        if setting == Setting::Protected {
            // All clients of a scene come from one address, and its bystanders must be let in again.
            let alone = QuarantineSettings::new().enabled(false);
            Watertight::builder().quarantine(alone).sink(Printed).install()?;
        }
        let app = (scene.app)(setting);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        print(&format!("{READY}{}", listener.local_addr()?));
        match setting {
            Setting::Bare => axum::serve(listener, app).await?,
            Setting::Protected => watertight_axum::serve(listener, app).await?,
        }
        Ok(())
    })
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
