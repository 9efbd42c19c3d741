//! One server: the quiet, as many reconnects without a panic where it matters, and the storm.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::crowd::{Crowd, Fate, Part};
use super::offenders::{Act, Damage, Force, storm};
use crate::Run;
use crate::client::StatsConnection;
use crate::machine;
use crate::report::{Spread, Times};
use crate::server::{Kind, Server, binary, panics_in};

/// Each stretch is looked at in so many parts, which shows how steady it was.
pub(super) const PARTS: usize = 3;
/// How long the last offender's traces may take to be gone, and the last panic to be recorded.
const PATIENCE: Duration = Duration::from_secs(20);
/// A log that says the same a hundred thousand times is cut after so much.
const LOG: u64 = 64 * 1024;
pub(super) struct Lengths {
    pub(super) warm_up: Duration,
    pub(super) quiet: Duration,
    pub(super) reconnects: Duration,
    pub(super) storm: Duration,
}

impl Lengths {
    pub(super) fn of(run: &Run) -> Self {
        let [warm_up, quiet, reconnects, storm] =
            if run.quick { [200, 1_200, 900, 1_200] } else { [3_000, 30_000, 15_000, 30_000] }
                .map(Duration::from_millis);
        Self { warm_up, quiet, reconnects, storm }
    }
}

#[derive(Serialize)]
pub(super) struct Round {
    pub(super) kind: Kind,
    /// Whether `RUST_BACKTRACE` was set.
    pub(super) traces: bool,
    pub(super) quiet: Felt,
    pub(super) reconnects: Option<Felt>,
    pub(super) storm: Felt,
    pub(super) bystanders: Fate,
    pub(super) damage: Damage,
    /// As the server counted them: its judge, or what the default hook printed.
    pub(super) panics: u64,
    pub(super) judged: Judged,
    /// Of the offenders, after the storm.
    pub(super) sockets_left: u64,
    /// What part of one processor the server used, in the quiet and in the storm.
    pub(super) cpu: [Option<f64>; 2],
    /// In bytes, before the storm, after the first of its parts, and when it was over.
    pub(super) resident: [Option<u64>; 3],
}

/// What the bystanders felt of one stretch.
#[derive(Serialize)]
pub(super) struct Felt {
    pub(super) all: Times,
    /// The 99th percentile of each part.
    p99: Vec<Duration>,
}

/// What the guarded server's judge says of the panics.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Judged {
    right: u64,
    wrong: u64,
    nobodys: u64,
    lost: u64,
}

impl Round {
    pub(super) fn run(
        run: &Run,
        kind: Kind,
        traces: bool,
        force: Force,
        bystanders: u32,
        lengths: &Lengths,
    ) -> Result<Self> {
        let Lengths { warm_up, quiet, reconnects, storm } = *lengths;
        let log = run.results.join(format!("storm.{}.{}.log", kind.name(), u8::from(traces)));
        let server = server(kind, traces, &log)?;
        // One thread and nothing else on its runtime, as the crowd has.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let crowd = Crowd::start(server.address(), bystanders)?;
        std::thread::sleep(warm_up);
        let stage = Stage { server: &server, runtime: &runtime, crowd: &crowd, force };

        let quiet = stage.stretch(None, quiet)?;
        let (panicking, reconnects) = match kind {
            Kind::Guarded => {
                (Act::PanicAndReconnect, Some(stage.stretch(Some(Act::EchoAndReconnect), reconnects)?))
            }
            Kind::Bare => (Act::PanicAgain, None),
        };
        let before = machine::resident(server.process());
        let storm = stage.stretch(Some(panicking), storm)?;
        let after = machine::resident(server.process());

        let acts = storm.damage.acts;
        let is_over = |stats: &Value| {
            let counted = kind == Kind::Bare || stats["judged"]["right"] == acts;
            stats["sockets"] == bystanders && counted
        };
        let stats = runtime.block_on(async {
            StatsConnection::open(server.address()).await?.until(PATIENCE, is_over).await
        })?;
        let (parts, fate) = crowd.finish()?;
        let sockets = stats["sockets"].as_u64().context("the server counts its sockets")?;
        let judged = Option::<Judged>::deserialize(&stats["judged"])?.unwrap_or_default();
        // It has written all of its log when it is gone.
        drop(server);
        let panics = match kind {
            Kind::Guarded => judged.all(),
            Kind::Bare => panics_in(&log)?,
        };
        cut(&log)?;
        Ok(Self {
            kind,
            traces,
            quiet: quiet.felt(&parts)?,
            reconnects: reconnects.map(|reconnects| reconnects.felt(&parts)).transpose()?,
            storm: storm.felt(&parts)?,
            bystanders: fate,
            panics,
            judged,
            sockets_left: sockets.saturating_sub(u64::from(bystanders)),
            cpu: [quiet.cpu, storm.cpu],
            resident: [before, storm.resident, after],
            damage: storm.damage,
        })
    }
}

