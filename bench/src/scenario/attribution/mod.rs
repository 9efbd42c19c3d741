//! Whether every panic is traced to the client whose it was, however many there are at once.

mod count;
mod load;
mod site;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use self::count::{Count, Judged};
use self::site::{Place, SITES};
use crate::Run;
use crate::client::{StatsConnection, Transport};
use crate::report::{Bars, Chart, Report, Table};
use crate::server::{Kind, Server, binary};

const PANICS: u64 = 1_000_000;
const QUICK_PANICS: u64 = 30_000;
/// At each site and transport whose client does not survive it.
const ENDS: u64 = 3_000;
const QUICK_ENDS: u64 = 100;
/// More than processors, so that panics happen in threads that are interrupted anywhere.
const SERVER_THREADS: usize = 8;
/// How long the last clients' traces may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Results {
    asked: u64,
    seconds: f64,
    sockets: u64,
    sockets_left: Option<u64>,
    judged: Judged,
}

pub(crate) fn run(run: &Run) -> Result<Report> {
    let (panics, ends) = if run.quick { (QUICK_PANICS, QUICK_ENDS) } else { (PANICS, ENDS) };
    let server = server(run)?;
    let count = Arc::new(Count::new());
    let begun = Instant::now();
    let loaded = load(&server, panics, ends, &count);
    let seconds = begun.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stats = runtime.block_on(async {
        StatsConnection::open(server.address()).await?.until(PATIENCE, |stats| stats["sockets"] == 0).await
    })?;
    let judged: Judged = serde_json::from_value(stats["judged"].clone()).context("the server judges")?;
    let results = Results {
        asked: count.asked(),
        seconds,
        sockets: count.sockets(),
        sockets_left: stats["sockets"].as_u64(),
        judged,
    };

    let mut report = Report::new("Whose panic", about());
    report.tables.push(table(&count, &results.judged));
    report.notes.push(rate(&results));
    if let Err(error) = loaded {
        report.verdict.faults.push(format!("{error:#}"));
    }
    judge(&mut report, panics, &count, &results);
    report.chart = Some(chart(&results));
    report.keep(&results)?;
    Ok(report)
}

fn about() -> String {
    format!(
        "Panics at every place where application code or the transport's can panic, over both transports. Each panic's text \
         says whose it was: the id of the session that the code worked for. What Watertight traces it to, which does not know \
         that text, is compared with it: *right* is that client, *wrong* another one, *nobody's* none; and every panic that \
         was asked for must be there.\n\n\
         {} clients of each transport panic over connections that stay open, {} panics each at once, of all sites in turn: \
         the server has the policy that a panic fails its event only, whose answer says so, and switches nothing off. Beside \
         them {} others lose their connection by each panic. \
         No more panics are under way than the server has room for, by its own count of what it has recorded. It runs \
         {SERVER_THREADS} threads.",
        load::CLIENTS,
        load::of_turn().1,
        SITES.iter().filter(|site| !site.stays()).count() * Transport::ALL.len() * load::ENDING,
    )
}

fn server(run: &Run) -> Result<Server> {
    let mut command = Command::new(binary("WATERTIGHT_BENCH_SERVER", "watertight-bench-server")?);
    command.args([Kind::Guarded.name(), "--forgive", "--faults"]);
    command.env("TOKIO_WORKER_THREADS", SERVER_THREADS.to_string());
    Server::start(command, &run.results.join("attribution.server.log"))
}

/// Has so many panics happen, with a thread for each transport and one for what ends connections, and waits until
/// all are recorded.
fn load(server: &Server, panics: u64, ends: u64, count: &Arc<Count>) -> Result<()> {
    let address = server.address();
    let (_, of_turn) = load::of_turn();
    let ending = ends * Place::all().filter(|place| !place.site().stays()).count() as u64;
    let turns = (panics.saturating_sub(ending)).div_ceil(of_turn * Transport::ALL.len() as u64);
    let is_over = Arc::new(AtomicBool::new(false));
    let follower = {
        let (count, is_over) = (Arc::clone(count), Arc::clone(&is_over));
        let mut told = Instant::now();
        let tell = move |recorded: u64| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                println!("{recorded} panics are recorded");
            }
        };
        on_a_thread("follower", async move {
            count.follow(address, || is_over.load(Ordering::Acquire), tell).await
        })?
    };
    let mut threads = Vec::new();
    for transport in Transport::ALL {
        let count = Arc::clone(count);
        threads.push(on_a_thread("stays", async move {
            load::stay(address, transport, turns, &count).await;
            Ok(())
        })?);
    }
    let ending = Arc::clone(count);
    threads.push(on_a_thread("ends", async move {
        load::end(address, ends, &ending).await;
        Ok(())
    })?);
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a load generator panicked"))??;
    }
    is_over.store(true, Ordering::Release);
    follower.join().map_err(|_| anyhow!("the follower panicked"))?
}

