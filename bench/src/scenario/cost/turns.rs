//! Round trips of two servers that take turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::load::{Program, Side, Throughput};
use crate::Run;
use crate::client::Transport;
use crate::report::Spread;

/// How often both servers are started anew. Where things come to lie in memory makes two processes of the same program differ
/// by some hundredths for as long as they live: with fewer the median of one run would not be that of the next.
const STARTS: usize = 12;
const QUICK_STARTS: usize = 1;
/// Turns of both servers, after each start. Others on the machine spoil a turn, and slow down many one after another: only of
/// turns that are short and next to each other one tells something of the other, and of many of them.
const TURNS: usize = 40;
const QUICK_TURNS: usize = 2;
const TURN: Duration = Duration::from_millis(25);
const QUICK_TURN: Duration = Duration::from_millis(200);
/// With many clients a turn is longer, so that each has some messages in it, and there are fewer: at its ends not all have
/// one under way.
const MESSAGES_IN_TURN: f64 = 4.0;
const ALL_TURNS: Duration = Duration::from_secs(4);

/// What the bare server and another one did, turn by turn.
#[derive(Serialize)]
pub(super) struct Turns {
    /// For each start, each time: the bare server and the other.
    starts: Vec<Vec<[Throughput; 2]>>,
}

/// The bare server and another one, each with its clients.
pub(super) type Sides = [Side; 2];

impl Turns {
    /// How many starts there are, and at most so many turns after each.
    pub(super) fn planned(run: &Run) -> (usize, usize) {
        if run.quick { (QUICK_STARTS, QUICK_TURNS) } else { (STARTS, TURNS) }
    }

    /// Also answers with both servers as they were started last, and the runtime that their clients run on.
    pub(super) fn measure(
        run: &Run,
        other: Program,
        transport: Transport,
        clients: usize,
    ) -> Result<(Self, Sides, Runtime)> {
        let (count, turns) = Self::planned(run);
        let mut starts = Vec::new();
        loop {
            // It closes the clients' connections when it is dropped, which are as many as there are descriptors for.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let start = |program| Side::start(run, &runtime, program, transport, clients);
            // Each is the first to be there as often as the other.
            let mut sides = if starts.len() % 2 == 0 {
                let bare = start(Program::Bare)?;
                [bare, start(other)?]
            } else {
                let other = start(other)?;
                [start(Program::Bare)?, other]
            };
            starts.push(take(run, &runtime, &mut sides, clients, turns, starts.len() % 2)?);
            if starts.len() == count {
                return Ok((Self { starts }, sides, runtime));
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &[Throughput; 2]> {
        self.starts.iter().flatten()
    }

    /// Of what the bare server does in a turn, what the other one does: the median of all turns, and the least and the
    /// greatest of the medians after each start.
    pub(super) fn ratio(&self) -> Spread {
        let of = |[bare, other]: &[Throughput; 2]| other.per_second / bare.per_second;
        self.spread(of)
    }

    /// The same of round trips for each second of CPU time. `None` where it is not known.
    pub(super) fn ratio_by_cpu(&self) -> Option<Spread> {
        let is_known = self.all().flatten().all(|turn| turn.cpu.is_some());
        is_known.then(|| {
            self.spread(|[bare, other]| bare.cpu.unwrap_or(f64::NAN) / other.cpu.unwrap_or(f64::NAN))
        })
    }

    /// How far the median after one start is from that after others: the standard error of their mean. A control of two equal
    /// servers is farther from 1 at times. Not a number where there is one start.
    pub(super) fn error(&self) -> f64 {
        let medians = self.medians(|[bare, other]| other.per_second / bare.per_second);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let count = medians.len() as f64;
        let mean = medians.iter().sum::<f64>() / count;
        let squares: f64 = medians.iter().map(|median| (median - mean).powi(2)).sum();
        (squares / (count - 1.0) / count).sqrt()
    }

    /// As above, for a table.
    pub(super) fn error_cell(&self) -> Option<String> {
        Some(self.error()).filter(|error| error.is_finite()).map(|error| format!("{error:.3}"))
    }

    /// After each start: the median.
    fn medians(&self, of: impl Fn(&[Throughput; 2]) -> f64) -> Vec<f64> {
        self.starts.iter().map(|turns| Spread::of(turns.iter().map(&of)).median).collect()
    }

    fn spread(&self, of: impl Fn(&[Throughput; 2]) -> f64) -> Spread {
        let all = Spread::of(self.all().map(&of));
        Spread { median: all.median, ..Spread::of(self.medians(of)) }
    }

    /// The median of one server, 0 the bare and 1 the other; `None` where it is not known.
    pub(super) fn median(&self, kind: usize, of: fn(&Throughput) -> Option<f64>) -> Option<f64> {
        let numbers: Option<Vec<f64>> = self.all().map(|turn| of(&turn[kind])).collect();
        Some(Spread::of(numbers?).median)
    }
}

fn take(
    run: &Run,
    runtime: &Runtime,
    sides: &mut Sides,
    clients: usize,
    count: usize,
    first: usize,
) -> Result<Vec<[Throughput; 2]>> {
    let mut length = if run.quick { QUICK_TURN } else { TURN };
    // Once without counting: whatever is made at the first message.
    let short = length;
    for side in &mut *sides {
        let per_second = side.throughput(runtime, short)?.per_second;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let all_have_some = Duration::from_secs_f64(MESSAGES_IN_TURN * clients as f64 / per_second);
        length = length.max(all_have_some);
    }
    for side in &mut *sides {
        side.throughput(runtime, length)?;
    }
    let mut turns = Vec::new();
    let begun = Instant::now();
    while turns.len() < count && begun.elapsed() < ALL_TURNS {
        let [bare, other] = &mut *sides;
        // Who comes first finds the machine as the other has left it: they take turns in that, too.
        if turns.len() % 2 == first {
            let bare = bare.throughput(runtime, length)?;
            turns.push([bare, other.throughput(runtime, length)?]);
        } else {
            let other = other.throughput(runtime, length)?;
            turns.push([bare.throughput(runtime, length)?, other]);
        }
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(per_second: f64) -> Throughput {
        Throughput { per_second, cpu: None, busy: None, generator: None }
    }

    #[test]
    fn a_start_counts_by_its_median() {
        let of = |ratios: [f64; 3]| ratios.map(|ratio| [turn(100.0), turn(100.0 * ratio)]).to_vec();
        let turns =
            Turns { starts: vec![of([0.9, 0.1, 0.91]), of([1.0, 9.0, 1.01]), of([0.95, 0.96, 0.97])] };
        let Spread { median, least, greatest } = turns.ratio();
        assert!((median - 0.96).abs() < 1e-9);
        assert!((least - 0.9).abs() < 1e-9 && (greatest - 1.01).abs() < 1e-9);
        // Of 0.9, 0.96 and 1.01.
        assert!((turns.error() - 0.0318).abs() < 1e-4, "{}", turns.error());
        assert_eq!(turns.ratio_by_cpu(), None);
    }
}
