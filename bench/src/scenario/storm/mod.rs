//! A storm of panics, and what those notice who have nothing to do with it.

mod crowd;
mod memory;
mod offenders;
mod round;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use self::crowd::Fate;
use self::memory::Memory;
use self::offenders::Force;
use self::round::{Lengths, Round};
use crate::Run;
use crate::report::{Bars, Chart, Report, Spread, Table, Verdict, ms, or_dash};
use crate::server::{Kind, Server, binary};

/// The numbers.
const FORCE: Force = Force { clients: 50, per_second: 2_000 };
const QUICK_FORCE: Force = Force { clients: 10, per_second: 200 };
const BYSTANDERS: u32 = 1_000;
const QUICK_BYSTANDERS: u32 = 100;
/// A bystander's 99th percentile may be so many times that of the quiet before.
const BAR: f64 = 1.05;
/// A storm that is weaker than this part of what was asked for is another one.
const FORCE_BAR: f64 = 0.95;

/// A log that says the same a hundred thousand times is cut after so much.
const LOG: u64 = 64 * 1024;

/// Without backtraces and with them. Traces are what makes it slow, and nothing else.
fn traces(run: &Run) -> &'static [bool] {
    if run.quick { &[false] } else { &[false, true] }
}

#[derive(Serialize)]
struct Results {
    bystanders: u32,
    force: Force,
    rounds: Vec<Round>,
    memory: Vec<Memory>,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
    let (force, bystanders) = if run.quick { (QUICK_FORCE, QUICK_BYSTANDERS) } else { (FORCE, BYSTANDERS) };
    let lengths = Lengths::of(run);
    let mut report = Report::new("A storm of panics", about(force, bystanders, &lengths));
    let mut table = Table::begin("Echoes of the bystanders, in ms", 2, &HEADS);
    let mut rounds = Vec::new();
    for &traces in traces(run) {
        for kind in Kind::BOTH {
            let round = match Round::run(run, kind, traces, force, bystanders, &lengths) {
                Ok(round) => round,
                Err(error) => {
                    object(&mut report, kind, format!("{}: {error:#}", which(kind, traces)));
                    continue;
                }
            };
            table.row(cells(&round));
            let bare =
                rounds.iter().find(|other: &&Round| other.kind == Kind::Bare && other.traces == traces);
            judge(&mut report, &round, bare, force);
            rounds.push(round);
        }
    }
    report.tables.push(table);
    report.tables.push(offences(&rounds));
    let mut memory = Vec::new();
    for &traces in traces(run) {
        match memory::measure(run, traces, FORCE, &mut report) {
            Ok(measured) => memory.push(measured),
            Err(error) => {
                let kind = Kind::Guarded;
                let what = format!("{}: what it holds: {error:#}", which(kind, traces));
                object(&mut report, kind, what);
            }
        }
    }
    report.chart = Some(chart(&rounds));
    report.keep(&Results { bystanders, force, rounds, memory })?;
    Ok(report)
}

fn about(force: Force, bystanders: u32, lengths: &Lengths) -> String {
    let Force { clients, per_second } = force;
    let Lengths { quiet, reconnects, storm, .. } = lengths;
    format!(
        "{bystanders} clients, the bystanders, echo once a second each, {} times in turn for {} s in quiet and then for {} s \
         while {clients} other clients, the offenders, together make a handler panic {per_second} times a second. An echo's \
         time counts from when it should have been sent, so that one which has to wait for its turn is not counted as \
         fast.\n\n\
         On Watertight, as a library with its defaults, every panic ends its offender's connection: it is told, is \
         disconnected, and connects again at once. So that the storm goes on, nothing is switched off and nobody refused: \
         all come from one address, which is never quarantined while others from there behave, and breakers open \
         only for faults of several identities. To tell what panics cost from what connections cost, for {} s \
         after each storm as many clients connect as often, echo once instead of panicking, and leave \
         (*reconnects*), on both servers. On bare socketioxide a panic leaves its client connected, which is never told, and \
         panics again \
         over the same connection.\n\n\
         Each with `RUST_BACKTRACE` 0 and 1, in turn; standard error, to which the default panic hook prints, is a file. \
         Ratios are of 99th percentiles, of each storm and of the reconnects after it to the quiet before: medians, with the \
         least and the greatest. Load generator and server share the machine's processors.",
        round::TURNS,
        quiet.as_secs_f32(),
        storm.as_secs_f32(),
        reconnects.as_secs_f32(),
    )
}

