//! Round trips of two servers that take turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Serialize, Serializer};
use tokio::runtime::{Builder, Runtime};

use super::load::{Program, Side, Throughput};
use crate::Run;
use crate::client::Transport;
use crate::report::{Estimate, Kind, Spread};

/// How often both servers are started anew. Where things come to lie in memory makes two processes of the same program differ
/// by some hundredths for as long as they live: with fewer the median of one run would not be that of the next.
pub(super) const STARTS: usize = 24;
const QUICK_STARTS: usize = 1;
/// Turns of both servers, after each start. Others on the machine spoil a turn, and slow down many one after another: only of
/// turns that are short and next to each other one tells something of the other, and of many of them.
const TURNS: usize = 20;
const QUICK_TURNS: usize = 2;
pub(super) const TURN: Duration = Duration::from_millis(25);
const QUICK_TURN: Duration = Duration::from_millis(200);
/// With many clients a turn is longer, so that each has some messages in it, and there are fewer: at its ends not all have
/// one under way.
pub(super) const MESSAGES_IN_TURN: f64 = 4.0;
const ALL_TURNS: Duration = Duration::from_secs(3);

/// What the bare server and another one did, turn by turn.
pub(super) struct Turns {
    /// One after another: the first to be there is the bare server at every other start, from the first on, and the other one at
    /// the rest. With many clients the second is faster by some hundredths.
    starts: Vec<Start>,
}

/// What was done after one start, each time: by the bare server and the other.
type Start = Vec<[Throughput; 2]>;

/// The bare server and another one, each with its clients.
pub(super) type Sides = [Side; 2];

impl Turns {
    /// How many starts there are, and at most so many turns after each.
    pub(super) fn planned(run: &Run) -> (usize, usize) {
        if run.quick { (QUICK_STARTS, QUICK_TURNS) } else { (STARTS, TURNS) }
    }

    /// After each start `then` is given both servers with their clients, and what they have done.
    pub(super) fn measure(
        run: &Run,
        other: Program,
        transport: Transport,
        clients: usize,
        mut then: impl FnMut(&Runtime, &mut Sides, &[[Throughput; 2]]) -> Result<()>,
    ) -> Result<Self> {
        let (count, turns) = Self::planned(run);
        let mut starts = Vec::new();
        while starts.len() < count {
            // It closes the clients' connections when it is dropped, which are as many as there are descriptors for.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let bare = || Side::start(run, &runtime, Program::Bare, "bare", transport, clients);
            let other = || Side::start(run, &runtime, other, "other", transport, clients);
            let mut sides = if starts.len().is_multiple_of(2) {
                let bare = bare()?;
                [bare, other()?]
            } else {
                let other = other()?;
                [bare()?, other]
            };
            let start = take(run, &runtime, &mut sides, clients, turns, starts.len() / 2 % 2)?;
            then(&runtime, &mut sides, &start)?;
            starts.push(start);
        }
        Ok(Self { starts })
    }

    /// Of what the bare server does in a turn, what the other one does.
    pub(super) fn ratio(&self) -> Estimate {
        self.estimate(per_second)
    }

    /// The same of round trips for each second of CPU time. Not a number where that is not known.
    pub(super) fn ratio_by_cpu(&self) -> Estimate {
        self.estimate(by_cpu)
    }

    fn estimate(&self, of: fn(&[Throughput; 2]) -> f64) -> Estimate {
        let kind = |first: usize| -> Kind {
            let starts = self.starts.iter().skip(first).step_by(2);
            starts.map(|start| start.iter().map(of).collect()).collect()
        };
        Estimate::of(&[kind(0), kind(1)])
    }

    /// The median of one server, 0 the bare and 1 the other; `None` where it is not known.
    pub(super) fn median(&self, kind: usize, of: fn(&Throughput) -> Option<f64>) -> Option<f64> {
        let numbers: Option<Vec<f64>> = self.starts.iter().flatten().map(|turn| of(&turn[kind])).collect();
        Some(Spread::of(numbers?).median)
    }
}

fn per_second([bare, other]: &[Throughput; 2]) -> f64 {
    other.per_second / bare.per_second
}

fn by_cpu([bare, other]: &[Throughput; 2]) -> f64 {
    bare.cpu.zip(other.cpu).map_or(f64::NAN, |(bare, other)| bare / other)
}

