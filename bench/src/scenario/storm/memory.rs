//! What a storm leaves behind: storm after storm against a server that counts every allocation, with a look at what it
//! holds after each, when the last offender is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::crowd::Crowd;
use super::offenders::{Act, Force, storm};
use crate::Run;
use crate::client::Stats;
use crate::report::{Report, Table};
use crate::server::{Kind, Server};

/// After the first half of them, what the server keeps for next time is there: tables have grown, and names are known.
const STORMS: usize = 8;
const QUICK_STORMS: usize = 4;
const LENGTH: Duration = Duration::from_secs(3);
const QUICK_LENGTH: Duration = Duration::from_millis(500);
const BYSTANDERS: u32 = 50;
/// What is allocated for a moment, by an echo that is under way, is not held: the least of so many looks counts.
const LOOKS: usize = 20;
const APART: Duration = Duration::from_millis(25);
/// How long the last offender's traces may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Anything that is forgotten for each panic is eight bytes or more. Below one byte a panic nothing is.
const BAR: f64 = 1.0;

/// What was held after one storm.
#[derive(Serialize)]
struct Held {
    panics: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    after: Vec<Held>,
    /// Of each panic since the warm-up, in bytes.
    growth: f64,
}

pub(super) fn measure(run: &Run, force: Force, report: &mut Report) -> Result<Memory> {
    let (storms, length) = if run.quick { (QUICK_STORMS, QUICK_LENGTH) } else { (STORMS, LENGTH) };
    let server = Server::counted(Kind::Guarded, &[], &run.results.join("storm.memory.log"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let crowd = Crowd::start(server.address(), BYSTANDERS)?;
    let mut table =
        Table::begin("What the server holds after each storm", 0, &["storm", "panics in all", "held, bytes"]);
    let mut after = Vec::new();
    let mut panics = 0;
    for number in 1..=storms {
        let held = runtime.block_on(async {
            let damage = storm(server.address(), Act::PanicAndReconnect, force, length).await?;
            ensure!(damage.acts > 0, "nobody panicked: {:?}", damage.failure);
            panics += damage.acts;
            let mut stats = Stats::open(server.address()).await?;
            let bytes = held(&mut stats, panics).await?;
            anyhow::Ok(Held { panics, bytes })
        })?;
        table.row(vec![number.to_string(), panics.to_string(), held.bytes.to_string()]);
        after.push(held);
    }
    crowd.finish()?;
    let growth = growth(&after[storms / 2 - 1..])?;
    report.verdict.must(
        growth < BAR,
        format!("after warm-up the server holds {growth:.2} bytes more for each panic (below {BAR})"),
    );
    report.tables.push(table);
    Ok(Memory { after, growth })
}

/// What is held once every panic is recorded and only the bystanders are left.
async fn held(stats: &mut Stats, panics: u64) -> Result<u64> {
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

/// From the first to the last, for each panic between.
fn growth(after: &[Held]) -> Result<f64> {
    let [first, .., last] = after else { anyhow::bail!("there is nothing to compare") };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let growth = (last.bytes as f64 - first.bytes as f64) / (last.panics - first.panics) as f64;
    Ok(growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_bytes_for_each_panic() {
        let held = |panics, bytes| Held { panics, bytes };
        assert_eq!(growth(&[held(100, 5000), held(200, 9000), held(300, 6600)]).unwrap(), 8.0);
        assert!(growth(&[held(100, 5000), held(300, 4000)]).unwrap() < 0.0);
        assert!(growth(&[held(100, 5000)]).is_err());
    }
}
