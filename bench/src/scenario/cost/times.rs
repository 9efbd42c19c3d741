//! How much the servers get done, and how soon each answers at a load that both can bear.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::load::{Side, Throughput};
use crate::Run;
use crate::client::Transport;
use crate::machine::descriptors;
use crate::report::{Report, Spread, Table, Times, Verdict, ms, or_dash};

/// Of the bare server's round trips a second, at least so many.
const BAR: f64 = 0.99;
/// A server that is busy for so much of the time is what the number of round trips depends on.
const BUSY: f64 = 0.95;
const CLIENTS: [usize; 5] = [1, 10, 100, 1_000, 5_000];
const QUICK_CLIENTS: [usize; 2] = [1, 50];
/// For the server with hardly any protection, of which one number says enough.
const CLIENTS_OF_LEAST: usize = 100;
/// Turns of both servers. Others on the machine spoil a turn, and slow down many one after another: only of turns that are
/// short and next to each other one tells something of the other, and of many of them.
const ROUNDS: usize = 400;
const QUICK_ROUNDS: usize = 2;
const ROUND: Duration = Duration::from_millis(25);
const QUICK_ROUND: Duration = Duration::from_millis(200);
/// With many clients a turn is longer, so that each has some messages in it, and there are fewer: at its ends not all have
/// one under way.
const MESSAGES_IN_TURN: f64 = 4.0;
const ALL_ROUNDS: Duration = Duration::from_secs(25);
/// Turns in which latency is measured, and how long each lasts.
const LATENCY_ROUNDS: usize = 5;
const LATENCY_ROUND: Duration = Duration::from_secs(1);
/// The part of the bare server's throughput that is asked for when latency is measured.
const LOAD: f64 = 0.4;
/// More descriptors than any point of a measurement takes.
const ENOUGH: u64 = 64 * 1024;
/// Descriptors that are not for connections of clients.
const SPARE: u64 = 200;