/// All that was measured would be tens of thousands of numbers: of each start the medians are kept.
impl Serialize for Turns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            ratio: Estimate,
            ratio_by_cpu: Estimate,
            starts: Vec<Medians>,
        }
        let starts = self.starts.iter().map(Medians::of).collect();
        Written { ratio: self.ratio(), ratio_by_cpu: self.ratio_by_cpu(), starts }.serialize(serializer)
    }
}

/// Of one start.
#[derive(Serialize)]
struct Medians {
    turns: usize,
    per_second: [f64; 2],
    cpu: [Option<f64>; 2],
    busy: [Option<f64>; 2],
    generator: [Option<f64>; 2],
    ratio: f64,
    ratio_by_cpu: f64,
}

impl Medians {
    fn of(start: &Start) -> Self {
        let of = |number: fn(&[Throughput; 2]) -> f64| Spread::of(start.iter().map(number)).median;
        let both = |number: fn(&Throughput) -> Option<f64>| {
            [0, 1].map(|kind| {
                let numbers: Option<Vec<f64>> = start.iter().map(|turn| number(&turn[kind])).collect();
                Some(Spread::of(numbers?).median)
            })
        };
        Self {
            turns: start.len(),
            per_second: [of(|turn| turn[0].per_second), of(|turn| turn[1].per_second)],
            cpu: both(|turn| turn.cpu),
            busy: both(|turn| turn.busy),
            generator: both(|turn| turn.generator),
            ratio: of(per_second),
            ratio_by_cpu: of(by_cpu),
        }
    }
}

fn take(
    run: &Run,
    runtime: &Runtime,
    sides: &mut Sides,
    clients: usize,
    count: usize,
    first: usize,
) -> Result<Start> {
    let mut length = if run.quick { QUICK_TURN } else { TURN };
    // Once without counting: whatever is made at the first message. Then each tells how long it needs.
    let short = length;
    for side in &mut *sides {
        side.throughput(runtime, short)?;
    }
    for side in &mut *sides {
        let per_second = side.throughput(runtime, short)?.per_second;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let all_have_some = Duration::from_secs_f64(MESSAGES_IN_TURN * clients as f64 / per_second);
        length = length.max(all_have_some);
    }
    let mut turns = Start::new();
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

    fn turn(per_second: f64, cpu: Option<f64>) -> Throughput {
        Throughput { per_second, cpu, busy: None, generator: None }
    }

    fn turns(cpu: Option<f64>) -> Turns {
        let start = |ratios: &[f64]| -> Start {
            let of = |ratio| [turn(100.0, cpu), turn(100.0 * ratio, cpu.map(|cpu| cpu / (2.0 * ratio)))];
            ratios.iter().copied().map(of).collect()
        };
        // The first, third and fifth are of one kind, the others of another.
        let [wide, one, between] = [start(&[0.9, 0.1, 0.91, 0.9, 0.9]), start(&[1.0]), start(&[0.95])];
        Turns { starts: vec![wide.clone(), wide, one.clone(), one, between.clone(), between] }
    }

    #[test]
    fn a_ratio_is_the_median_of_all_turns() {
        let turns = turns(Some(10.0));
        assert!((turns.ratio().median - 0.9).abs() < 1e-9);
        assert!((turns.ratio_by_cpu().median - 1.8).abs() < 1e-9, "the less time, the more");
        assert!(turns.ratio().to > 0.94, "a start that is otherwise may have been the usual one");
    }

    #[test]
    fn what_is_kept_of_a_start_are_its_medians() {
        let [known, unknown] = [Some(10.0), None].map(|cpu| serde_json::to_value(turns(cpu)).unwrap());
        let [first, second] = [&known["starts"][0], &known["starts"][2]];
        assert_eq!((&first["turns"], &second["turns"]), (&5.into(), &1.into()));
        assert_eq!(first["ratio"], 0.9);
        assert_eq!(first["per_second"], serde_json::json!([100.0, 90.0]));
        assert_eq!(second["cpu"], serde_json::json!([10.0, 5.0]));
        assert_eq!(second["ratio_by_cpu"], 2.0);
        assert!((known["ratio"]["median"].as_f64().unwrap() - 0.9).abs() < 1e-9);
        assert!(unknown["starts"][0]["ratio_by_cpu"].is_null());
        assert!(turns(None).ratio_by_cpu().median.is_nan());
    }
}
