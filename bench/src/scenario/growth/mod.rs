//! What grows with the number of clients, and how: the guarded server with few, more and many.

mod point;

use std::time::Duration;

use anyhow::Result;

use self::point::Point;
use crate::Run;
use crate::client::Transport;
use crate::machine::descriptors;
use crate::report::{Chart, Lines, Report, Table, Verdict, ms, or_dash};

/// Of what one client costs among few, it may cost so much among many.
const LINEAR: f64 = 1.3;
/// An echo's CPU time may grow so many times as much as in the bare server: what one of many clients has in memory is not in
/// the processor's cache when it is its turn, in any server.
const THAN_BARE: f64 = 1.1;
/// In recovery mode everybody is looked at once in this time: `OFTEN` and `LOOK` in `recovery/rounds.rs`.
const LOOK: Duration = Duration::from_millis(800);
/// Of one processor, the recovery may use so much while nobody does anything.
const SHARE: f64 = 0.01;
const CLIENTS: [usize; 3] = [1_000, 5_000, 20_000];
const QUICK_CLIENTS: [usize; 2] = [100, 400];
/// More descriptors than any point of a measurement takes.
const ENOUGH: u64 = 64 * 1024;
/// Descriptors that are not for clients' connections.
const SPARE: u64 = 200;

/// How long each part of a measurement takes.
#[derive(Clone, Copy)]
struct Effort {
    /// Without a fault so far. Every client is pinged once in 25 s, so that is how long it lasts: all of them are, once.
    calm: Duration,
    /// After faults, in recovery mode.
    recovering: Duration,
    /// How many echoes all clients do together in a round, at least.
    echoes: usize,
    rounds: usize,
    /// How many clients are sealed.
    offenders: usize,
}

const FULL: Effort = Effort {
    calm: Duration::from_secs(25),
    recovering: Duration::from_secs(6),
    echoes: 40_000,
    rounds: 5,
    offenders: 40,
};
const QUICK: Effort = Effort {
    calm: Duration::from_millis(1500),
    recovering: Duration::from_millis(1500),
    echoes: 800,
    rounds: 1,
    offenders: 5,
};

pub(crate) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new("Growth", ABOUT);
    let mut table = Table::begin("The guarded server with more and more clients", 1, &HEADS);
    let effort = if run.quick { QUICK } else { FULL };
    let mut points: Vec<Point> = Vec::new();
    for transport in Transport::ALL {
        for clients in sizes(run, transport) {
            let point = match Point::measure(run, transport, clients, effort) {
                Ok(point) => point,
                Err(error) => {
                    let line = format!("{clients} clients over {transport} could not be measured: {error:#}");
                    report.verdict.must(false, line);
                    continue;
                }
            };
            table.row(cells(&point));
            points.push(point);
        }
    }
    for transport in Transport::ALL {
        let points: Vec<&Point> = points.iter().filter(|point| point.transport == transport).collect();
        judge(&points, &mut report.verdict);
    }
    report.tables.push(table);
    report.chart = Some(chart(&points));
    report.keep(&points)?;
    Ok(report)
}

const ABOUT: &str = "The guarded server, with allocations counted, and clients that are there over WebSocket or HTTP polling. \
    *Memory* is for each client: allocated to the byte while it has only been let in (*allocated*) and after it has \
    exchanged messages (*active*), and resident. *Idle* is the server's CPU time for each client and \
    second while nobody does anything but answer the heartbeat. *Echo* is its CPU time for one echo while all clients echo, \
    64 at a time, as often in a row as makes 40,000 of all in a round: the median of five. *Bare echo* is that of the bare \
    server with as many clients, measured just before: what one of many clients has in memory is not in the processor's cache \
    when it is its turn, in any server. *Sealed* is the time from a panic in the handler of one more client until nothing is \
    left of it, and \
    *told* what that client sees, from its emit to the notice. *Recovery* is what the thread that sweeps and looks after \
    everybody takes of one processor while nobody does anything: when there has been no fault (*calm*), and in recovery mode, \
    after faults, when it looks at everybody every 1.2 s instead of every 5 s; *look at all* is what one such look takes, \
    with all else that thread does in that time. There are as many clients as the descriptors of a process allow; a \
    client that polls takes two.";

const HEADS: [&str; 14] = [
    "transport",
    "clients",
    "allocated bytes",
    "active bytes",
    "resident bytes",
    "idle µs/s",
    "echo µs",
    "bare echo µs",
    "sealed p50 ms",
    "sealed max ms",
    "told p50 ms",
    "recovery % calm",
    "recovery % in recovery mode",
    "look at all ms",
];

