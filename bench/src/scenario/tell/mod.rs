//! Time to tell: from a client's emit that makes its handler panic until it has the `incident`, and until its
//! connection is closed.
//!
//! Rounds of offenders, one after another. Each connects afresh, which is not timed, and echoes once over the same
//! connection, which shows what the path itself takes.

mod bare;
mod offender;
mod site;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use self::bare::{Experience, Seen, Watch};
use self::offender::{recorded, sink};
use self::site::{SITES, Site};
use crate::Run;
use crate::bystander::Bystander;
use crate::client::Transport;
use crate::machine;
use crate::report::{Bars, Chart, Report, Spread, Table, Times, Verdict, ms, or_dash};
use crate::server::Server;

const LAB: &str = "/lab";
/// The product's promise for an idle machine: told and closed within this at the 99th percentile, in the round in the middle.
const BAR: Duration = Duration::from_millis(5);
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 3;
/// Offenders of each round that count, and before the first that do not.
const OFFENDERS: usize = 200;
const QUICK_OFFENDERS: usize = 30;
const WARM_UP: usize = 20;
/// From one offender to the next: faults are seldom, and find a server that has gone to sleep.
const PAUSE: Duration = Duration::from_millis(5);

/// One way to panic, over one transport, and its rounds.
#[derive(Serialize)]
struct Case {
    transport: Transport,
    site: Site,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Round {
    /// A round trip over the same connections, just before.
    echo: Times,
    told: Times,
    /// Of those that are closed.
    closed: Times,
    /// The worst echo of somebody else meanwhile.
    #[serde(serialize_with = "as_ms", rename = "bystander_worst_ms")]
    bystander: Duration,
    /// What part of the machine's CPU time others used meanwhile.
    others: Option<f64>,
    load: Option<f64>,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
    let watched = if run.quick { bare::QUICK_WATCHED } else { bare::WATCHED };
    let watch = Watch::start(&run.results.join("tell.bare.log"), watched)?;
    let server = Server::lab(&run.results.join("tell.server.log"))?;
    let bystander = Bystander::start(server.address(), LAB)?;
    let mut report = Report::new("Time to tell", ABOUT);
    let cases = measure(run, &server, &bystander, &mut report)?;
    match bystander.finish() {
        Ok(echoes) => println!("the bystander's {echoes} echoes all came back in order"),
        Err(error) => report.verdict.faults.push(format!("the bystander noticed something: {error:#}")),
    }
    for case in &cases {
        case.judge(&mut report.verdict);
    }
    let Seen { experiences: bare, wrong } = watch.finish();
    // It is there to be compared with.
    report.notes.extend(wrong.into_iter().map(|what| format!("The bare server: {what}.")));
    if !bare.is_empty() {
        report.tables.push(beside(&cases, &bare, watched));
    }
    report.chart = Some(chart(&cases, &bare, watched));
    report.keep(&Results { cases, bare })?;
    Ok(report)
}

const ABOUT: &str = "From a client's emit that makes its handler panic until it has the `incident`, and until its \
    connection is closed. Each offender connects afresh, which is not timed, and echoes once over the same connection, which \
    shows what the path itself takes. Of a connect handler and a middleware the clock starts with the request to enter \
    their namespace; a middleware's client is told by the refusal, and its connection stays. Of the transport it starts with \
    what the engine's own task reads when it panics.\n\n\
    Beside it, the same panics on bare socketioxide with its defaults: one client for each, which is watched and answers pings; \
    a second after its panic it asks for an echo.";

#[derive(Serialize)]
struct Results {
    cases: Vec<Case>,
    bare: Vec<Experience>,
}

/// What the client of each panic experiences, guarded and bare.
fn beside(cases: &[Case], bare: &[Experience], watched: Duration) -> Table {
    let watched = format!("{} s", watched.as_secs());
    let mut table = Table::begin(
        format!("What its client experiences, guarded and bare (watched for {watched})"),
        2,
        &[
            "site          ",
            "transport",
            "guarded: told p50, ms",
            "closed p50, ms",
            "bare: told",
            "closed                ",
            "still echoes",
        ],
    );
    for seen in bare {
        let Experience { site, transport, told, closed, echoes } = seen;
        let median = case_of(cases, *site, *transport).and_then(Case::median);
        let is_closed = median.filter(|median| median.closed.len() > 0);
        let never = || format!("not within {watched}");
        let after = |(after, _): &(Duration, String)| {
            if after.as_secs() > 0 {
                format!("after {:.1} s", after.as_secs_f64())
            } else {
                format!("after {} ms", ms(*after))
            }
        };
        table.row(vec![
            site.name.to_owned(),
            transport.to_string(),
            or_dash(median.map(|median| ms(median.told.p50()))),
            or_dash(is_closed.map(|median| ms(median.closed.p50()))),
            told.as_ref().map_or_else(never, after),
            closed.as_ref().map_or_else(never, after),
            or_dash(echoes.map(|echoes| if echoes { "yes" } else { "no" }.to_owned())),
        ]);
    }
    table
}

fn case_of(cases: &[Case], site: Site, transport: Transport) -> Option<&Case> {
    cases.iter().find(|case| case.site == site && case.transport == transport)
}

fn chart(cases: &[Case], bare: &[Experience], watched: Duration) -> Chart {
    let told = |site: Site, transport: Transport| {
        let median = case_of(cases, site, transport).and_then(Case::median);
        median.map_or(f64::NAN, |median| in_ms(median.told.p50()))
    };
    let end = |site: Site, transport: Transport| {
        let seen = bare.iter().find(|seen| seen.site == site && seen.transport == transport);
        seen.map_or(f64::NAN, |seen| in_ms(seen.closed.as_ref().map_or(watched, |(after, _)| *after)))
    };
    let mut kinds = Vec::new();
    for transport in Transport::ALL {
        let of_sites =
            |what: &dyn Fn(Site, Transport) -> f64| SITES.map(|site| what(site, transport)).to_vec();
        kinds.push((format!("guarded, {transport}: told"), of_sites(&told)));
        kinds.push((format!("bare, {transport}: closed"), of_sites(&end)));
    }
    let watched = watched.as_secs();
    Chart::Bars(Bars {
        title: format!("From a panic to its client's knowledge (bare: {watched} s is not at all)"),
        unit: "ms".into(),
        groups: SITES.iter().map(|site| site.short().to_owned()).collect(),
        kinds,
        logarithmic: true,
    })
}

fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// All rounds of all cases. Round by round, so that a busy minute of the machine spoils a round of each case and not
/// every round of one.
fn measure(run: &Run, server: &Server, bystander: &Bystander, report: &mut Report) -> Result<Vec<Case>> {
    let (sites, rounds, offenders) = if run.quick {
        (&SITES[..1], QUICK_ROUNDS, QUICK_OFFENDERS)
    } else {
        (&SITES[..], ROUNDS, OFFENDERS)
    };
    let mut cases: Vec<Case> = Transport::ALL
        .iter()
        .flat_map(|&transport| sites.iter().map(move |&site| Case { transport, site, rounds: Vec::new() }))
        .collect();
    let title = format!(
        "In ms, {offenders} offenders a round; told and closed p99 must be below {} in the median of {rounds} rounds",
        ms(BAR)
    );
    let mut table = Table::begin(title, 2, &HEADS);
    // One thread and nothing else on its runtime: what the client adds is small and always the same.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for number in 1..=rounds {
        for case in &mut cases {
            let warm_up = if number == 1 { WARM_UP } else { 0 };
            let round =
                Round::run(&runtime, server, bystander, case, (warm_up, offenders), &mut report.verdict)?;
            table.tell(&round.cells(case, &number.to_string()));
            case.rounds.push(round);
        }
    }
    for case in &cases {
        if let (Some(best), Some(median)) = (case.best(), case.median()) {
            table.row(best.cells(case, "best").to_vec());
            table.row(median.cells(case, "median").to_vec());
        }
    }
    report.tables.push(table);
    Ok(cases)
}