/// The server with its bystanders.
struct Stage<'a> {
    server: &'a Server,
    runtime: &'a Runtime,
    crowd: &'a Crowd,
    force: Force,
}

/// A stretch of the measurement, in `PARTS` parts of the crowd's.
struct Stretch {
    parts: Vec<usize>,
    damage: Damage,
    cpu: Option<f64>,
    /// After the first part.
    resident: Option<u64>,
}

impl Stage<'_> {
    fn stretch(&self, act: Option<Act>, length: Duration) -> Result<Stretch> {
        let Self { server, runtime, crowd, force } = *self;
        let (begun, before) = (Instant::now(), machine::cpu_time(server.process()));
        let storming = async {
            match act {
                Some(act) => storm(server.address(), act, force, length).await,
                None => Damage::new(),
            }
        };
        let looking = async {
            let mut every = tokio::time::interval(length / u32::try_from(PARTS)?);
            let (mut parts, mut resident) = (Vec::new(), None);
            for number in 0..=PARTS {
                every.tick().await;
                if number == 1 {
                    resident = machine::resident(server.process());
                }
                // What is due after the last part is of none.
                let part = crowd.next_part()?;
                if number < PARTS {
                    parts.push(part);
                }
            }
            anyhow::Ok((parts, resident))
        };
        let (damage, looked) = runtime.block_on(async { tokio::join!(storming, looking) });
        let (parts, resident) = looked?;
        let after = machine::cpu_time(server.process());
        let cpu = before
            .zip(after)
            .map(|(before, after)| (after - before).as_secs_f64() / begun.elapsed().as_secs_f64());
        Ok(Stretch { parts, damage: damage?, cpu, resident })
    }
}

impl Stretch {
    fn felt(&self, parts: &[Part]) -> Result<Felt> {
        let mut all = Times::new()?;
        let mut p99 = Vec::new();
        for part in self.parts.iter().filter_map(|number| parts.get(*number)) {
            all.merge(&part.echo)?;
            p99.push(part.echo.p99());
        }
        Ok(Felt { all, p99 })
    }
}

impl Felt {
    /// The 99th percentiles of its parts, in those of `other` in the middle.
    pub(super) fn against(&self, other: &Self) -> Spread {
        let seconds = |felt: &Self| felt.p99.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let middle = Spread::of(seconds(other)).median;
        Spread::of(seconds(self).iter().map(|p99| p99 / middle))
    }
}

impl Judged {
    fn all(&self) -> u64 {
        let Self { right, wrong, nobodys, lost } = self;
        right + wrong + nobodys + lost
    }

    /// Whether all are right.
    pub(super) fn is_clean(&self, panics: u64) -> bool {
        self.right == panics && self.all() == panics
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, wrong, nobodys, lost } = self;
        write!(
            f,
            "{right} were traced to their offender, {wrong} to another, {nobodys} to nobody, and {lost} were lost"
        )
    }
}

fn server(kind: Kind, traces: bool, log: &Path) -> Result<Server> {
    let mut command = Command::new(binary("WATERTIGHT_BENCH_SERVER", "watertight-bench-server")?);
    command.arg(kind.name()).env("RUST_BACKTRACE", u8::from(traces).to_string());
    Server::start(command, log)
}

fn cut(log: &Path) -> Result<()> {
    let file = File::options().write(true).open(log)?;
    if file.metadata()?.len() > LOG {
        file.set_len(LOG)?;
    }
    Ok(())
}