/// So many clients over one transport.
#[derive(Serialize)]
pub(super) struct Case {
    pub(super) transport: Transport,
    pub(super) clients: usize,
    /// Each time: bare and guarded.
    throughput: Vec<[Throughput; 2]>,
    /// Guarded to bare, over the rounds.
    pub(super) ratio: Spread,
    /// Messages a second when latency was measured.
    rate: f64,
    /// Of all rounds together.
    latency: [Times; 2],
    /// Guarded to bare, of the 99th percentile of each round.
    p99_ratio: Spread,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<Vec<Case>> {
    let rounds = if run.quick { QUICK_ROUNDS } else { ROUNDS };
    let title = format!("Round trips a second, medians of up to {rounds} turns of each server");
    let mut throughput = Table::begin(title, 1, &THROUGHPUT);
    let mut cases = Vec::new();
    for transport in Transport::ALL {
        for clients in sizes(run, transport) {
            let case = Case::measure(run, transport, clients, rounds)?;
            throughput.row(case.throughput_cells());
            case.judge(&mut report.verdict);
            cases.push(case);
        }
    }
    let title = format!("Latency in ms, at {:.0} % of the bare server's throughput", LOAD * 100.0);
    let mut latency = Table::begin(title, 1, &LATENCY);
    cases.iter().for_each(|case| latency.row(case.latency_cells()));
    report.tables.extend([throughput, latency]);
    Ok(cases)
}

const THROUGHPUT: [&str; 10] = [
    "transport",
    "clients",
    "bare /s",
    "guarded /s",
    "ratio                    ",
    "bare CPU µs",
    "guarded CPU µs",
    "bare busy %",
    "guarded busy %",
    "generator busy %",
];

const LATENCY: [&str; 10] = [
    "transport",
    "clients",
    "rate /s",
    "bare p50",
    "guarded p50",
    "bare p99",
    "guarded p99",
    "bare p99.9",
    "guarded p99.9",
    "ratio of p99             ",
];

/// As many as there are descriptors for, here and in the server: this process holds the clients of both servers.
fn sizes(run: &Run, transport: Transport) -> Vec<usize> {
    let wanted = if run.quick { &QUICK_CLIENTS[..] } else { &CLIENTS[..] };
    let each = match transport {
        Transport::WebSocket => 1,
        Transport::Polling => 2,
    };
    let most = descriptors(ENOUGH).map_or(u64::MAX, |limit| limit.saturating_sub(SPARE) / (2 * each));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut sizes: Vec<usize> = wanted.iter().map(|&clients| clients.min(most)).collect();
    sizes.dedup();
    sizes
}

/// Turns of two servers.
fn turns(
    run: &Run,
    runtime: &Runtime,
    sides: &mut [Side; 2],
    clients: usize,
    rounds: usize,
) -> Result<Vec<[Throughput; 2]>> {
    let mut length = if run.quick { QUICK_ROUND } else { ROUND };
    // Once without counting: whatever is made at the first message.
    for side in &mut *sides {
        let per_second = side.throughput(runtime, length)?.per_second;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let all_have_some = Duration::from_secs_f64(MESSAGES_IN_TURN * clients as f64 / per_second);
        length = length.max(all_have_some);
    }
    let mut turns = Vec::new();
    let begun = Instant::now();
    while turns.len() < rounds && begun.elapsed() < ALL_ROUNDS {
        let [bare, other] = &mut *sides;
        // Who comes first finds the machine as the other has left it: they take turns in that, too.
        if turns.len() % 2 == 0 {
            let bare = bare.throughput(runtime, length)?;
            turns.push([bare, other.throughput(runtime, length)?]);
        } else {
            let other = other.throughput(runtime, length)?;
            turns.push([bare.throughput(runtime, length)?, other]);
        }
    }
    Ok(turns)
}

fn ratio_of(turns: &[[Throughput; 2]]) -> Spread {
    Spread::of(turns.iter().map(|[bare, other]| other.per_second / bare.per_second))
}

/// The bare server and the one with hardly any protection.
#[derive(Serialize)]
pub(super) struct Least {
    transport: Transport,
    clients: usize,
    /// Each time: bare and least.
    throughput: Vec<[Throughput; 2]>,
    ratio: Spread,
}

/// How near to the bare server the least protection is: what any other can be held against.
pub(super) fn measure_least(run: &Run, report: &mut Report) -> Result<Vec<Least>> {
    if run.quick {
        return Ok(Vec::new());
    }
    let heads = [
        "transport",
        "clients",
        "bare /s",
        "least /s",
        "ratio                    ",
        "bare CPU µs",
        "least CPU µs",
    ];
    let title = format!("Round trips a second with hardly any protection, medians of up to {ROUNDS} turns");
    let mut table = Table::begin(title, 1, &heads);
    let mut cases = Vec::new();
    for transport in Transport::ALL {
        let clients = CLIENTS_OF_LEAST;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut sides = Side::with_least(run, &runtime, transport, clients)?;
        let throughput = turns(run, &runtime, &mut sides, clients, ROUNDS)?;
        let ratio = ratio_of(&throughput);
        let both = |of: fn(&Throughput) -> Option<f64>, digits: usize| {
            [0, 1].map(|kind| or_dash(median(&throughput, kind, of).map(|n| format!("{n:.digits$}"))))
        };
        let mut cells = vec![transport.to_string(), clients.to_string()];
        cells.extend(both(|pass| Some(pass.per_second), 0));
        cells.push(ratio.to_string());
        cells.extend(both(|pass| pass.cpu, 1));
        table.row(cells);
        cases.push(Least { transport, clients, throughput, ratio });
    }
    report.tables.push(table);
    Ok(cases)
}

impl Case {
    fn measure(run: &Run, transport: Transport, clients: usize, rounds: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut sides = Side::both(run, &runtime, transport, clients)?;
        let throughput = turns(run, &runtime, &mut sides, clients, rounds)?;
        let ratio = ratio_of(&throughput);
        let rate = LOAD * Spread::of(throughput.iter().map(|[bare, _]| bare.per_second)).median;
        let (rounds, length) =
            if run.quick { (QUICK_ROUNDS, QUICK_ROUND) } else { (LATENCY_ROUNDS, LATENCY_ROUND) };
        let mut latency = [Times::new()?, Times::new()?];
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let mut p99 = [0.0; 2];
            for ((side, all), p99) in sides.iter_mut().zip(&mut latency).zip(&mut p99) {
                let times = side.latency(&runtime, rate, length)?;
                *p99 = times.p99().as_secs_f64();
                all.merge(&times)?;
            }
            let [bare, guarded] = p99;
            ratios.push(guarded / bare);
        }
        Ok(Self { transport, clients, throughput, ratio, rate, latency, p99_ratio: Spread::of(ratios) })
    }