const HEADS: [&str; 12] = [
    "transport",
    "site          ",
    "round",
    "echo p50",
    "echo p99",
    "told p50",
    "told p99",
    "closed p50",
    "closed p99",
    "bystander",
    "others %",
    "load",
];

impl Case {
    fn best(&self) -> Option<&Round> {
        self.ranked().first().copied()
    }

    /// The worse of the two when there is none in the middle.
    fn median(&self) -> Option<&Round> {
        let ranked = self.ranked();
        ranked.get(ranked.len() / 2).copied()
    }

    /// The rounds by when their clients were told, without those in which nobody was.
    fn ranked(&self) -> Vec<&Round> {
        let mut rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.told.len() > 0).collect();
        rounds.sort_by_key(|round| round.told.p99());
        rounds
    }

    fn judge(&self, verdict: &mut Verdict) {
        let Self { transport, site: Site { name: site, .. }, rounds: _ } = self;
        let (case, bar) = (format!("{site} over {transport}"), ms(BAR));
        let rounds = self.ranked();
        if rounds.is_empty() {
            verdict.bar(false, format!("{case}: nobody was told, bar {bar} ms"));
            return;
        }
        let mut judge = |what: &str, p99: Vec<f64>| {
            let (rounds, p99) = (p99.len(), Spread::of(p99));
            let line = format!("{case}: {what} p99 {p99:.2} ms in the median of {rounds}, bar {bar} ms");
            verdict.bar(p99.median < in_ms(BAR), line);
        };
        judge("told", rounds.iter().map(|round| in_ms(round.told.p99())).collect());
        // Those who are refused are not closed.
        let closed = rounds.iter().map(|round| &round.closed).filter(|closed| closed.len() > 0);
        let closed: Vec<f64> = closed.map(|closed| in_ms(closed.p99())).collect();
        if !closed.is_empty() {
            judge("closed", closed);
        }
    }
}