const HEADS: [&str; 12] = [
    "server ",
    "RUST_BACKTRACE",
    "quiet p50",
    "quiet p99",
    "reconnects p99",
    "storm p50",
    "storm p99",
    "storm p99.9",
    "storm worst",
    "p99 storm / quiet     ",
    "p99 reconnects / quiet",
    "lost",
];

fn cells(round: &Round) -> Vec<String> {
    let Round { kind, traces, quiet, reconnects, storm, bystanders, .. } = round;
    vec![
        kind.name().to_owned(),
        u8::from(*traces).to_string(),
        ms(quiet.all.p50()),
        ms(quiet.all.p99()),
        ms(reconnects.all.p99()),
        ms(storm.all.p50()),
        ms(storm.all.p99()),
        ms(storm.all.p999()),
        ms(storm.all.max()),
        times(storm.against(quiet)),
        times(reconnects.against(quiet)),
        bystanders.lost.to_string(),
    ]
}

fn times(spread: Option<Spread>) -> String {
    or_dash(spread.map(|spread| format!("{spread:.2}")))
}

/// What the offenders did and what became of them, and of the server.
fn offences(rounds: &[Round]) -> Table {
    let mut table = Table::begin(
        "The offenders, and the server's memory",
        2,
        &[
            "server ",
            "RUST_BACKTRACE",
            "panics",
            "panics /s",
            "told p50, ms",
            "told p99, ms",
            "untold",
            "CPU quiet, %",
            "CPU storm, %",
            "resident before, MiB",
            "after warm-up, MiB",
            "at the end, MiB",
        ],
    );
    for round in rounds {
        let Round { kind, traces, damage, panics, cpu, resident, .. } = round;
        let was_told = damage.told.len() > 0;
        let told = |quantile: f64| or_dash(was_told.then(|| ms(damage.told.quantile(quantile))));
        let mut row = vec![
            kind.name().to_owned(),
            u8::from(*traces).to_string(),
            panics.to_string(),
            format!("{:.0}", damage.per_second()),
            told(0.5),
            told(0.99),
            // Nobody is told by a bare server.
            if *kind == Kind::Bare { "all".to_owned() } else { damage.untold.to_string() },
        ];
        row.extend(cpu.map(|part| or_dash(part.map(|part| format!("{:.0}", part * 100.0)))));
        row.extend(resident.map(|bytes| or_dash(bytes.map(|bytes| (bytes / 1024 / 1024).to_string()))));
        table.row(row);
    }
    table
}

