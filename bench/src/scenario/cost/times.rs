//! How much the servers get done, and how soon each answers.

use anyhow::Result;
use serde::Serialize;

use super::latency::{LOAD, Latency};
use super::load::{Program, Throughput};
use super::turns::Turns;
use crate::Run;
use crate::client::Transport;
use crate::machine::descriptors;
use crate::report::{Report, Table, Verdict, or_dash};

/// Of the bare server's round trips a second, at least so many.
const BAR: f64 = 0.99;
/// A server that is busy for so much of the time is what the number of round trips depends on.
const BUSY: f64 = 0.95;
const CLIENTS: [usize; 5] = [1, 10, 100, 1_000, 5_000];
const QUICK_CLIENTS: [usize; 2] = [1, 50];
/// What the bare server is also held against, with so many clients.
const CONTROLS: [(&str, Program, usize); 3] =
    [("bare", Program::Bare, 100), ("bare", Program::Bare, 1_000), ("least", Program::Least, 100)];
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
    latency: Latency,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<Vec<Case>> {
    let (starts, turns) = Turns::planned(run);
    let title = format!("Round trips a second, {starts} starts of each server with up to {turns} turns");
    let heads = columns(&["transport", "clients"], ["bare", "guarded"]);
    let mut throughput = Table::begin(title, 1, &heads);
    let mut cases = Vec::new();
    for transport in Transport::ALL {
        for clients in sizes(run, transport) {
            let case = Case::measure(run, transport, clients)?;
            throughput.row([case.names(), cells(&case.throughput)].concat());
            case.judge(&mut report.verdict);
            cases.push(case);
        }
    }
    let title = format!("Latency in ms, at {:.0} % of the bare server's throughput", LOAD * 100.0);
    let heads = [&["transport", "clients"], &Latency::COLUMNS[..]].concat();
    let mut latency = Table::begin(title, 1, &heads);
    for case in &cases {
        latency.row([case.names(), case.latency.cells()].concat());
    }
    report.tables.extend([throughput, latency]);
    Ok(cases)
}

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
    let heads = columns(&["transport", "clients", "other"], ["bare", "other"]);
    let (starts, turns) = Turns::planned(run);
    let title = format!(
        "Round trips a second of the bare server beside others, {starts} starts with up to {turns} turns"
    );
    let mut table = Table::begin(title, 3, &heads);
    let mut controls = Vec::new();
    for transport in Transport::ALL {
        for (name, other, clients) in CONTROLS {
            let throughput = Turns::measure(run, other, transport, clients, |_, _, _| Ok(()))?;
            let names = vec![transport.to_string(), clients.to_string(), name.to_owned()];
            table.row([names, cells(&throughput)].concat());
            controls.push(Control { transport, clients, name, throughput });
        }
    }
    report.tables.push(table);
    Ok(controls)
}

impl Case {
    fn measure(run: &Run, transport: Transport, clients: usize) -> Result<Self> {
        let mut latency = Latency::new()?;
        let then = |runtime: &_, sides: &mut _, turns: &_| latency.measure(runtime, sides, turns);
        let throughput = Turns::measure(run, Program::Guarded, transport, clients, then)?;
        Ok(Self { transport, clients, throughput, latency })
    }

    /// While the server waits for others, as for a single client that waits for it, the number of round trips says little
    /// of what the server does. Then it is its CPU time that counts.
    fn judge(&self, verdict: &mut Verdict) {
        let Self { transport, clients, .. } = self;
        let is_busy = |server: usize| {
            let of_it = self.throughput.median(server, |turn| turn.busy);
            of_it.is_none_or(|busy| busy >= BUSY)
        };
        let is_bound = is_busy(0) && is_busy(1);
        let by_cpu = self.throughput.ratio_by_cpu();
        let (ratio, waits, unit) = if is_bound || by_cpu.median.is_nan() {
            (self.throughput.ratio(), "", "round trips")
        } else {
            (by_cpu, ", a server waits at times", "round trips for each second of CPU time")
        };
        let line = format!(
            "{clients} clients over {transport}{waits}: {ratio} of the bare server's {unit} (≥ {BAR})"
        );
        verdict.at_least(BAR, ratio, line);
    }

    /// Of one server: the median.
    pub(super) fn per_second(&self, kind: usize) -> f64 {
        self.throughput.median(kind, |turn| Some(turn.per_second)).unwrap_or(f64::NAN)
    }

    fn names(&self) -> Vec<String> {
        vec![self.transport.to_string(), self.clients.to_string()]
    }
}

/// Of a table of turns, for [`cells`] behind others.
fn columns(names: &[&str], [bare, other]: [&str; 2]) -> Vec<String> {
    let of_turns = [
        format!("{bare} /s"),
        format!("{other} /s"),
        "ratio                 ".to_owned(),
        format!("{bare} CPU µs"),
        format!("{other} CPU µs"),
        "ratio by CPU          ".to_owned(),
        format!("{bare} busy %"),
        format!("{other} busy %"),
        "generator busy %".to_owned(),
    ];
    names.iter().map(|&name| name.to_owned()).chain(of_turns).collect()
}

fn cells(turns: &Turns) -> Vec<String> {
    let both = |of: fn(&Throughput) -> Option<f64>, digits: usize| {
        [0, 1].map(|kind| or_dash(turns.median(kind, of).map(|number| format!("{number:.digits$}"))))
    };
    let [bare, other] = both(|turn| Some(turn.per_second), 0);
    let [bare_cpu, other_cpu] = both(|turn| turn.cpu, 1);
    let [bare_busy, other_busy] = both(|turn| Some(turn.busy? * 100.0), 0);
    let [_, generator] = both(|turn| Some(turn.generator? * 100.0), 0);
    let [ratio, by_cpu] = [turns.ratio(), turns.ratio_by_cpu()].map(|ratio| ratio.to_string());
    vec![bare, other, ratio, bare_cpu, other_cpu, by_cpu, bare_busy, other_busy, generator]
}
