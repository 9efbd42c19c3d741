//! What the client of each panic experiences when the server is bare socketioxide: one client for each site and transport,
//! all at once, watched until the heartbeat must have ended what is dead.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::site::{SITES, Site, Way, arm_transport};
use crate::client::{Client, PATIENCE, Packet, Transport};
use crate::server::{Kind, Server, panics_in};

/// Longer than the heartbeat, which is 45 s by default.
pub(super) const WATCHED: Duration = Duration::from_secs(60);
pub(super) const QUICK_WATCHED: Duration = Duration::from_secs(2);
/// When it is asked whether the client's messages are still handled.
const ECHO: Duration = Duration::from_secs(1);
/// How long all panics may take to be printed, and how often that is looked at.
const PRINTED: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// What no panic has sent.
const STILL_THERE: &str = "still there";

/// What one client experienced.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Experience {
    pub(super) site: Site,
    pub(super) transport: Transport,
    /// It heard of it, after so long and so.
    pub(super) told: Option<(Duration, String)>,
    /// Its connection ended, after so long and so.
    pub(super) closed: Option<(Duration, String)>,
    /// Whether an echo came back that it asked for afterwards; `None` when it was not in a namespace to ask in.
    pub(super) echoes: Option<bool>,
}

/// What all of them experienced, and what went wrong.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) experiences: Vec<Experience>,
    pub(super) wrong: Vec<String>,
}

/// A watch under way.
pub(super) struct Watch(JoinHandle<Seen>);

impl Watch {
    /// Starts the server and has everybody panic; what happens then is watched beside other work: it is waiting.
    pub(super) fn start(log: &Path, length: Duration) -> Result<Self> {
        let server = Server::bench(Kind::Bare, &["--faults"], log)?;
        let log = log.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watching = std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut seen = runtime.block_on(watch_all(server.address(), length));
            // Otherwise it is no wonder that nobody was told.
            if let Err(error) = wait_for_panics(&log, seen.experiences.len() as u64) {
                seen.wrong.push(format!("{error:#}"));
            }
            // It is there until then: a busy machine may take its time to panic.
            drop(server);
            seen
        })?;
        Ok(Self(watching))
    }

    pub(super) fn finish(self) -> Seen {
        let panicked = |_| Seen { wrong: vec!["a watch panicked".to_owned()], ..Seen::default() };
        self.0.join().unwrap_or_else(panicked)
    }
}

/// Waits until a log has so many panics.
fn wait_for_panics(log: &Path, asked: u64) -> Result<()> {
    let deadline = Instant::now() + PRINTED;
    loop {
        let panics = panics_in(log)?;
        if panics >= asked {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{panics} of {asked} panics happened on the bare server");
        std::thread::sleep(LOOK);
    }
}

async fn watch_all(server: SocketAddr, length: Duration) -> Seen {
    let places = SITES.into_iter().flat_map(|site| Transport::ALL.map(|transport| (site, transport)));
    let watching: Vec<_> = places
        .map(|(site, transport)| {
            let watched = async move {
                let what = || format!("{} over {transport}, bare", site.name);
                watch(server, site, transport, length).await.with_context(what)
            };
            tokio::task::spawn(watched)
        })
        .collect();
    let mut seen = Seen::default();
    for watched in watching {
        match watched.await {
            Ok(Ok(experience)) => seen.experiences.push(experience),
            Ok(Err(error)) => seen.wrong.push(format!("{error:#}")),
            Err(error) => seen.wrong.push(format!("a client of the bare server: {error}")),
        }
    }
    seen
}

async fn watch(server: SocketAddr, site: Site, transport: Transport, length: Duration) -> Result<Experience> {
    let Panicked { mut client, mut since, refused } = panic(server, site, transport).await?;
    let end = tokio::time::Instant::from_std(since + length);
    let ask = tokio::time::Instant::from_std(since + ECHO);
    let is_in = !matches!(site.way, Way::Enter { .. });
    let mut seen = Experience { site, transport, told: None, closed: None, echoes: is_in.then_some(false) };
    if let Some(how) = refused {
        seen.closed = Some((since.elapsed(), how));
        return Ok(seen);
    }
    let mut has_asked = !is_in;
    loop {
        let received = match timeout_at(if has_asked { end } else { ask }, client.next()).await {
            Ok(Ok(received)) => received,
            // It says how long it has waited, and waits again.
            Ok(Err(_)) => continue,
            Err(_) if has_asked => return Ok(seen),
            Err(_) => {
                has_asked = true;
                // Of a dead session this fails; its end is told by what is read.
                _ = client.emit("echo", &json!(STILL_THERE)).await;
                continue;
            }
        };
        match received.packet {
            Packet::Event { name, ack: Some(ack), .. } if name == "ack_me" => {
                since = client.answer(ack, &Value::Null).await?;
            }
            Packet::Event { name, data, .. } if name == "echo" && data == STILL_THERE => {
                seen.echoes = Some(true);
            }
            // Also an echo of before that was late.
            Packet::Connected => {}
            Packet::Event { name, .. } if name == "echo" => {}
            Packet::Closed(how) => {
                seen.closed = Some((received.at.saturating_duration_since(since), how));
                return Ok(seen);
            }
            what => {
                let after = received.at.saturating_duration_since(since);
                seen.told.get_or_insert((after, format!("{what:?}")));
            }
        }
    }
}

/// Connects and panics.
async fn panic(server: SocketAddr, site: Site, transport: Transport) -> Result<Panicked> {
    if let Way::Enter { bench, .. } = site.way {
        let (client, since) = Client::knock(server, transport, bench).await?;
        return Ok(Panicked { client, since, refused: None });
    }
    let mut client = Client::connect(server, transport, "/").await?;
    client.settle(PATIENCE).await?;
    let mut event = site.name;
    if site.way == Way::Transport {
        arm_transport(&mut client, "arm_transport").await?;
        event = "echo";
    }
    let whose = format!("{} at {} over {transport}", client.session(), site.name);
    let since = Instant::now();
    let refused = client.emit(event, &Value::from(whose)).await.err().map(|error| format!("{error:#}"));
    Ok(Panicked { client, since, refused })
}

/// A client whose panic has been asked for.
struct Panicked {
    client: Client,
    since: Instant,
    /// A client that polls takes a request that is not answered for the end of its connection, and opens another.
    refused: Option<String>,
}
