//! Those who make the storm: a few clients that panic many times a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Interval, interval_at, timeout_at};

use crate::client::{Client, PATIENCE, Packet, Transport};
use crate::report::Times;

/// What they emit: a handler that panics after its first await.
const FAULT: &str = "panic_async";

/// How long a server may take for the panics that it has fallen behind with.
const BACKLOG: Duration = Duration::from_mins(2);

/// What they do, each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Connects, panics, and is disconnected: what a guarded server makes of it.
    PanicAndReconnect,
    /// Connects, echoes, and leaves: the same connections without a panic.
    EchoAndReconnect,
    /// Panics over the connection that it has: a bare server leaves it open.
    PanicAgain,
}

/// How hard it storms.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Force {
    pub(super) clients: u32,
    pub(super) per_second: u32,
}

/// When it is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After so long. Clients that fall behind do not wait until they have caught up.
    After(Duration),
    /// When each client has done it so often, however long that takes.
    Acts(u32),
}

/// Says one client when it is to do it again.
struct Pace {
    every: Interval,
    end: Option<Instant>,
    left: u32,
}

impl Pace {
    /// Waits until it is time; answers whether it goes on.
    async fn goes_on(&mut self) -> bool {
        let Self { every, end, left } = self;
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        match *end {
            // A turn after the end is not waited for.
            Some(end) => timeout_at(end.into(), every.tick()).await.is_ok() && Instant::now() < end,
            None => {
                every.tick().await;
                true
            }
        }
    }
}

/// What they experienced.
#[derive(Serialize)]
pub(super) struct Damage {
    /// How often they did what they do.
    pub(super) acts: u64,
    /// Until all was done that was asked for.
    pub(super) seconds: f64,
    /// From the emit to the `incident`, of those that were told.
    pub(super) told: Times,
    /// Disconnected without a word.
    pub(super) untold: u64,
    /// Could not connect, or got something else than expected.
    pub(super) failed: u64,
    /// The first of those.
    pub(super) failure: Option<String>,
}

impl Damage {
    /// Nothing, so far.
    pub(super) fn new() -> Result<Self> {
        let (acts, seconds, untold, failed, failure) = (0, 0.0, 0, 0, None);
        Ok(Self { acts, seconds, told: Times::new()?, untold, failed, failure })
    }

    pub(super) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let acts = self.acts as f64;
        acts / self.seconds
    }

    /// Adds what others experienced, or the same at another time.
    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        let Self { acts, seconds, told, untold, failed, failure } = other;
        self.acts += acts;
        self.seconds += seconds;
        self.told.merge(told)?;
        self.untold += untold;
        self.failed += failed;
        self.failure = self.failure.take().or_else(|| failure.clone());
        Ok(())
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| format!("{error:#}"));
    }
}

/// Lets it storm.
pub(super) async fn storm(server: SocketAddr, act: Act, force: Force, until: Until) -> Result<Damage> {
    let Force { clients, per_second } = force;
    let begun = Instant::now();
    let (end, left) = match until {
        Until::After(length) => (Some(begun + length), u32::MAX),
        Until::Acts(each) => (None, each),
    };
    let every = Duration::from_secs(1) * clients / per_second;
    let storming = (0..clients).map(|number| {
        // One after another and not all at once.
        let every = interval_at((begun + every * number / clients).into(), every);
        let pace = Pace { every, end, left };
        tokio::task::spawn(async move {
            match act {
                Act::PanicAgain => stay(server, pace).await,
                Act::PanicAndReconnect | Act::EchoAndReconnect => come_and_go(server, act, pace).await,
            }
        })
    });
    let mut all = Damage::new()?;
    for done in storming.collect::<Vec<_>>() {
        // Of one client no seconds are counted.
        all.add(&done.await??)?;
    }
    all.seconds = begun.elapsed().as_secs_f64();
    Ok(all)
}

async fn come_and_go(server: SocketAddr, act: Act, mut pace: Pace) -> Result<Damage> {
    let mut damage = Damage::new()?;
    while pace.goes_on().await {
        let done = match act {
            Act::EchoAndReconnect => echo(server).await.map(|()| None),
            _ => sink(server, &mut damage.acts).await.map(Some),
        };
        match done {
            Ok(None) => damage.acts += 1,
            Ok(Some(Some(took))) => damage.told.add(took),
            Ok(Some(None)) => damage.untold += 1,
            Err(error) => damage.failed(&error),
        }
    }
    Ok(damage)
}

async fn echo(server: SocketAddr) -> Result<()> {
    let mut client = Client::connect(server, Transport::WebSocket, "/").await?;
    client.echo(&Value::Null).await.map(|_| ())
}

/// Connects, panics, and waits for the end; answers how soon it was told, if it was. Counts panics as they are emitted, so
/// that one whose end is strange is counted as well.
async fn sink(server: SocketAddr, panics: &mut u64) -> Result<Option<Duration>> {
    let mut client = Client::connect(server, Transport::WebSocket, "/").await?;
    let emitted = client.emit(FAULT, &json!({})).await?;
    *panics += 1;
    let mut told = None;
    loop {
        let received = client.next().await?;
        match received.packet {
            Packet::Event { name, data, .. } if name == "incident" => {
                ensure!(told.is_none(), "told twice");
                ensure!(data["code"] == "panic", "told of something else: {data}");
                told = Some(received.at - emitted);
            }
            Packet::Closed(_) => return Ok(told),
            // Who is so slow to read that it had to be cut off can be sent this on the way.
            Packet::Disconnected if told.is_some() => {}
            other => bail!("neither told nor closed: {other:?}"),
        }
    }
}

/// Stays connected and panics whenever it is time to.
async fn stay(server: SocketAddr, mut pace: Pace) -> Result<Damage> {
    let mut damage = Damage::new()?;
    let mut client = Client::connect(server, Transport::WebSocket, "/").await?;
    client.settle(PATIENCE).await?;
    while pace.goes_on().await {
        client.emit(FAULT, &json!({})).await?;
        damage.acts += 1;
        // Whatever came meanwhile is read without waiting, and pings are answered.
        if let Ok(Ok(received)) = timeout_at(tokio::time::Instant::now(), client.next()).await {
            match received.packet {
                Packet::Event { name, .. } if name == "echo" => {}
                other => damage.failed(&anyhow!("a panic is answered with {other:?}")),
            }
        }
    }
    // A server that falls behind, as one that prints a backtrace for each may, goes on panicking until this is answered.
    client.settle(BACKLOG).await?;
    Ok(damage)
}
