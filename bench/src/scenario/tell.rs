//! Time to tell: from a client's emit that makes its handler panic until it has the `incident`, and until its
//! connection is closed.
//!
//! Rounds of offenders, one after another. Each connects afresh, which is not timed, and echoes once over the same
//! connection, which shows what the path itself takes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Run;
use crate::bystander::Bystander;
use crate::client::{Client, Packet, Received, Transport};
use crate::machine;
use crate::report::{Report, Table, Times, Verdict, ms, or_dash};
use crate::server::Server;

const LAB: &str = "/lab";
/// The product's promise for an idle machine: told within this at the 99th percentile.
const BAR: Duration = Duration::from_millis(5);
const ROUNDS: usize = 5;
/// Offenders of each round that count, and before the first that do not.
const OFFENDERS: usize = 200;
const QUICK_OFFENDERS: usize = 100;
const WARM_UP: usize = 20;
/// From one offender to the next: faults are seldom, and find a server that has gone to sleep.
const PAUSE: Duration = Duration::from_millis(5);
/// Where handlers panic: the lab's events.
const SITES: [&str; 6] =
    ["panic_async", "panic_async0", "panic_sync", "panic_spawned", "panic_extract", "panic_ack"];
/// How long the server may take to record an incident whose client is gone.
const RECORDED: Duration = Duration::from_secs(5);

/// One way to panic, over one transport, and its rounds.
#[derive(Serialize)]
struct Case {
    transport: Transport,
    site: &'static str,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Round {
    /// A round trip over the same connections, just before.
    echo: Times,
    told: Times,
    closed: Times,
    /// The worst echo of somebody else meanwhile.
    #[serde(serialize_with = "as_ms", rename = "bystander_worst_ms")]
    bystander: Duration,
    /// What part of the machine's CPU time others used meanwhile.
    others: Option<f64>,
    load: Option<f64>,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
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
    report.keep(&cases)?;
    Ok(report)
}

const ABOUT: &str = "From a client's emit that makes its handler panic until it has the `incident`, and until its \
    connection is closed. Each offender connects afresh, which is not timed, and echoes once over the same connection, which \
    shows what the path itself takes.";

