//! The guarded server with one number of clients.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::Effort;
use crate::Run;
use crate::client::{Client, Packet, Received, Transport};
use crate::crowd::Crowd;
use crate::machine::{process_cpu_time, resident, thread_cpu_time};
use crate::report::Times;
use crate::server::{Kind, Server};
use crate::stats::Stats;

/// The thread that seals and sweeps.
const RECOVERY: &str = "watertight-recovery";
/// Clients before those that count: what is made once is there.
const WARM_UP: usize = 10;
/// How long the server may take until it has recorded a seal whose client is gone.
const RECORDED: Duration = Duration::from_secs(10);

/// What was measured. `None` where the operating system does not tell.
#[derive(Serialize)]
pub(super) struct Point {
    pub(super) transport: Transport,
    pub(super) clients: usize,
    /// Bytes for each client.
    pub(super) allocated: f64,
    /// The same when each has exchanged messages.
    pub(super) active: f64,
    pub(super) resident: Option<f64>,
    /// CPU time of the server for each client and second, in microseconds.
    pub(super) idle: Option<f64>,
    /// The same for an echo: the median of some rounds.
    pub(super) echo: Option<f64>,
    /// For an echo of the bare server with as many clients.
    pub(super) bare_echo: Option<f64>,
    pub(super) sealed: Times,
    pub(super) told: Times,
    /// What the recovery takes of one processor without a fault so far, and in recovery mode.
    pub(super) calm: Option<f64>,
    pub(super) recovering: Option<f64>,
}

impl Point {
    pub(super) fn measure(run: &Run, transport: Transport, clients: usize, effort: Effort) -> Result<Self> {
        let log = run.results.join("growth.log");
        let bare_echo = bare_echo(transport, clients, effort, &log)?;
        let server = Server::counted(Kind::Guarded, &["--lenient"], &log)?;
        let address = server.address();
        let crowd = Crowd::gather(address, transport, WARM_UP)?;
        crowd.echo(1)?;
        crowd.leave()?;
        let empty = Memory::of(&server, 0)?;
        let crowd = Crowd::gather(address, transport, clients)?;
        let full = Memory::of(&server, clients)?;
        let (idle, calm) = at_rest(&server, effort.calm);
        let echo = echoing(&server, &crowd, clients, effort)?;
        let active = Memory::of(&server, clients)?;
        let (sealed, told) = offend(address, transport, effort.offenders)?;
        let (_, recovering) = at_rest(&server, effort.recovering);
        // Sealed clients are gone and all others are there.
        Stats::settled(address, clients)?;
        crowd.leave()?;
        Stats::settled(address, 0)?;
        let each = |bytes: u64| number(bytes) / count(clients);
        Ok(Self {
            transport,
            clients,
            allocated: each(full.allocated.saturating_sub(empty.allocated)),
            active: each(active.allocated.saturating_sub(empty.allocated)),
            resident: full.resident.zip(empty.resident).map(|(full, empty)| each(full.saturating_sub(empty))),
            idle: idle.map(|part| part * 1e6 / count(clients)),
            echo,
            bare_echo,
            sealed,
            told,
            calm,
            recovering,
        })
    }

    /// One client's part of it.
    pub(super) fn of_each(&self, part: Option<f64>) -> Option<f64> {
        part.map(|part| part / count(self.clients))
    }
}

#[derive(Clone, Copy)]
struct Memory {
    allocated: u64,
    resident: Option<u64>,
}

impl Memory {
    fn of(server: &Server, clients: usize) -> Result<Self> {
        let stats = Stats::settled(server.address(), clients)?;
        let allocated = stats.allocated.context("a server that counts its allocations tells them")?;
        Ok(Self { allocated, resident: resident(server.process()) })
    }
}

/// What the server and its recovery take of one processor while nobody does anything.
fn at_rest(server: &Server, length: Duration) -> (Option<f64>, Option<f64>) {
    let now = || (process_cpu_time(server.process()), thread_cpu_time(server.process(), RECOVERY));
    let (begun, before) = (Instant::now(), now());
    thread::sleep(length);
    let (took, after) = (begun.elapsed().as_secs_f64(), now());
    let part = |before: Option<Duration>, after: Option<Duration>| {
        before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64() / took)
    };
    (part(before.0, after.0), part(before.1, after.1))
}

/// What an echo takes of the bare server.
fn bare_echo(transport: Transport, clients: usize, effort: Effort, log: &Path) -> Result<Option<f64>> {
    let server = Server::counted(Kind::Bare, &[], log)?;
    let crowd = Crowd::gather(server.address(), transport, clients)?;
    let echo = echoing(&server, &crowd, clients, effort)?;
    crowd.leave()?;
    Ok(echo)
}

/// The server's CPU time for an echo, in microseconds, while all clients echo: the median of the rounds.
fn echoing(server: &Server, crowd: &Crowd, clients: usize, effort: Effort) -> Result<Option<f64>> {
    let times = effort.echoes.div_ceil(clients);
    // Once without counting, so that buffers that are made at the first message are there.
    crowd.echo(1)?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let before = process_cpu_time(server.process());
        crowd.echo(times)?;
        let Some((before, after)) = before.zip(process_cpu_time(server.process())) else { return Ok(None) };
        rounds.push(after.saturating_sub(before).as_secs_f64() * 1e6 / count(times * clients));
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds.get(rounds.len() / 2).copied())
}

/// One client after another whose handler panics: until nothing is left of it, and until it is told.
fn offend(server: SocketAddr, transport: Transport, offenders: usize) -> Result<(Times, Times)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut told = Times::new()?;
    for number in 0..offenders {
        let told_after = runtime.block_on(sink(server, transport));
        told.add(told_after.with_context(|| format!("offender {number} over {transport}"))?);
    }
    let deadline = Instant::now() + RECORDED;
    loop {
        let seals = Stats::of(server)?.judged.sealed_after_us;
        if seals.len() == offenders {
            let mut sealed = Times::new()?;
            seals.into_iter().for_each(|micros| sealed.add(Duration::from_micros(micros)));
            return Ok((sealed, told));
        }
        ensure!(
            Instant::now() < deadline,
            "of {offenders} clients that panicked, {} were sealed",
            seals.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Panics and waits for the end. Answers how long it took until the client was told.
async fn sink(server: SocketAddr, transport: Transport) -> Result<Duration> {
    let mut client = Client::connect(server, transport, "/").await?;
    let emitted = client.emit("panic_async", &Value::Null).await?;
    let mut told = None;
    loop {
        let Received { at, packet } = client.next().await?;
        match packet {
            Packet::Event { name, .. } if name == "incident" => told = Some(at - emitted),
            Packet::Closed(how) => return told.with_context(|| format!("closed without a word, by {how}")),
            other => bail!("neither told nor closed: {other:?}"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of clients or messages")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes for each of many")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}
