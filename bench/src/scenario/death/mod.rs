//! Process death: the process that serves dies with all its connections, and the clients come back.
//!
//! Ours is a worker under its parent, which holds the address. The others stand beside it under a process manager that is
//! faster than any real one.

mod crowd;
mod round;
mod scouts;
mod subject;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use self::crowd::Mix;
use self::round::{Death, Round, Setting};
use self::subject::{Programs, Subject};
use crate::Run;
use crate::report::{Chart, Lines, Report, Spread, Table, ms, or_dash};
use crate::{machine, peers};

/// The project's promise for a quiet machine, with [`FEW`] clients: all are back within this.
const BAR: Duration = Duration::from_millis(250);
const FEW: usize = 200;
const MANY: usize = 2_000;
const MOST: usize = 10_000;
/// Deaths of each kind, by how many clients see them.
const ROUNDS: [(usize, usize); 3] = [(FEW, 5), (MANY, 3), (MOST, 3)];
const QUICK_ROUNDS: usize = 1;
/// Files and connections beside those of the clients.
const OTHER_DESCRIPTORS: u64 = 500;

const ABOUT: &str = "The process that serves is killed (SIGKILL), or one client's handler ends it (SIGSEGV), while all the \
    others are connected and silent. Clients are our own and come back faster than any library: at once when their connection \
    ends, and again 5 ms after a try that failed. *Noticed*: the last client has seen its connection end. *Answers*: a fresh connection gets an open packet. *Half* and *all back*: so \
    many clients are in their namespace again. All times are from the death on. *Refused*: connections at which nobody \
    listened (ECONNREFUSED); each client may count often. *Failed*: tries that ended otherwise. *Early worst*: the longest \
    echo of eight clients that are back first, until all are, and *lost*: those of \
    their echoes that did not come back. *CPU*: of the new process until then, and *backlog*: the most \
    connections that waited in it for being accepted.

Watertight's server has a parent process that holds the address, starts the next worker, and lets the new connections wait. \
Bare socketioxide and Node's socket.io run under a process manager that starts them again within a millisecond of their death: \
systemd waits 100 ms by default, Kubernetes 10 s. The backlog of bare socketioxide is 128, as axum's users have it; whom it has no \
    place for is tried again by its system after 1 s, 3 s and 7 s. That of the others is 4,096. *Unpaced* is Watertight with `supervisor.accepts_per_second = 0`: by default it \
accepts 2,000 a second for 10 s after a death, the first 1,000 at once. Every death is that of a fresh server.";

/// One setting and its deaths.
#[derive(Serialize)]
struct Case {
    setting: Setting,
    /// `None` for one that could not be measured.
    rounds: Vec<Option<Round>>,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new("Process death", ABOUT);
    let programs = programs(&mut report)?;
    let cases = measure(run, &programs, &mut report);
    report.tables.extend(pace(&cases));
    judge(&cases, &mut report);
    report.chart = Some(chart(&cases));
    report.keep(&cases)?;
    Ok(report)
}

fn programs(report: &mut Report) -> Result<Programs> {
    let node = match peers::node() {
        Ok(node) => Some(node),
        Err(missing) => {
            report.notes.push(format!("{missing}."));
            None
        }
    };
    Ok(Programs { bare: peers::bare()?, node })
}

/// Everything that is measured, those that are compared next to each other.
fn settings(quick: bool, with_node: bool) -> Vec<Setting> {
    use Subject::{Bare, Node, Unpaced, Watertight};
    let of = |clients, mix, death, subjects: &[Subject]| {
        let setting = move |&subject| Setting { subject, mix, clients, death };
        subjects.iter().map(setting).collect::<Vec<_>>()
    };
    let (killed, all) = (Death::Killed, &[Watertight, Unpaced, Bare, Node][..]);
    let without_pace = &[Watertight, Bare, Node][..];
    let settings = if quick {
        vec![
            of(FEW, Mix::WebSocket, killed, without_pace),
            of(FEW, Mix::Polling, killed, &[Watertight]),
            of(FEW, Mix::Mixed, killed, &[Watertight]),
        ]
    } else {
        vec![
            of(FEW, Mix::WebSocket, killed, without_pace),
            of(FEW, Mix::WebSocket, Death::Segfault, &[Watertight]),
            of(FEW, Mix::Polling, killed, without_pace),
            of(FEW, Mix::Mixed, killed, without_pace),
            of(MANY, Mix::WebSocket, killed, all),
            of(MANY, Mix::Polling, killed, all),
            of(MOST, Mix::WebSocket, killed, all),
        ]
    };
    settings.into_iter().flatten().filter(|setting| with_node || setting.subject != Node).collect()
}

