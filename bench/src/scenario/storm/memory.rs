//! What a storm leaves behind: storm after storm against a server that counts every allocation, with a look at what it
//! holds after each, when the last offender is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::crowd::Crowd;
use super::offenders::{Act, Force, Until, storm};
use super::{cut, server, which};
use crate::Run;
use crate::client::StatsConnection;
use crate::report::{Report, Table};
use crate::server::Kind;

/// How many storms there are, after how many of them growth counts, and how often each offender panics in each.
/// Not for how long: a slow machine would have too few panics to tell.
///
/// What is kept for next time is there when the warm-up is over: tables have grown, and names are known.
const STORMS: Storms = Storms { count: 8, warm_up: 4, panics: 80 };
const QUICK_STORMS: Storms = Storms { count: 3, warm_up: 1, panics: 40 };
const BYSTANDERS: u32 = 50;
/// What is allocated for a moment, by an echo that is under way, is not held: the least of so many looks counts.
const LOOKS: usize = 10;
const APART: Duration = Duration::from_millis(25);
/// How long the last offender's traces may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is held goes up and down by up to 64 KiB, however many panics there were: some tables are only cleared when they have
/// grown. So what is noticed is growth of twice as much.
///
/// Of what is forgotten for each panic these are, for sure, 48 bytes in the quick form, of 4,000 panics after the warm-up, and
/// 12 in the full one, of 16,000; with luck a third of that. A table that grows by less than this in all of them is not
/// noticed.
const BAR: i64 = 128 * 1024;

struct Storms {
    count: usize,
    warm_up: usize,
    panics: u32,
}

/// What was held after one storm.
#[derive(Serialize)]
struct Held {
    panics: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    /// Whether `RUST_BACKTRACE` was set.
    traces: bool,
    after: Vec<Held>,
    growth: Growth,
}

/// Since the warm-up.
#[derive(Debug, PartialEq, Serialize)]
struct Growth {
    panics: u64,
    bytes: i64,
}

impl Growth {
    fn is_a_leak(&self) -> bool {
        self.bytes >= BAR
    }
}

pub(super) fn measure(run: &Run, traces: bool, force: Force, report: &mut Report) -> Result<Memory> {
    let Storms { count, warm_up, panics: panics_each } = if run.quick { QUICK_STORMS } else { STORMS };
    let which = which(Kind::Guarded, traces);
    let log = run.results.join(format!("storm.memory.{}.log", u8::from(traces)));
    let server = server(true, Kind::Guarded, traces, &log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let crowd = Crowd::start(server.address(), BYSTANDERS)?;
    let title = format!("What the server holds after each storm ({which})");
    let mut table = Table::begin(title, 0, &["storm", "panics in all", "held, bytes"]);
    let mut after = Vec::new();
    let mut panics = 0;
    for number in 1..=count {
        let held = runtime.block_on(async {
            let until = Until::Acts(panics_each);
            let damage = storm(server.address(), Act::PanicAndReconnect, force, until).await?;
            ensure!(damage.acts > 0, "nobody panicked: {:?}", damage.failure);
            panics += damage.acts;
            let mut stats = StatsConnection::open(server.address()).await?;
            let bytes = held(&mut stats, panics).await?;
            anyhow::Ok(Held { panics, bytes })
        })?;
        table.row(vec![number.to_string(), panics.to_string(), held.bytes.to_string()]);
        after.push(held);
    }
    report.tables.push(table);
    let (_, fate) = crowd.finish()?;
    drop(server);
    cut(&log)?;
    fate.judge(&mut report.verdict, &format!("{which}, allocations counted"));
    let growth = growth(after.get(warm_up - 1..).unwrap_or_default())?;
    let Growth { panics, bytes } = growth;
    let line = format!(
        "{which}: {panics} panics after warm-up the server holds {bytes} bytes more (less than {BAR} is noise)"
    );
    report.verdict.must(!growth.is_a_leak(), line);
    Ok(Memory { traces, after, growth })
}

/// What is held once every panic is recorded and only the bystanders are left.
async fn held(stats: &mut StatsConnection, panics: u64) -> Result<u64> {
    let is_over = |stats: &Value| stats["sockets"] == BYSTANDERS && stats["judged"]["right"] == panics;
    let last = stats.until(PATIENCE, is_over).await?;
    ensure!(is_over(&last), "after {panics} panics and {BYSTANDERS} bystanders the server has {last}");
    let mut least = u64::MAX;
    for _ in 0..LOOKS {
        tokio::time::sleep(APART).await;
        let allocated = stats.read().await?["allocated"].as_u64();
        least = least.min(allocated.context("the server counts what it allocates")?);
    }
    Ok(least)
}

/// From the first to the last.
fn growth(after: &[Held]) -> Result<Growth> {
    let [first, .., last] = after else { bail!("there is nothing to compare") };
    let bytes = i64::try_from(last.bytes)? - i64::try_from(first.bytes)?;
    Ok(Growth { panics: last.panics - first.panics, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_from_the_first_to_the_last() {
        let held = |panics, bytes| Held { panics, bytes };
        let grown = growth(&[held(100, 5000), held(200, 9000), held(300, 6600)]).unwrap();
        assert_eq!(grown, Growth { panics: 200, bytes: 1600 });
        assert_eq!(growth(&[held(100, 5000), held(300, 4000)]).unwrap().bytes, -1000);
        assert!(growth(&[held(100, 5000)]).is_err());
    }

    /// However the noise is, 64 bytes a panic are seen also in the quick form, and noise alone is no leak.
    #[test]
    fn what_is_forgotten_for_each_panic_is_a_leak() {
        const NOISE: i64 = 64 * 1024;
        let is_seen = |storms: Storms, forgotten: i64, noise: i64| {
            let panics = u64::from(storms.panics * super::super::FORCE.clients)
                * u64::try_from(storms.count - storms.warm_up).unwrap();
            Growth { panics, bytes: forgotten * i64::try_from(panics).unwrap() + noise }.is_a_leak()
        };
        assert!(is_seen(QUICK_STORMS, 64, -NOISE) && is_seen(QUICK_STORMS, 50, -NOISE));
        assert!(is_seen(STORMS, 13, -NOISE));
        assert!(!is_seen(QUICK_STORMS, 0, NOISE) && !is_seen(STORMS, 0, NOISE));
    }
}
