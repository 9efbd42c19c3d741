//! What a server of the bench says it holds: its `/stats`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Deserializer};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take until it holds what it is to hold, and no more comes and goes.
const SETTLED: Duration = Duration::from_secs(30);
/// Time between two looks at a server that settles.
const LOOK: Duration = Duration::from_millis(50);
/// So many looks in a row must show the same.
const LOOKS: usize = 4;
/// In bytes: what may come and go while the server holds the same. The request that asks is some of it.
const SAME: u64 = 2048;

/// What a server holds.
#[derive(Debug, Deserialize)]
pub(crate) struct Stats {
    /// In bytes. `None` where allocations are not counted.
    pub(crate) allocated: Option<u64>,
    /// The sockets of its namespace `/`.
    pub(crate) sockets: usize,
    /// What has come of its faults. A bare server tells nothing of them.
    #[serde(deserialize_with = "or_nothing")]
    pub(crate) judged: Judged,
}

/// What a guarded server has made of its faults.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Judged {
    /// How long each seal took, of the first ones.
    pub(crate) sealed_after_us: Vec<u64>,
}

fn or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Judged, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Stats {
    /// Asks over a connection of its own, which is closed again.
    pub(crate) fn of(server: SocketAddr) -> Result<Self> {
        serde_json::from_str(&body(server)?).context("stats of a server")
    }

    /// Asks until so many sockets are there and what is allocated stays the same.
    pub(crate) fn settled(server: SocketAddr, sockets: usize) -> Result<Self> {
        let deadline = Instant::now() + SETTLED;
        let mut seen: Vec<u64> = Vec::new();
        loop {
            let stats = Self::of(server)?;
            seen.push(stats.allocated.unwrap_or_default());
            let latest = &seen[seen.len().saturating_sub(LOOKS)..];
            let (least, most) = (latest.iter().min(), latest.iter().max());
            let is_still = least.zip(most).is_some_and(|(least, most)| most - least <= SAME);
            if latest.len() == LOOKS && is_still && stats.sockets == sockets {
                return Ok(stats);
            }
            ensure!(
                Instant::now() < deadline,
                "a server does not settle with {sockets} sockets: it has {stats:?}"
            );
            thread::sleep(LOOK);
        }
    }
}

fn body(server: SocketAddr) -> Result<String> {
    let mut tcp = TcpStream::connect(server).context("cannot ask for stats")?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    write!(tcp, "GET /stats HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).context("stats are not answered")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("stats are not answered in HTTP")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "stats are answered with {head}");
    Ok(body.to_owned())
}