const HEADS: [&str; 14] = [
    "server             ",
    "clients",
    "transport",
    "death  ",
    "noticed",
    "answers",
    "half back",
    "all back                 ",
    "refused",
    "failed",
    "early worst",
    "lost",
    "CPU s",
    "backlog",
];

/// All deaths. Round by round, so that a busy minute of the machine spoils a round of each and not every round of one.
fn measure(run: &Run, programs: &Programs, report: &mut Report) -> Vec<Case> {
    let mut cases: Vec<Case> = settings(run.quick, programs.node.is_some())
        .into_iter()
        .map(|setting| Case { setting, rounds: Vec::new() })
        .collect();
    let title =
        "Times in ms from the death on; medians of the deaths, all back with the least and the greatest";
    let mut table = Table::begin(title, 1, &HEADS);
    for (clients, rounds) in ROUNDS {
        let rounds = if run.quick { QUICK_ROUNDS } else { rounds };
        let cases = cases.iter_mut().filter(|case| case.setting.clients == clients);
        let (mut cases, left_out): (Vec<&mut Case>, Vec<_>) =
            cases.partition(|case| has_room_for(case.setting));
        for case in left_out {
            report.notes.push(format!(
                "{} is left out: this process may not open so many connections (`ulimit -n`).",
                case.setting
            ));
        }
        if cases.is_empty() {
            continue;
        }
        for number in 1..=rounds {
            for case in &mut cases {
                let setting = case.setting;
                let round = match round::run(setting, programs, &run.results) {
                    Ok(round) => Some(round),
                    Err(error) => {
                        let what = format!("{setting}: death {number} could not be measured: {error:#}");
                        println!("{what}");
                        // The others are there to be compared with.
                        if setting.subject.is_ours() {
                            report.verdict.faults.push(what);
                        } else {
                            report.notes.push(format!("{what}."));
                        }
                        None
                    }
                };
                let died = Case { setting, rounds: vec![round] };
                if died.deaths().next().is_some() {
                    table.tell(&died.cells());
                }
                case.rounds.extend(died.rounds);
            }
        }
        println!();
        for case in cases.iter().filter(|case| case.deaths().next().is_some()) {
            table.row(case.cells());
        }
        println!();
    }
    report.tables.push(table);
    cases.retain(|case| case.deaths().next().is_some());
    cases
}

/// Whether we and the servers that we start may have as many connections; the more so when the system lets us.
fn has_room_for(setting: Setting) -> bool {
    let wanted = setting.mix.connections(setting.clients) as u64 + OTHER_DESCRIPTORS;
    machine::descriptors(wanted).is_none_or(|most| most >= wanted)
}

impl Case {
    /// Those that were measured.
    fn deaths(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().flatten()
    }

    fn spread(&self, what: impl Fn(&Round) -> Option<f64>) -> Spread {
        Spread::of(self.deaths().filter_map(what))
    }

    fn is(&self, subject: Subject, mix: Mix, clients: usize) -> bool {
        let setting = Setting { subject, mix, clients, death: Death::Killed };
        self.setting == setting
    }

    fn cells(&self) -> Vec<String> {
        let Setting { subject, mix, clients, death } = self.setting;
        let number = |spread: Spread, digits: usize| {
            or_dash(spread.median.is_finite().then(|| format!("{:.digits$}", spread.median)))
        };
        let all = match self.missing() {
            0 if self.deaths().count() == 1 => number(self.spread(|round| round.all.map(milliseconds)), 0),
            0 => format!("{:.0}", self.spread(|round| round.all.map(milliseconds))),
            missing => format!("{missing} are not"),
        };
        let count = |what: fn(&Round) -> u64| number(self.spread(|round| Some(precise(what(round)))), 0);
        vec![
            subject.name().to_owned(),
            clients.to_string(),
            mix.name().to_owned(),
            death.name().to_owned(),
            number(self.spread(|round| round.noticed.map(milliseconds)), 0),
            number(self.spread(|round| round.answers.map(milliseconds)), 0),
            number(self.spread(|round| round.half.map(milliseconds)), 0),
            all,
            count(|round| round.refused),
            count(|round| round.failed),
            number(self.spread(|round| round.early_worst()), 1),
            count(|round| round.lost),
            number(self.spread(|round| round.cpu), 2),
            number(self.spread(|round| round.backlog.map(precise)), 0),
        ]
    }