    /// While the server waits for others, as for a single client that waits for it, the number of round trips says little
    /// of what the server does. Then it is its CPU time that counts.
    fn judge(&self, verdict: &mut Verdict) {
        let Self { transport, clients, .. } = self;
        let of_it = median(&self.throughput, 1, |pass| pass.busy);
        let is_bound = of_it.is_none_or(|busy| busy >= BUSY);
        let cpu = self.throughput.iter().map(|[bare, guarded]| Some(bare.cpu? / guarded.cpu?));
        match cpu.collect::<Option<Vec<f64>>>() {
            Some(cpu) if !is_bound => {
                let part = Spread::of(cpu).median;
                let line = format!(
                    "{clients} clients over {transport}, the server waits at times: {part:.3} of the bare server's round \
                     trips for each second of CPU time (≥ {BAR})"
                );
                verdict.bar(part >= BAR, line);
            }
            _ => {
                let part = self.ratio.median;
                let line = format!(
                    "{clients} clients over {transport}: {part:.3} of the bare server's round trips (≥ {BAR})"
                );
                verdict.bar(part >= BAR, line);
            }
        }
    }

    /// Of one server: the median.
    pub(super) fn per_second(&self, kind: usize) -> f64 {
        median(&self.throughput, kind, |pass| Some(pass.per_second)).unwrap_or(f64::NAN)
    }

    fn throughput_cells(&self) -> Vec<String> {
        let both = |of: fn(&Throughput) -> Option<f64>, digits: usize| {
            [0, 1].map(|kind| or_dash(median(&self.throughput, kind, of).map(|n| format!("{n:.digits$}"))))
        };
        let mut cells = vec![self.transport.to_string(), self.clients.to_string()];
        cells.extend(both(|pass| Some(pass.per_second), 0));
        cells.push(self.ratio.to_string());
        cells.extend(both(|pass| pass.cpu, 1));
        cells.extend(both(|pass| Some(pass.busy? * 100.0), 0));
        let [_, generator] = both(|pass| Some(pass.generator? * 100.0), 0);
        cells.push(generator);
        cells
    }

    fn latency_cells(&self) -> Vec<String> {
        let [bare, guarded] = &self.latency;
        let mut cells =
            vec![self.transport.to_string(), self.clients.to_string(), format!("{:.0}", self.rate)];
        for of in [Times::p50, Times::p99, Times::p999] {
            cells.extend([ms(of(bare)), ms(of(guarded))]);
        }
        cells.push(format!("{:.2}", self.p99_ratio));
        cells
    }
}

/// Over the passes of one server; `None` where it is not known.
fn median(passes: &[[Throughput; 2]], kind: usize, of: fn(&Throughput) -> Option<f64>) -> Option<f64> {
    let numbers: Option<Vec<f64>> = passes.iter().map(|pass| of(&pass[kind])).collect();
    Some(Spread::of(numbers?).median)
}
