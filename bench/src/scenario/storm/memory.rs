//! What a storm leaves behind: storm after storm against a server that counts every allocation, with a look at what it
//! holds after each, when the last offender is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::crowd::Crowd;
use super::offenders::{Act, Force, storm};
use crate::Run;
use crate::client::StatsConnection;
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
/// What is allocated varies by this much from look to look, with what is under way and with the room that tables have.
/// What is forgotten for each panic is eight bytes or more, and beyond this after as few storms as there are.
const BAR: i64 = 64 * 1024;

/// What was held after one storm.
#[derive(Serialize)]
struct Held {
    panics: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(super) struct Memory {
    after: Vec<Held>,
    growth: Growth,
}

/// Since the warm-up.
#[derive(Debug, PartialEq, Serialize)]
struct Growth {
    panics: u64,
    bytes: i64,
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
            let mut stats = StatsConnection::open(server.address()).await?;
            let bytes = held(&mut stats, panics).await?;
            anyhow::Ok(Held { panics, bytes })
        })?;
        table.row(vec![number.to_string(), panics.to_string(), held.bytes.to_string()]);
        after.push(held);
    }
    crowd.finish()?;
    let growth = growth(&after[storms / 2 - 1..])?;
    let Growth { panics, bytes } = growth;
    report.verdict.must(
        bytes < BAR,
        format!(
            "{panics} panics after warm-up the server holds {bytes} bytes more (less than {BAR} is noise)"
        ),
    );
    report.tables.push(table);
    Ok(Memory { after, growth })
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
}
