//! How soon each server answers, at a load that both can bear.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::load::Throughput;
use super::turns::Sides;
use crate::report::{Spread, Times, ms};

/// How long each server is asked, after each start.
pub(super) const ROUND: Duration = Duration::from_millis(250);
/// The part of the bare server's throughput that is asked for.
pub(super) const LOAD: f64 = 0.4;

/// Of the bare server and the guarded one.
#[derive(Serialize)]
pub(super) struct Latency {
    /// Messages a second, which the first start has found. Not a number before it.
    rate: f64,
    /// Of all rounds together.
    times: [Times; 2],
    rounds: usize,
}

impl Latency {
    pub(super) const COLUMNS: [&str; 7] =
        ["rate /s", "bare p50", "guarded p50", "bare p99", "guarded p99", "bare p99.9", "guarded p99.9"];

    pub(super) fn new() -> Result<Self> {
        Ok(Self { rate: f64::NAN, times: [Times::new()?, Times::new()?], rounds: 0 })
    }

    /// One round, after the turns of a start.
    pub(super) fn measure(
        &mut self,
        runtime: &Runtime,
        sides: &mut Sides,
        turns: &[[Throughput; 2]],
    ) -> Result<()> {
        if self.rate.is_nan() {
            self.rate = LOAD * Spread::of(turns.iter().map(|[bare, _]| bare.per_second)).median;
        }
        // The first is the other one each time.
        let order = if self.rounds.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for kind in order {
            self.times[kind].merge(&sides[kind].latency(runtime, self.rate, ROUND)?)?;
        }
        self.rounds += 1;
        Ok(())
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let [bare, guarded] = &self.times;
        let mut cells = vec![format!("{:.0}", self.rate)];
        for of in [Times::p50, Times::p99, Times::p999] {
            cells.extend([ms(of(bare)), ms(of(guarded))]);
        }
        cells
    }
}