    fn missing(&self) -> usize {
        self.deaths().map(|round| round.missing).sum()
    }
}

/// What the pace costs and saves. `None` where nothing was measured without it.
fn pace(cases: &[Case]) -> Option<Table> {
    let title =
        "What the pace of accepting costs and saves: paced through unpaced, medians of the rounds' ratios";
    let heads = [
        "clients",
        "transport",
        "all back           ",
        "CPU                ",
        "early worst        ",
        "backlog            ",
    ];
    let mut rows = Vec::new();
    for paced in cases {
        let Setting { mix, clients, .. } = paced.setting;
        let Some(unpaced) = cases.iter().find(|case| case.is(Subject::Unpaced, mix, clients)) else {
            continue;
        };
        if !paced.is(Subject::Watertight, mix, clients) {
            continue;
        }
        let ratio = |what: fn(&Round) -> Option<f64>| {
            let pairs = paced.rounds.iter().zip(&unpaced.rounds);
            let ratios =
                pairs.filter_map(|(paced, unpaced)| Some(what(paced.as_ref()?)? / what(unpaced.as_ref()?)?));
            let spread = Spread::of(ratios);
            or_dash(spread.median.is_finite().then(|| format!("{spread:.2}")))
        };
        rows.push(vec![
            clients.to_string(),
            mix.name().to_owned(),
            ratio(|round| round.all.map(milliseconds)),
            ratio(|round| round.cpu),
            ratio(|round| round.early_worst()),
            ratio(|round| round.backlog.map(precise)),
        ]);
    }
    // A table is printed as soon as it is begun.
    (!rows.is_empty()).then(|| {
        let mut table = Table::begin(title, 0, &heads);
        rows.into_iter().for_each(|row| table.row(row));
        table
    })
}

fn judge(cases: &[Case], report: &mut Report) {
    let verdict = &mut report.verdict;
    let ours = || cases.iter().filter(|case| case.setting.subject.is_ours());
    let rounds = || ours().flat_map(Case::deaths);
    let deaths = rounds().count();
    if deaths == 0 {
        verdict.faults.push("no death of Watertight's server was measured".to_owned());
        return;
    }
    let refused: u64 = rounds().map(|round| round.refused).sum();
    verdict.must(
        refused == 0,
        format!("{refused} connections were refused in {deaths} deaths of Watertight's server (0)"),
    );
    let missing: usize = ours().map(Case::missing).sum();
    verdict.must(missing == 0, format!("{missing} of its clients did not come back (0)"));
    let lost: u64 = rounds().map(|round| round.lost).sum();
    verdict.must(lost == 0, format!("{lost} echoes of those who were back first were lost (0)"));
    for case in ours() {
        let Setting { mix, clients: FEW, death, .. } = case.setting else { continue };
        let (mix, death, bar) = (mix.name(), death.name(), ms(BAR));
        // Who is not back in time is back later than anybody.
        let all = case.spread(|round| Some(round.all.map_or(f64::INFINITY, milliseconds))).median;
        let line = if all.is_finite() {
            format!("{FEW} clients over {mix} are back {all:.0} ms after {death}, in the median (≤ {bar} ms)")
        } else {
            format!(
                "{FEW} clients over {mix} were not all back in time after {death}, in the median (≤ {bar} ms)"
            )
        };
        verdict.bar(all <= milliseconds(BAR), line);
    }
}

/// Of the largest crowd over WebSocket, each server's median death.
fn chart(cases: &[Case]) -> Chart {
    let clients = cases.iter().map(|case| case.setting.clients).max().unwrap_or_default();
    let of_crowd = cases.iter().filter(|case| case.is(case.setting.subject, Mix::WebSocket, clients));
    let lines = of_crowd.filter_map(|case| {
        let mut rounds: Vec<&Round> = case.deaths().collect();
        rounds.sort_by_key(|round| round.all.unwrap_or(Duration::MAX));
        let median = rounds.get((rounds.len() - 1) / 2)?;
        Some((case.setting.subject.name().to_owned(), median.curve.clone()))
    });
    Chart::Lines(Lines {
        title: format!("{clients} clients come back from the death of the process"),
        axes: ["ms after the death".to_owned(), "% of the clients back".to_owned()],
        lines: lines.collect(),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "these numbers are small")]
fn precise(count: u64) -> f64 {
    count as f64
}