type Thread = std::thread::JoinHandle<Result<()>>;

/// Runs a future on a thread and a runtime of its own.
fn on_a_thread(name: &str, future: impl Future<Output = Result<()>> + Send + 'static) -> Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(future))?)
}

fn table(count: &Count, judged: &Judged) -> Table {
    let mut table = Table::begin(
        "Panics by where they were, and whom they were traced to",
        2,
        &["site                           ", "transport", "panics", "right", "wrong", "nobody's"],
    );
    for place in Place::all() {
        let found = judged.places.get(&place.text()).cloned().unwrap_or_default();
        let Judged { right, wrong, nobodys, .. } = found;
        let mut row = vec![place.site().told.to_owned(), place.1.to_string()];
        row.extend([count.asked_at(place), right, wrong, nobodys].map(|number| number.to_string()));
        table.row(row);
    }
    let Judged { right, wrong, nobodys, .. } = *judged;
    let mut row = vec!["all".to_owned(), String::new()];
    row.extend([count.asked(), right, wrong, nobodys].map(|number| number.to_string()));
    table.row(row);
    table
}

fn rate(results: &Results) -> String {
    let Results { asked, seconds, sockets, judged, .. } = results;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_second = *asked as f64 / seconds;
    format!(
        "{asked} panics of {sockets} connections in {seconds:.1} s: {per_second:.0} a second. {} of them were traced by the task that \
         polls the connection, because no guarded code was running; all others by the scope of what was running.",
        judged.by_transport
    )
}

fn judge(report: &mut Report, panics: u64, count: &Count, results: &Results) {
    let Results { asked, sockets_left, judged, .. } = results;
    let verdict = &mut report.verdict;
    verdict.must(*asked >= panics, format!("{asked} panics of at least {panics}"));
    for error in count.errors() {
        verdict.faults.push(error);
    }
    let Judged { right, wrong, nobodys, wrong_activity, lost, .. } = judged;
    verdict.must(*wrong == 0, format!("{wrong} panics were traced to somebody else"));
    verdict.must(*nobodys == 0, format!("{nobodys} panics were traced to nobody"));
    verdict.must(*lost == 0, format!("{lost} panics were not recorded for lack of room"));
    verdict.must(*wrong_activity == 0, format!("{wrong_activity} were said to be of another handler"));
    verdict.must(right == asked, format!("{right} of {asked} panics were traced to their client"));
    // A sum can be right by chance.
    for place in Place::all() {
        let (asked, right) =
            (count.asked_at(place), judged.places.get(&place.text()).map_or(0, |judged| judged.right));
        if asked != right || asked == 0 {
            verdict.faults.push(format!("{}: {right} of {asked} panics are right", place.text()));
        }
    }
    // What says nothing of its place is a panic that nobody asked for.
    let known: Vec<String> = Place::all().map(Place::text).collect();
    let others: u64 = judged
        .places
        .iter()
        .filter(|(place, _)| !known.contains(place))
        .map(|(_, judged)| judged.all())
        .sum();
    verdict.must(others == 0, format!("{others} panics happened that nobody asked for"));
    let left = sockets_left.map_or_else(|| "unknown".to_owned(), |left| left.to_string());
    verdict
        .must(*sockets_left == Some(0), format!("sockets that are left when all clients are gone: {left}"));
}

fn chart(results: &Results) -> Chart {
    let Results { asked, judged, .. } = results;
    let of = |transport: Transport| {
        let right = (0..SITES.len()).map(|site| {
            let judged = judged.places.get(&Place(site, transport).text());
            #[expect(clippy::cast_precision_loss, reason = "a length")]
            let right = judged.map_or(f64::NAN, |judged| judged.right as f64);
            right
        });
        (transport.to_string(), right.collect())
    };
    let short = |site: &site::Site| site.name.strip_prefix("panic_").unwrap_or(site.name).to_owned();
    Chart::Bars(Bars {
        title: format!(
            "{asked} panics: {} traced to their client, {} to another, {} to nobody",
            judged.right, judged.wrong, judged.nobodys
        ),
        unit: "traced to their client".into(),
        groups: SITES.iter().map(short).collect(),
        kinds: Transport::ALL.into_iter().map(of).collect(),
        logarithmic: true,
    })
}
