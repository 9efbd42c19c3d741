//! One server: quiet and storm in turns, with as many reconnects without a panic after each storm.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::crowd::{Crowd, Fate, Part};
use super::offenders::{Act, Damage, Force, Until, storm};
use super::{cut, server};
use crate::Run;
use crate::client::StatsConnection;
use crate::machine;
use crate::report::{Spread, Times};
use crate::server::{Kind, Server, panics_in};

/// How often quiet and storm take turns: a machine that is slower for a while is so for both.
pub(super) const TURNS: usize = 3;
/// How long the last offender's traces may take to be gone, and the last panic to be recorded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of the time before everything, and of what each turn is made of.
pub(super) struct Lengths {
    pub(super) warm_up: Duration,
    pub(super) quiet: Duration,
    pub(super) reconnects: Duration,
    pub(super) storm: Duration,
}

impl Lengths {
    pub(super) fn of(run: &Run) -> Self {
        let [warm_up, quiet, reconnects, storm] =
            if run.quick { [200, 400, 300, 400] } else { [3_000, 10_000, 5_000, 10_000] }
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
    pub(super) reconnects: Felt,
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
    /// In bytes, before the first storm, after it, and after the last one.
    pub(super) resident: [Option<u64>; 3],
}

/// What the bystanders felt of all stretches of one kind.
#[derive(Serialize)]
pub(super) struct Felt {
    pub(super) all: Times,
    /// The 99th percentile of each. `None` of one in which nobody echoed.
    p99: Vec<Option<Duration>>,
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
        let server = server(false, kind, traces, &log)?;
        // One thread and nothing else on its runtime, as the crowd has.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let crowd = Crowd::start(server.address(), bystanders)?;
        std::thread::sleep(warm_up);
        let stage = Stage { server: &server, runtime: &runtime, crowd: &crowd, force };

        let mut quiet_phase = Phase::new(None, quiet)?;
        let mut reconnects_phase = Phase::new(Some(Act::EchoAndReconnect), reconnects)?;
        let storms = match kind {
            Kind::Guarded => Act::PanicAndReconnect,
            Kind::Bare => Act::PanicAgain,
        };
        let mut storm_phase = Phase::new(Some(storms), storm)?;
        let mut resident = Vec::new();
        let mut stats = Value::Null;
        for _ in 0..TURNS {
            quiet_phase.stretch(&stage)?;
            resident.push(machine::resident(server.process()));
            storm_phase.stretch(&stage)?;
            resident.push(machine::resident(server.process()));
            let acts = storm_phase.damage.acts;
            let is_over = |stats: &Value| {
                let counted =
                    kind == Kind::Bare || Judged::of(stats).is_ok_and(|judged| judged.all() == acts);
                stats["sockets"] == bystanders && counted
            };
            // The next quiet is one only when nothing of the storm is left.
            stage.wait_until(is_over)?;
            reconnects_phase.stretch(&stage)?;
            stats = stage.wait_until(is_over)?;
        }
        let (parts, fate) = crowd.finish()?;
        let sockets = stats["sockets"].as_u64().context("the server counts its sockets")?;
        let judged = Judged::of(&stats)?;
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
            quiet: quiet_phase.felt(&parts)?,
            reconnects: reconnects_phase.felt(&parts)?,
            storm: storm_phase.felt(&parts)?,
            bystanders: fate,
            panics,
            judged,
            sockets_left: sockets.saturating_sub(u64::from(bystanders)),
            cpu: [quiet_phase.cpu(), storm_phase.cpu()],
            resident: [resident[0], resident[1], resident[2 * TURNS - 1]],
            damage: storm_phase.damage,
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

impl Stage<'_> {
    /// Waits for what the server says of itself, at most as long as it may take; answers what it said last.
    fn wait_until(&self, holds: impl FnMut(&Value) -> bool) -> Result<Value> {
        self.runtime.block_on(async {
            StatsConnection::open(self.server.address()).await?.until(PATIENCE, holds).await
        })
    }
}

/// All stretches of one kind.
struct Phase {
    act: Option<Act>,
    length: Duration,
    /// Those of the crowd's that are its stretches.
    parts: Vec<usize>,
    damage: Damage,
    /// What the server used in all of them. `None` where the operating system does not tell.
    cpu: Option<Duration>,
    lasted: Duration,
}

impl Phase {
    fn new(act: Option<Act>, length: Duration) -> Result<Self> {
        let (parts, cpu, lasted) = (Vec::new(), Some(Duration::ZERO), Duration::ZERO);
        Ok(Self { act, length, parts, damage: Damage::new()?, cpu, lasted })
    }

    /// One more.
    fn stretch(&mut self, stage: &Stage<'_>) -> Result<()> {
        let Stage { server, runtime, crowd, force } = *stage;
        let (begun, before) = (Instant::now(), machine::cpu_time(server.process()));
        let (act, length) = (self.act, self.length);
        self.parts.push(crowd.next_part()?);
        let storming = async {
            match act {
                Some(act) => storm(server.address(), act, force, Until::After(length)).await,
                None => Damage::new(),
            }
        };
        let ending = async {
            tokio::time::sleep(length).await;
            // What is due afterwards is of no stretch.
            crowd.next_part()
        };
        let (damage, ended) = runtime.block_on(async { tokio::join!(storming, ending) });
        ended?;
        self.damage.add(&damage?)?;
        let used = before.zip(machine::cpu_time(server.process())).map(|(before, after)| after - before);
        self.cpu = self.cpu.zip(used).map(|(cpu, used)| cpu + used);
        self.lasted += begun.elapsed();
        Ok(())
    }

    /// What part of one processor the server used.
    fn cpu(&self) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() / self.lasted.as_secs_f64())
    }

    fn felt(&self, parts: &[Part]) -> Result<Felt> {
        let mut all = Times::new()?;
        let mut p99 = Vec::new();
        for part in self.parts.iter().filter_map(|number| parts.get(*number)) {
            all.merge(&part.echo)?;
            p99.push((part.echo.len() > 0).then(|| part.echo.p99()));
        }
        Ok(Felt { all, p99 })
    }
}

impl Felt {
    /// The 99th percentile of each stretch in that of its neighbour in `other`. `None` where there are no two.
    pub(super) fn against(&self, other: &Self) -> Option<Spread> {
        let pairs = self.p99.iter().zip(&other.p99);
        let ratios = pairs.filter_map(|(ours, others)| Some((*ours)?.div_duration_f64((*others)?)));
        let spread = Spread::of(ratios);
        spread.median.is_finite().then_some(spread)
    }
}

impl Judged {
    /// None are judged by a bare server.
    fn of(stats: &Value) -> Result<Self> {
        Ok(Option::deserialize(&stats["judged"])?.unwrap_or_default())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_storm_is_compared_with_its_own_quiet() {
        let felt = |p99: [u64; 3]| {
            let p99 = p99.map(|ms| (ms > 0).then_some(Duration::from_millis(ms))).to_vec();
            Felt { all: Times::new().unwrap(), p99 }
        };
        // The machine became ten times as slow.
        let spread = felt([11, 20, 110]).against(&felt([10, 20, 100])).unwrap();
        assert_eq!((spread.median, spread.least, spread.greatest), (1.1, 1.0, 1.1));
        assert_eq!(
            felt([11, 0, 110]).against(&felt([0, 20, 100])).unwrap().to_string(),
            "1.100 (1.100 to 1.100)"
        );
        assert!(felt([0, 0, 0]).against(&felt([1, 1, 1])).is_none());
    }
}
