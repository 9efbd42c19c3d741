//! The server under measurement: the same handlers, on bare socketioxide and on Watertight as a library is used, with
//! its defaults; and one event with hardly anything that protects, for what both are held against.
mod bare;
mod guarded;
mod judge;
mod least;
mod seals;

use std::future::Future;

use anyhow::{Result, ensure};
use axum::Json;
use axum::Router;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use watertight_faults::{TransportFaults, fail_bodies};

#[derive(Debug, Parser)]
#[command(about = "The server that `cargo xtask bench` measures")]
struct CommandLine {
    /// What the handlers run on.
    #[arg(value_enum)]
    kind: Kind,

    /// A panic fails its event, and its client stays: for as many panics as the server can take.
    #[arg(long)]
    forgive: bool,

    /// Nobody is quarantined and no event is switched off, however many clients panic: each is sealed, and others come.
    #[arg(long)]
    lenient: bool,

    /// How many threads do what clients ask for; 0 is one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,

    /// Clients can have the transport's own tasks panic. Costs a little for each read.
    #[arg(long)]
    faults: bool,

    /// The port on 127.0.0.1; 0 is a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// socketioxide and axum, as they are.
    Bare,
    /// The same with Watertight's imports.
    Guarded,
    /// The event `echo` alone, with hardly anything that protects; takes no other options than the port and the threads.
    Least,
}

/// How much memory the program has allocated and not freed, in bytes.
pub type Allocated = fn() -> usize;

/// Serves until it is killed. Prints `listening on http://ADDRESS` when it does.
///
/// # Errors
///
/// When the server cannot be set up.
pub fn main(allocated: Option<Allocated>) -> Result<()> {
    let CommandLine { kind, forgive, lenient, faults, threads, port } = CommandLine::parse();
    let faults = faults.then(TransportFaults::new);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        runtime.worker_threads(threads);
    }
    let patience = guarded::Patience { forgive, lenient };
    runtime.enable_all().build()?.block_on(async {
        match kind {
            Kind::Bare => bare::serve(port, allocated, faults).await,
            Kind::Guarded => guarded::serve(port, allocated, faults, patience).await,
            Kind::Least => {
                ensure!(faults.is_none() && !forgive && !lenient, "`least` can neither fail nor be patient");
                least::serve(port, allocated).await
            }
        }
    })
}

/// `/stats`: what the server holds, as JSON, with what `more` adds.
fn stats<F>(
    allocated: Option<Allocated>,
    sockets: impl Fn() -> usize + Clone + Send + Sync + 'static,
    more: F,
) -> Router
where
    F: Fn() -> Value + Clone + Send + Sync + 'static,
{
    let stats = async move || {
        Json(json!({
            "allocated": allocated.map(|allocated| allocated()),
            "sockets": sockets(),
            "judged": more(),
        }))
    };
    Router::new().route("/stats", get(stats))
}

/// Requests of sessions that are armed fail while they are read.
fn failing(app: Router, faults: &TransportFaults) -> Router {
    app.layer(axum::middleware::from_fn_with_state(faults.clone(), fail_bodies))
}

/// Binds the port and says where it listens.
async fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(listener)
}

/// Ends with the request to stop, or by itself.
async fn until_stopped(serving: impl Future<Output = std::io::Result<()>>) -> Result<()> {
    tokio::select! {
        served = serving => Ok(served?),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