/// `bare` is the bare server's round with the same traces.
fn judge(report: &mut Report, round: &Round, bare: Option<&Round>, force: Force) {
    let Round { kind, traces, quiet, storm, bystanders, damage, panics, judged, sockets_left, .. } = round;
    let which = which(*kind, *traces);
    let all_happened = *panics == damage.acts && *panics > 0;
    let happened = format!("{which}: {} panics were asked for and {panics} happened", damage.acts);
    let first = first_of(damage.failure.as_ref());
    let failures = format!("{which}: {} failures of offenders{first}", damage.failed);
    if *kind == Kind::Bare {
        for (holds, line) in [(all_happened, happened), (damage.failed == 0, failures)] {
            if !holds {
                object(report, *kind, line);
            }
        }
        return;
    }
    let verdict = &mut report.verdict;
    verdict.must(all_happened, happened);
    verdict.must(damage.failed == 0, failures);
    let (reached, asked) = (damage.per_second(), f64::from(force.per_second));
    verdict.bar(reached >= asked * FORCE_BAR, format!("{which}: {reached:.0} panics a second of {asked:.0}"));
    let ratio = storm.against(quiet);
    let reconnects = |round: &Round| times(round.reconnects.against(&round.quiet));
    let line = format!(
        "{which}: a bystander's p99 is {} times that of the quiet (≤ {BAR}); with as many reconnects and no panic it is {} \
         times, and {} times on the bare server",
        times(ratio),
        reconnects(round),
        or_dash(bare.map(reconnects))
    );
    verdict.bar(ratio.is_some_and(|ratio| ratio.median <= BAR), line);
    bystanders.judge(verdict, &which);
    let line = format!("{which}: {} offenders were disconnected without a word", damage.untold);
    verdict.bar(damage.untold == 0, line);
    verdict.must(judged.is_clean(*panics), format!("{which}: of {panics} panics {judged}"));
    verdict
        .must(*sockets_left == 0, format!("{which}: {sockets_left} sockets of offenders were left behind"));
}

/// What is wrong with one server. Only ours can fail: the bare one is there to be compared with.
fn object(report: &mut Report, kind: Kind, what: String) {
    match kind {
        Kind::Guarded => report.verdict.faults.push(what),
        Kind::Bare => report.notes.push(format!("{what}.")),
    }
}

impl Fate {
    /// Whatever storms, nothing of those who have nothing to do with it is lost.
    fn judge(&self, verdict: &mut Verdict, which: &str) {
        let Self { sent, lost, disturbed } = self;
        verdict.must(*lost == 0, format!("{which}: {lost} of {sent} echoes of bystanders were lost"));
        let first = first_of(disturbed.first());
        verdict.must(
            disturbed.is_empty(),
            format!("{which}: {} bystanders were disconnected or got something else{first}", disturbed.len()),
        );
    }
}

fn which(kind: Kind, traces: bool) -> String {
    format!("{}, RUST_BACKTRACE={}", kind.name(), u8::from(traces))
}

/// What the first of several saw.
fn first_of(what: Option<&String>) -> String {
    what.map(|what| format!(", the first: {what}")).unwrap_or_default()
}

fn chart(rounds: &[Round]) -> Chart {
    let groups = rounds.iter().map(|round| {
        let traces = if round.traces { ", backtraces" } else { "" };
        format!("{}{traces}", round.kind.name())
    });
    let p99 = |of: fn(&Round) -> &round::Felt| {
        rounds.iter().map(|round| of(round).all.p99().as_secs_f64() * 1000.0).collect()
    };
    Chart::Bars(Bars {
        title: "What bystanders feel of a storm of panics".into(),
        unit: "99th percentile of their echoes, ms".into(),
        groups: groups.collect(),
        kinds: vec![
            ("quiet".into(), p99(|round| &round.quiet)),
            ("as many reconnects without panics".into(), p99(|round| &round.reconnects)),
            ("storm".into(), p99(|round| &round.storm)),
        ],
        logarithmic: true,
    })
}

/// The server of the bench: the fast one, or the one that counts what it allocates.
fn server(is_counted: bool, kind: Kind, traces: bool, log: &Path) -> Result<Server> {
    let (variable, program) = if is_counted {
        ("WATERTIGHT_BENCH_SERVER_COUNTED", "watertight-bench-server-counted")
    } else {
        ("WATERTIGHT_BENCH_SERVER", "watertight-bench-server")
    };
    let mut command = Command::new(binary(variable, program)?);
    command.arg(kind.name()).env("RUST_BACKTRACE", u8::from(traces).to_string());
    Server::start(command, log)
}

fn cut(log: &Path) -> Result<()> {
    let file = File::options().write(true).open(log)?;
    if file.metadata()?.len() > LOG {
        file.set_len(LOG)?;
    }
    Ok(())
}