fn cells(point: &Point) -> Vec<String> {
    let optional = |number: Option<f64>, digits: usize| or_dash(number.map(|n| format!("{n:.digits$}")));
    vec![
        point.transport.to_string(),
        point.clients.to_string(),
        format!("{:.0}", point.allocated),
        format!("{:.0}", point.active),
        optional(point.resident, 0),
        optional(point.idle, 2),
        optional(point.echo, 1),
        optional(point.bare_echo, 1),
        ms(point.sealed.p50()),
        ms(point.sealed.max()),
        ms(point.told.p50()),
        optional(point.calm.map(|part| part * 100.0), 3),
        optional(point.recovering.map(|part| part * 100.0), 3),
        optional(point.recovering.map(|part| part * LOOK.as_secs_f64() * 1000.0), 2),
    ]
}

/// As many as there are descriptors for, here and in the server; each number once.
fn sizes(run: &Run, transport: Transport) -> Vec<usize> {
    let wanted = if run.quick { &QUICK_CLIENTS[..] } else { &CLIENTS[..] };
    let most = descriptors(ENOUGH).map_or(u64::MAX, |limit| limit.saturating_sub(SPARE));
    let each = match transport {
        Transport::WebSocket => 1,
        Transport::Polling => 2,
    };
    let most = usize::try_from(most / each).unwrap_or(usize::MAX);
    let mut sizes: Vec<usize> = wanted.iter().map(|&clients| clients.min(most)).collect();
    sizes.dedup();
    sizes
}

/// Compares the most clients with the fewest.
fn judge(points: &[&Point], verdict: &mut Verdict) {
    let [few, .., many] = points else { return };
    let (transport, clients) = (many.transport, many.clients);
    let mut compare = |what: &str, of: &dyn Fn(&Point) -> Option<f64>| {
        if let Some((few, many)) = of(few).zip(of(many)) {
            let times = many / few;
            let line = format!(
                "{what} with {clients} clients over {transport}: {times:.2} times that of few (≤ {LINEAR})"
            );
            verdict.bar(times <= LINEAR, line);
        }
    };
    compare("memory of a client", &|point| Some(point.allocated));
    compare("memory of an active client", &|point| Some(point.active));
    compare("resident memory of a client", &|point| point.resident);
    compare("CPU time of an idle client", &|point| point.idle);
    compare("recovery's CPU time for a client, calm", &|point| point.of_each(point.calm));
    compare("recovery's CPU time for a client, in recovery mode", &|point| point.of_each(point.recovering));
    let growth = |of: fn(&Point) -> Option<f64>| of(few).zip(of(many)).map(|(few, many)| many / few);
    if let Some((guarded, bare)) = growth(|point| point.echo).zip(growth(|point| point.bare_echo)) {
        let line = format!(
            "CPU time of an echo with {clients} clients over {transport}: {guarded:.2} times that of few, and {bare:.2} times in \
             the bare server (≤ {LINEAR}, or ≤ {THAN_BARE} times the bare one's growth)"
        );
        verdict.bar(guarded <= LINEAR.max(bare * THAN_BARE), line);
    }
    let sealing = [few, many].map(|point| point.sealed.p50().as_secs_f64());
    let (longer, more) = (sealing[1] / sealing[0], point::count(clients) / point::count(few.clients));
    let line = format!(
        "sealing one of {clients} clients over {transport} takes {longer:.2} times as long as one of {}, which are {more:.1} \
         times fewer (≤ {more:.1})",
        few.clients
    );
    verdict.bar(longer <= more, line);
    for (when, share) in [("calm", many.calm), ("in recovery mode", many.recovering)] {
        if let Some(share) = share {
            let line = format!(
                "the recovery takes {:.2} % of a processor with {clients} clients over {transport}, {when} (< {:.0} %)",
                share * 100.0,
                SHARE * 100.0
            );
            verdict.bar(share < SHARE, line);
        }
    }
}

fn chart(points: &[Point]) -> Chart {
    let line = |transport: Transport, when: &str, of: fn(&Point) -> Option<f64>| {
        let points = points.iter().filter(|point| point.transport == transport);
        #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
        let line = points.filter_map(|point| Some((point.clients as f64, of(point)? * 100.0))).collect();
        (format!("{transport}, {when}"), line)
    };
    let lines = Transport::ALL.into_iter().flat_map(|transport| {
        [
            line(transport, "calm", |point| point.calm),
            line(transport, "in recovery mode", |point| point.recovering),
        ]
    });
    Chart::Lines(Lines {
        title: "What the recovery takes while nobody does anything".to_owned(),
        axes: ["clients".to_owned(), "% of one processor".to_owned()],
        lines: lines.collect(),
    })
}