impl Round {
    fn run(
        runtime: &tokio::runtime::Runtime,
        server: &Server,
        bystander: &Bystander,
        case: &Case,
        (warm_up, offenders): (usize, usize),
        verdict: &mut Verdict,
    ) -> Result<Self> {
        let Case { transport, site, .. } = *case;
        let name = site.name;
        let address = server.address();
        let mut sunk = HashMap::new();
        let (mut echo, mut told, mut closed) = (Times::new()?, Times::new()?, Times::new()?);
        for _ in 0..warm_up {
            if let Err(error) = runtime.block_on(sink(address, transport, site)) {
                verdict.faults.push(format!("{name} over {transport}, before the first round: {error:#}"));
            }
        }
        bystander.worst();
        let watch = machine::Watch::start(&[server.process()]);
        for number in 0..offenders {
            std::thread::sleep(PAUSE);
            match runtime.block_on(sink(address, transport, site)) {
                Ok(fate) => {
                    fate.echo.into_iter().for_each(|took| echo.add(took));
                    told.add(fate.told);
                    fate.closed.into_iter().for_each(|took| closed.add(took));
                    sunk.insert(fate.incident, fate.session);
                }
                Err(error) => {
                    let what = format!("{name} over {transport}, offender {number}: {error:#}");
                    println!("{what}");
                    verdict.faults.push(what);
                }
            }
        }
        let (others, load) = (watch.others(), machine::load());
        let bystander = bystander.worst();
        if let Err(error) = runtime.block_on(recorded(address, &sunk)) {
            verdict.faults.push(format!("{name} over {transport}: {error:#}"));
        }
        Ok(Self { echo, told, closed, bystander, others, load })
    }

    fn cells(&self, case: &Case, round: &str) -> [String; HEADS.len()] {
        let Self { echo, told, closed, bystander, others, load } = self;
        let any =
            |times: &Times, quantile: f64| or_dash((times.len() > 0).then(|| ms(times.quantile(quantile))));
        [
            case.transport.to_string(),
            case.site.name.to_owned(),
            round.to_owned(),
            any(echo, 0.5),
            any(echo, 0.99),
            any(told, 0.5),
            any(told, 0.99),
            any(closed, 0.5),
            any(closed, 0.99),
            ms(*bystander),
            or_dash(others.map(|others| format!("{:.0}", others * 100.0))),
            or_dash(load.map(|load| format!("{load:.1}"))),
        ]
    }
}

fn as_ms<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(in_ms(*duration))
}
