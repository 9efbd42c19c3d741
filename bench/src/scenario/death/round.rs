//! One death, and how everybody came back from it.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::crowd::{Crowd, Mix, Return};
use super::scouts::{Found, Scouts};
use super::subject::{Programs, Subject};
use crate::client::{Client, Transport};
use crate::machine;
use crate::report::Times;

/// How long a crowd may take to gather, and to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Death {
    /// Killed from outside, while nobody is at work.
    Killed,
    /// A handler reads memory that is not there: the lab's `segv`.
    Segfault,
}

impl Death {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Killed => "SIGKILL",
            Self::Segfault => "SIGSEGV",
        }
    }
}

/// Who dies before whom, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    pub(super) subject: Subject,
    pub(super) mix: Mix,
    pub(super) clients: usize,
    pub(super) death: Death,
}

/// `200 clients of Watertight over polling, SIGKILL`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, mix, clients, death } = self;
        write!(f, "{clients} clients of {} over {}, {}", subject.name(), mix.name(), death.name())
    }
}

/// What came of one death. All times are from the death on.
#[derive(Serialize)]
pub(super) struct Round {
    /// The last client has seen its connection end.
    #[serde(serialize_with = "as_ms", rename = "noticed_ms")]
    pub(super) noticed: Option<Duration>,
    /// A fresh connection has an open packet.
    #[serde(serialize_with = "as_ms", rename = "answers_ms")]
    pub(super) answers: Option<Duration>,
    /// Half of all are back in their namespace.
    #[serde(serialize_with = "as_ms", rename = "half_back_ms")]
    pub(super) half: Option<Duration>,
    /// All are. `None` when somebody is not, in time.
    #[serde(serialize_with = "as_ms", rename = "all_back_ms")]
    pub(super) all: Option<Duration>,
    pub(super) missing: usize,
    /// Connections at which nobody listened.
    pub(super) refused: u64,
    /// Connections that came to nothing otherwise.
    pub(super) failed: u64,
    /// Why, as the clients say.
    failures: Vec<String>,
    /// Echoes of those who are back first, until all are.
    pub(super) early: Times,
    /// Those of their echoes that did not come back.
    pub(super) lost: u64,
    /// CPU time of the process that serves after the death, until all are back, in seconds.
    pub(super) cpu: Option<f64>,
    /// The most connections that waited for being accepted.
    pub(super) backlog: Option<u64>,
    /// What part of the clients is back after so many milliseconds: to be drawn.
    #[serde(skip)]
    pub(super) curve: Vec<(f64, f64)>,
}

/// Lets a fresh server die before a crowd.
pub(super) fn run(setting: Setting, programs: &Programs, results: &Path) -> Result<Round> {
    let Setting { subject, mix, clients, death } = setting;
    let server = subject.start(programs, results)?;
    let (address, namespace) = (server.address(), subject.namespace());
    let crowd = Crowd::gather(address, namespace, mix, clients, PATIENCE)?;
    let died = match death {
        Death::Killed => server.kill()?,
        Death::Segfault => segfault(address, namespace)?,
    };
    let mut scouts = None;
    let came = crowd.come_back(PATIENCE, || {
        // Not before the death is seen: the process that dies must not be the one that answers.
        scouts = Some(Scouts::send(address, namespace)?);
        Ok(())
    })?;
    let cpu = server.process().and_then(machine::cpu_time).map(|time| time.as_secs_f64());
    let found = scouts.context("nobody has noticed the death")?.call_back()?;
    Ok(Round::new(died, clients, came, found, cpu))
}

/// A client of its own lets the process die; when it asked for that.
fn segfault(server: SocketAddr, namespace: &'static str) -> Result<Instant> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut offender = Client::open(server, Transport::WebSocket, namespace).await?;
        offender.enter().await?;
        let asked = offender.emit("segv", &json!({})).await?;
        offender.ended().await;
        Ok(asked)
    })
}

impl Round {
    fn new(died: Instant, clients: usize, came: Return, found: Found, cpu: Option<f64>) -> Self {
        let Return { noticed, back, missing, refused, failed } = came;
        let after = |at: &Instant| at.saturating_duration_since(died);
        Self {
            noticed: noticed.as_ref().map(after),
            // Who is back has been answered as well.
            answers: back.first().into_iter().chain(&found.answered).min().map(after),
            half: back.get((clients - 1) / 2).map(after),
            all: if missing == 0 { back.last().map(after) } else { None },
            missing,
            refused: refused + found.refused,
            failed: failed.values().sum(),
            failures: failed
                .iter()
                .take(REASONS)
                .map(|(why, count)| format!("{count} times: {why}"))
                .collect(),
            early: found.echoes,
            lost: found.lost,
            cpu,
            backlog: found.backlog,
            curve: curve(&back, clients, after),
        }
    }

    /// The longest echo of those who were back first, in milliseconds. `None` when nobody was before all were.
    pub(super) fn early_worst(&self) -> Option<f64> {
        (self.early.len() > 0).then(|| self.early.max().as_secs_f64() * 1000.0)
    }
}

/// How many reasons of failures are worth keeping.
const REASONS: usize = 5;
/// So many points are enough to draw.
const POINTS: usize = 200;

fn curve(back: &[Instant], clients: usize, after: impl Fn(&Instant) -> Duration) -> Vec<(f64, f64)> {
    let step = back.len().div_ceil(POINTS).max(1);
    let last = back.len().saturating_sub(1);
    let marks = (0..back.len()).step_by(step).chain([last]);
    marks
        .filter_map(|number| {
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let part = (number + 1) as f64 / clients as f64 * 100.0;
            Some((after(back.get(number)?).as_secs_f64() * 1000.0, part))
        })
        .collect()
}

fn as_ms<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64() * 1000.0).serialize(serializer)
}
