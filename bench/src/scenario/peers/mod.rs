//! Peers: one client's fault in Watertight and in servers of others, and what it and everybody else feels.

mod bystanders;
mod party;
mod peer;
mod trial;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use self::bystanders::BYSTANDERS;
use self::peer::{Fault, Peer, Programs};
use self::trial::Trial;
use crate::Run;
use crate::report::{Bars, Chart, Report, Spread, Table, Verdict, or_dash};

const ROUNDS: usize = 5;

const ABOUT: &str = "One client's message makes its handler fail, beside 20 bystanders that echo every 20 ms and come back at \
    once when they are cut. *Crash*: a panic in Rust, an exception that nobody catches in JavaScript, an error in Erlang. \
    *Rejection*: the promise of an asynchronous handler is rejected, in Node. *Block*: the handler does not give its thread back \
    for 3 s. *Abort*: SIGABRT of the process. *Told*: when the offender has an event that says what happened, from its message on; \
    *closed*: when its connection has ended; *never*: not in the 1.5 s that were watched, 4.5 s for a block. *Cut*: bystanders that \
    lost their connection. *Worst echo*: the longest that any of them waited for an echo, from when it was due until one was back, \
    over the end of its connection when there was one, and 10 ms more that it waits after it is back. *Lost*: echoes that never came back. *Refused*: their connections at which \
    nobody listened.

Every fault is that of a fresh server. Watertight is the game server with its defaults: a worker under its parent. All others run \
under a process manager that starts them again within a millisecond of their death; real ones take longer. Node is socket.io's own \
server with its defaults. Erlang is a `gen_server` for each connection, over TCP and with lines in place of Socket.IO.";

/// One fault in one server, again and again.
#[derive(Serialize)]
struct Case {
    peer: Peer,
    fault: Fault,
    trials: Vec<Trial>,
    /// What could not be measured, and why.
    errors: Vec<String>,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new("Peers", ABOUT);
    let (programs, missing) = Programs::find(&run.results)?;
    report.notes.extend(missing.into_iter().map(|sentence| format!("{sentence}.")));
    let cases = measure(run, &programs, &mut report);
    for case in &cases {
        case.judge(&mut report.verdict);
        report.notes.extend(case.errors.first().map(|error| {
            format!(
                "{}, {}: {} of its trials came to nothing: {error}.",
                case.peer.name(),
                case.fault.name(),
                case.errors.len()
            )
        }));
    }
    report.chart = Some(chart(&cases));
    report.keep(&cases)?;
    Ok(report)
}

const HEADS: [&str; 9] = [
    "fault    ",
    "server           ",
    "told                ",
    "closed              ",
    "cut",
    "worst echo                ",
    "lost",
    "refused",
    "afterwards             ",
];

/// Round by round, so that a busy minute of the machine spoils a round of each and not every round of one.
fn measure(run: &Run, programs: &Programs, report: &mut Report) -> Vec<Case> {
    let faults = if run.quick { &[Fault::Crash, Fault::Abort][..] } else { &Fault::ALL };
    let mut cases: Vec<(Case, &str)> = faults
        .iter()
        .flat_map(|&fault| Peer::ALL.into_iter().map(move |peer| (peer, fault)))
        .filter(|(peer, _)| peer.is_there(programs))
        .filter_map(|(peer, fault)| {
            let case = Case { peer, fault, trials: Vec::new(), errors: Vec::new() };
            Some((case, peer.event(fault)?))
        })
        .collect();
    let title = format!(
        "Times in ms; medians of the rounds with the least and the greatest; counts of {BYSTANDERS} bystanders are the greatest"
    );
    let mut table = Table::begin(title, 2, &HEADS);
    for _ in 0..if run.quick { 1 } else { ROUNDS } {
        for (case, event) in &mut cases {
            match trial::run(case.peer, event, case.fault.watched(run.quick), programs, &run.results) {
                Ok(trial) => {
                    let alone = Case { trials: vec![trial], errors: Vec::new(), ..*case };
                    table.tell(&alone.cells());
                    case.trials.extend(alone.trials);
                }
                Err(error) => {
                    println!("{}, {}: {error:#}", case.peer.name(), case.fault.name());
                    case.errors.push(format!("{error:#}"));
                }
            }
        }
    }
    println!();
    let cases: Vec<Case> = cases.into_iter().map(|(case, _)| case).collect();
    for case in &cases {
        table.row(case.cells());
    }
    report.tables.push(table);
    cases
}