/// All rounds of all cases. Round by round, so that a busy minute of the machine spoils a round of each case and not
/// every round of one.
fn measure(run: &Run, server: &Server, bystander: &Bystander, report: &mut Report) -> Result<Vec<Case>> {
    let (sites, offenders) = if run.quick { (&SITES[..1], QUICK_OFFENDERS) } else { (&SITES[..], OFFENDERS) };
    let mut cases: Vec<Case> = Transport::ALL
        .iter()
        .flat_map(|&transport| sites.iter().map(move |&site| Case { transport, site, rounds: Vec::new() }))
        .collect();
    let title = format!("In ms, {offenders} offenders a round; told p99 must be below {} once", ms(BAR));
    let mut table = Table::begin(title, 2, &HEADS);
    // One thread and nothing else on its runtime: what the client adds is small and always the same.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for number in 1..=ROUNDS {
        for case in &mut cases {
            if run.quick && case.has_met_the_bar() {
                continue;
            }
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
    "site         ",
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
    fn has_met_the_bar(&self) -> bool {
        self.rounds.iter().any(|round| round.told.p99() < BAR)
    }

    fn best(&self) -> Option<&Round> {
        self.ranked().first().copied()
    }

    /// The worse of the two when there is none in the middle.
    fn median(&self) -> Option<&Round> {
        self.ranked().get(self.rounds.len() / 2).copied()
    }

    /// The rounds by when their clients were told.
    fn ranked(&self) -> Vec<&Round> {
        let mut rounds: Vec<&Round> = self.rounds.iter().collect();
        rounds.sort_by_key(|round| round.told.p99());
        rounds
    }

    fn judge(&self, verdict: &mut Verdict) {
        let Self { transport, site, rounds } = self;
        let best = or_dash(self.best().map(|round| ms(round.told.p99())));
        let (bar, rounds) = (ms(BAR), rounds.len());
        let line =
            format!("{site} over {transport}: told p99 {best} ms in the best of {rounds}, bar {bar} ms");
        verdict.bar(self.has_met_the_bar(), line);
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
        let address = server.address();
        let mut sunk = HashMap::new();
        let (mut echo, mut told, mut closed) = (Times::new()?, Times::new()?, Times::new()?);
        for _ in 0..warm_up {
            runtime.block_on(sink(address, transport, site))?;
        }
        bystander.worst();
        let watch = machine::Watch::start(&[server.process()]);
        for number in 0..offenders {
            std::thread::sleep(PAUSE);
            match runtime.block_on(sink(address, transport, site)) {
                Ok(fate) => {
                    echo.add(fate.echo);
                    told.add(fate.told);
                    closed.add(fate.closed);
                    sunk.insert(fate.incident, fate.session);
                }
                Err(error) => {
                    let what = format!("{site} over {transport}, offender {number}: {error:#}");
                    println!("{what}");
                    verdict.faults.push(what);
                }
            }
        }
        let (others, load) = (watch.others(), machine::load());
        let bystander = bystander.worst();
        if let Err(error) = runtime.block_on(recorded(address, &sunk)) {
            verdict.faults.push(format!("{site} over {transport}: {error:#}"));
        }
        Ok(Self { echo, told, closed, bystander, others, load })
    }

    fn cells(&self, case: &Case, round: &str) -> [String; HEADS.len()] {
        let Self { echo, told, closed, bystander, others, load } = self;
        [
            case.transport.to_string(),
            case.site.to_owned(),
            round.to_owned(),
            ms(echo.p50()),
            ms(echo.p99()),
            ms(told.p50()),
            ms(told.p99()),
            ms(closed.p50()),
            ms(closed.p99()),
            ms(*bystander),
            or_dash(others.map(|others| format!("{:.0}", others * 100.0))),
            or_dash(load.map(|load| format!("{load:.1}"))),
        ]
    }
}

/// What became of one offender.
struct Fate {
    session: String,
    incident: String,
    echo: Duration,
    told: Duration,
    closed: Duration,
}

/// Connects, echoes, and sinks. An error when it is not told, told twice or wrongly, or not closed.
async fn sink(server: SocketAddr, transport: Transport, site: &str) -> Result<Fate> {
    let mut client = Client::connect(server, transport, LAB).await?;
    let session = client.session().to_owned();
    let echo = client.echo(&Value::from(session.as_str())).await?;
    let mut emitted = client.emit(site, &json!({})).await?;
    let mut told: Option<(Instant, String)> = None;
    loop {
        let Received { at, packet } = client.next().await?;
        match packet {
            // `panic_ack` waits for this answer; so it is what makes it panic.
            Packet::Event { name, ack: Some(ack), .. } if name == "ack_me" => {
                emitted = client.answer(ack, &Value::Null).await?;
            }
            Packet::Event { name, data, .. } if name == "incident" => {
                ensure!(told.is_none(), "told twice");
                ensure!(data["code"] == "panic", "told of something else: {data}");
                let id = data["id"].as_str().context("a notice has the incident's id")?;
                told = Some((at, id.to_owned()));
            }
            Packet::Closed(how) => {
                let (told, incident) = told.with_context(|| format!("closed without a word, by {how}"))?;
                return Ok(Fate { session, incident, echo, told: told - emitted, closed: at - emitted });
            }
            other => bail!("neither told nor closed: {other:?}"),
        }
    }
}

/// Asks the server for its incidents until each of `sunk` (incident to session) is there, with the offender that was
/// told its id.
async fn recorded(server: SocketAddr, sunk: &HashMap<String, String>) -> Result<()> {
    let mut operator = Client::connect(server, Transport::WebSocket, "/admin").await?;
    let deadline = Instant::now() + RECORDED;
    loop {
        let answer = operator.ask("incidents", &json!({ "limit": 1000 })).await?;
        let incidents = answer["incidents"].as_array().context("the server lists its incidents")?;
        let offenders: HashMap<&str, &str> = incidents
            .iter()
            .filter_map(|incident| Some((incident["id"].as_str()?, incident["offender"]["id"].as_str()?)))
            .collect();
        let missing = sunk.keys().filter(|id| !offenders.contains_key(id.as_str())).count();
        for (id, session) in sunk {
            if let Some(offender) = offenders.get(id.as_str()) {
                ensure!(offender == session, "{session} was told the incident {id} of {offender}");
            }
        }
        if missing == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{missing} clients were told of incidents that are not recorded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn as_ms<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
