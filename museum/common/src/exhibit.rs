//! What an exhibit says of itself.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::expect::Expect;
use crate::observation::Fate;
use crate::packet::Parser;

/// How the server of a scene is run. One column of the table each; another way to run one is another variant, with its
/// arm in `serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// As upstream documents it: `axum::serve` and nothing else.
    Bare,
    /// Behind Watertight, as far as that fits on these versions.
    Protected,
    /// The same as the worker of a supervisor with a flight recorder: for what ends or stops the whole process.
    Supervised,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Protected => "protected",
            Self::Supervised => "supervised",
        })
    }
}

/// Where an offence takes place.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// The server's address.
    pub server: SocketAddr,
    /// What it speaks.
    pub parser: Parser,
    /// How long the offender is watched afterwards.
    pub watch: Duration,
}

/// What an offence comes to.
pub type Offending = Pin<Box<dyn Future<Output = Result<Fate>> + Send>>;

/// So many clients get ready, and when all are they offend at once. What becomes of them is the same for all, so the
/// fate of one is told.
///
/// # Errors
///
/// That of the first that cannot.
pub async fn together<P, R, S>(
    stage: Stage,
    clients: usize,
    prepare: fn(Stage) -> P,
    strike: fn(Stage, R) -> S,
) -> Result<Fate>
where
    P: Future<Output = Result<R>>,
    S: Future<Output = Result<Fate>> + Send + 'static,
{
    let mut ready = Vec::new();
    for _ in 0..clients {
        ready.push(prepare(stage).await?);
    }
    let striking: Vec<_> = ready.into_iter().map(|ready| tokio::spawn(strike(stage, ready))).collect();
    let mut all: Option<Fate> = None;
    for strike in striking {
        let fate = strike.await.context("an offender panicked")??;
        match &mut all {
            Some(Fate::Watched(watched)) => watched.addresses.extend(fate.addresses()),
            _ => all = Some(fate),
        }
    }
    all.context("nobody offends")
}

/// One bug of the exhibit, and one way to meet it.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// Its title in the table.
    pub title: &'static str,
    /// What everybody in it speaks.
    pub parser: Parser,
    /// How often it is played, where luck has a part in it. What is expected has to be seen each time.
    pub rounds: usize,
    /// How much address space the server may use, in MiB.
    pub memory_mib: u64,
    /// The server: Socket.IO with an event `echo` in the namespace `/`, and the route of
    /// [`sockets_route`](crate::sockets_route).
    pub app: fn(Setting) -> Router,
    /// What the offender does. It is over when the offender has been watched for [`Stage::watch`].
    pub offend: fn(Stage) -> Offending,
    /// What has to be seen, in every setting. What is expected of the bare server is the harm.
    pub expect: &'static [(Setting, &'static [Expect])],
}

/// Enough for every server that is not attacked through its memory.
pub const PLENTY_MIB: u64 = 4096;

/// The real bugs of some pinned versions.
#[derive(Debug, Clone, Copy)]
pub struct Exhibit {
    /// The name of its folder, and of its table in `docs/museum.md`.
    pub name: &'static str,
    /// Its lock file, which says what it is pinned to.
    pub lock: &'static str,
    /// The packages of the lock file that the bug is in, or that bring it.
    pub packages: &'static [&'static str],
    /// What is shown.
    pub scenes: &'static [Scene],
}