impl Case {
    fn cells(&self) -> Vec<String> {
        let most = |what: fn(&Trial) -> u64| {
            or_dash(self.trials.iter().map(what).max().map(|most| most.to_string()))
        };
        vec![
            self.fault.name().to_owned(),
            self.peer.name().to_owned(),
            self.times(|trial| trial.told),
            self.times(|trial| trial.closed),
            most(|trial| trial.felt.cut),
            self.times(|trial| trial.worst),
            most(|trial| trial.felt.lost),
            most(|trial| trial.felt.refused),
            self.alive(),
        ]
    }

    /// `never` when it never came.
    fn times(&self, what: fn(&Trial) -> Option<Duration>) -> String {
        let times: Vec<f64> = self.trials.iter().filter_map(what).map(milliseconds).collect();
        let (came, all) = (times.len(), self.trials.len());
        match (came, all) {
            (_, 0) => or_dash(None),
            (0, _) => "never".to_owned(),
            (1, 1) => format!("{:.1}", times[0]),
            _ if came < all => format!("{:.1}, in {came} of {all}", Spread::of(times)),
            _ => format!("{:.1}", Spread::of(times)),
        }
    }

    fn alive(&self) -> String {
        let died = self.trials.iter().filter(|trial| trial.died == Some(true)).count();
        match (died, self.trials.len()) {
            (_, 0) => or_dash(None),
            _ if self.trials.iter().any(|trial| trial.died.is_none()) => or_dash(None),
            (0, _) => "alive".to_owned(),
            _ => format!("died, back {}", self.times(|trial| trial.back)),
        }
    }

    /// What we promise of our own.
    fn judge(&self, verdict: &mut Verdict) {
        if self.peer != Peer::Watertight {
            return;
        }
        let name = self.fault.name();
        let count = |what: fn(&Trial) -> u64| self.trials.iter().map(what).sum::<u64>();
        let unserved = self.errors.len();
        verdict.must(
            unserved == 0,
            format!("{name}: in {unserved} trials Watertight's server did not serve (0)"),
        );
        let refused = count(|trial| trial.felt.refused);
        verdict.must(refused == 0, format!("{name}: {refused} connections were refused (0)"));
        if self.fault == Fault::Abort {
            return;
        }
        let (cut, lost) = (count(|trial| trial.felt.cut), count(|trial| trial.felt.lost));
        verdict.must(
            cut == 0 && lost == 0,
            format!("{name}: {cut} bystanders were cut and {lost} of their echoes lost (0)"),
        );
        let died = self.trials.iter().filter(|trial| trial.died == Some(true)).count();
        verdict.must(died == 0, format!("{name}: the process died {died} times (0)"));
        let untold =
            self.trials.iter().filter(|trial| trial.told.is_none() || trial.closed.is_none()).count();
        verdict.must(untold == 0, format!("{name}: {untold} offenders were not told or not closed (0)"));
    }
}

fn chart(cases: &[Case]) -> Chart {
    let mut faults: Vec<Fault> = Vec::new();
    for case in cases {
        if !faults.contains(&case.fault) {
            faults.push(case.fault);
        }
    }
    let worst = |peer: Peer, fault: Fault| {
        let case = cases.iter().find(|case| case.peer == peer && case.fault == fault);
        case.map_or(f64::NAN, |case| {
            Spread::of(case.trials.iter().filter_map(|trial| trial.worst).map(milliseconds)).median
        })
    };
    let kinds = Peer::ALL.into_iter().filter(|&peer| cases.iter().any(|case| case.peer == peer));
    Chart::Bars(Bars {
        title: "What bystanders feel of one client's fault".to_owned(),
        unit: "their worst echo, ms".to_owned(),
        kinds: kinds
            .map(|peer| (peer.name().to_owned(), faults.iter().map(|&fault| worst(peer, fault)).collect()))
            .collect(),
        groups: faults.iter().map(|fault| fault.name().to_owned()).collect(),
        logarithmic: true,
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
