//! How much the servers get done, and how soon each answers at a load that both can bear.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::load::{Program, Throughput};
use super::turns::Turns;
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
/// What the bare server is also held against, with so many clients.
const CONTROLS: [(&str, Program, usize); 3] =
    [("bare", Program::Bare, 100), ("bare", Program::Bare, 1_000), ("least", Program::Least, 100)];
const QUICK_LATENCY_ROUNDS: usize = 2;
const QUICK_LATENCY_ROUND: Duration = Duration::from_millis(200);
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
    throughput: Turns,
    /// Messages a second when latency was measured.
    rate: f64,
    /// Of all rounds together.
    latency: [Times; 2],
    /// Guarded to bare, of the 99th percentile of each round.
    p99_ratio: Spread,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<Vec<Case>> {
    let (starts, turns) = Turns::planned(run);
    let title = format!("Round trips a second, {starts} starts of each server with up to {turns} turns");
    let mut throughput = Table::begin(title, 1, &THROUGHPUT);
    let mut cases = Vec::new();
    for transport in Transport::ALL {
        for clients in sizes(run, transport) {
            let case = Case::measure(run, transport, clients)?;
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

const THROUGHPUT: [&str; 11] = [
    "transport",
    "clients",
    "bare /s",
    "guarded /s",
    "ratio                    ",
    "±",
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

/// The bare server and one that tells what there is to be seen.
#[derive(Serialize)]
pub(super) struct Control {
    transport: Transport,
    clients: usize,
    name: &'static str,
    throughput: Turns,
}

/// How near to the bare server another bare one is, which is how much can be told apart on this machine, and the one with
/// hardly any protection: what any other can be held against.
pub(super) fn measure_controls(run: &Run, report: &mut Report) -> Result<Vec<Control>> {
    if run.quick {
        return Ok(Vec::new());
    }
    let heads = [
        "transport",
        "clients",
        "other",
        "bare /s",
        "other /s",
        "ratio                    ",
        "±",
        "bare CPU µs",
        "other CPU µs",
    ];
    let (starts, turns) = Turns::planned(run);
    let title = format!(
        "Round trips a second of the bare server beside others, {starts} starts with up to {turns} turns"
    );
    let mut table = Table::begin(title, 3, &heads);
    let mut controls = Vec::new();
    for transport in Transport::ALL {
        for (name, other, clients) in CONTROLS {
            let (throughput, ..) = Turns::measure(run, other, transport, clients)?;
            let both = |of: fn(&Throughput) -> Option<f64>, digits: usize| {
                [0, 1].map(|kind| or_dash(throughput.median(kind, of).map(|n| format!("{n:.digits$}"))))
            };
            let mut cells = vec![transport.to_string(), clients.to_string(), name.to_owned()];
            cells.extend(both(|turn| Some(turn.per_second), 0));
            cells.push(throughput.ratio().to_string());
            cells.push(or_dash(throughput.error_cell()));
            cells.extend(both(|turn| turn.cpu, 1));
            table.row(cells);
            controls.push(Control { transport, clients, name, throughput });
        }
    }
    report.tables.push(table);
    Ok(controls)
}

impl Case {
    fn measure(run: &Run, transport: Transport, clients: usize) -> Result<Self> {
        let (throughput, mut sides, runtime) = Turns::measure(run, Program::Guarded, transport, clients)?;
        let rate = LOAD * throughput.median(0, |turn| Some(turn.per_second)).unwrap_or(f64::NAN);
        let (rounds, length) = if run.quick {
            (QUICK_LATENCY_ROUNDS, QUICK_LATENCY_ROUND)
        } else {
            (LATENCY_ROUNDS, LATENCY_ROUND)
        };
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
        Ok(Self { transport, clients, throughput, rate, latency, p99_ratio: Spread::of(ratios) })
    }

    /// While the server waits for others, as for a single client that waits for it, the number of round trips says little
    /// of what the server does. Then it is its CPU time that counts.
    fn judge(&self, verdict: &mut Verdict) {
        let Self { transport, clients, .. } = self;
        let of_it = self.throughput.median(1, |turn| turn.busy);
        let is_bound = of_it.is_none_or(|busy| busy >= BUSY);
        let (part, waits, unit) = match self.throughput.ratio_by_cpu() {
            Some(cpu) if !is_bound => {
                (cpu.median, ", the server waits at times", "round trips for each second of CPU time")
            }
            _ => (self.throughput.ratio().median, "", "round trips"),
        };
        let line = format!(
            "{clients} clients over {transport}{waits}: {part:.3} of the bare server's {unit} (≥ {BAR})"
        );
        verdict.bar(part >= BAR, line);
    }

    /// Of one server: the median.
    pub(super) fn per_second(&self, kind: usize) -> f64 {
        self.throughput.median(kind, |turn| Some(turn.per_second)).unwrap_or(f64::NAN)
    }

    fn throughput_cells(&self) -> Vec<String> {
        let both = |of: fn(&Throughput) -> Option<f64>, digits: usize| {
            [0, 1].map(|kind| or_dash(self.throughput.median(kind, of).map(|n| format!("{n:.digits$}"))))
        };
        let mut cells = vec![self.transport.to_string(), self.clients.to_string()];
        cells.extend(both(|pass| Some(pass.per_second), 0));
        cells.push(self.throughput.ratio().to_string());
        cells.push(or_dash(self.throughput.error_cell()));
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
