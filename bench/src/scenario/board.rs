//! What the board costs: one poll of a future in a scope, with what it writes there and without.
//!
//! The board is one in a process, so each kind is measured in a process of its own, which is this program again.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use watertight::{Activity, ActivityKind, Guarded, Lease, NoResponder, Registry, Scope, Watertight};

use crate::Run;
use crate::machine::Watch;
use crate::report::{Bars, Chart, Report, Table, decimal};

/// What the board may cost for each poll, in nanoseconds.
const BAR: f64 = 10.0;
const POLLS: usize = 10_000;
const ROUNDS: usize = 2_000;
const QUICK_ROUNDS: usize = 200;
/// More threads than the board has places for.
const TOO_MANY: usize = 600;

/// Which board the process has that measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    /// One in its own memory.
    Own,
    /// One in memory that outlives it.
    Shared,
    /// One that is full: the thread that measures writes nothing.
    Full,
}

/// One poll, in nanoseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Costs {
    /// Without a scope.
    bare: f64,
    /// In the same scope again and again.
    again: f64,
    /// In another scope than before, each time.
    another: f64,
    /// In a scope that is made for it, and done at once.
    ready: f64,
}

#[derive(Serialize)]
struct Results {
    own: Costs,
    shared: Costs,
    full: Costs,
    others_cpu: Option<f64>,
}

/// Measures the three.
pub(crate) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new(
        "The board",
        "One poll of a future that does nothing: without a scope, in the same scope again and again, in another scope than \
         before, and in one that is done at once. With the board in its own memory, in memory that outlives the process, \
         and with a board that is full, on which nothing is written: the difference to the latter is what the board costs.",
    );
    let mut table =
        Table::begin("One poll, in nanoseconds", 1, &["board", "no scope", "again", "another", "ready"]);
    let watch = Watch::start(&[]);
    let mut of = |board: Board| {
        let costs = measured(board, run.quick)?;
        let Costs { bare, again, another, ready } = costs;
        let mut row = vec![format!("{board:?}").to_lowercase()];
        row.extend([bare, again, another, ready].map(|ns| decimal(ns, 2)));
        table.row(row);
        Ok::<_, anyhow::Error>(costs)
    };
    let (full, own, shared) = (of(Board::Full)?, of(Board::Own)?, of(Board::Shared)?);
    for (name, board) in [("in its own memory", own), ("in shared memory", shared)] {
        for (what, with, without) in
            [("again", board.again, full.again), ("another", board.another, full.another)]
        {
            let costs = with - without;
            let line = format!("a board {name} costs {costs:.2} ns for each poll, {what} (< {BAR})");
            report.verdict.bar(costs < BAR, line);
        }
    }
    report.tables.push(table);
    let results = Results { own, shared, full, others_cpu: watch.others() };
    report.chart = Some(chart(&results));
    report.keep(&results)?;
    Ok(report)
}

fn chart(results: &Results) -> Chart {
    let Results { own, shared, full, others_cpu: _ } = results;
    let of = |Costs { bare, again, another, ready }: &Costs| vec![*bare, *again, *another, *ready];
    let bars = Bars {
        title: "One poll of a future that does nothing".to_owned(),
        unit: "ns for each poll".to_owned(),
        groups: ["no scope", "again", "another", "ready"].map(ToOwned::to_owned).into(),
        kinds: [("full board", full), ("own memory", own), ("shared memory", shared)]
            .map(|(board, costs)| (board.to_owned(), of(costs)))
            .into(),
        logarithmic: false,
    };
    Chart::Targets(bars, vec![f64::NAN, full.again + BAR, full.another + BAR, f64::NAN])
}

fn measured(board: Board, quick: bool) -> Result<Costs> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = board.to_possible_value().context("each has a name")?;
    command.args(["--with-board", name.get_name()]);
    if quick {
        command.arg("--quick");
    }
    let output = command.output().context("cannot start this program again")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("costs")
}

/// Measures in this process and prints the costs.
pub(crate) fn measure(board: Board, quick: bool) -> Result<()> {
    let mut builder = Watertight::builder();
    if board == Board::Shared {
        builder = builder.recorder(recorder()?);
    }
    builder.install()?;
    if board == Board::Full {
        take_every_place()?;
    }
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    println!("{}", serde_json::to_string(&costs(rounds))?);
    Ok(())
}

#[cfg(unix)]
fn recorder() -> Result<watertight_recorder::FlightRecorder> {
    Ok(watertight_recorder::FlightRecorder::map(&watertight_recorder::shared_memory()?)?)
}

#[cfg(not(unix))]
fn recorder() -> Result<std::convert::Infallible> {
    anyhow::bail!("there is no shared memory here")
}

/// Threads that hold a place each, for as long as the process lives.
fn take_every_place() -> Result<()> {
    let (arrived, arrivals) = std::sync::mpsc::channel();
    for _ in 0..TOO_MANY {
        let arrived = arrived.clone();
        std::thread::Builder::new().spawn(move || {
            let client = Client::new("busy");
            drop(client.scope.enter());
            let heard = arrived.send(());
            while heard.is_ok() {
                std::thread::park();
            }
        })?;
    }
    arrivals.iter().take(TOO_MANY).for_each(drop);
    Ok(())
}

struct Client {
    scope: Scope,
    _lease: Lease,
}

impl Client {
    fn new(event: &'static str) -> Self {
        let lease = Registry::global().open(None);
        let scope = Scope::new(Arc::clone(&lease), Activity::new(ActivityKind::Event, "/", event));
        Self { scope, _lease: lease }
    }
}

/// Work that is never done and costs next to nothing.
struct Waits;

impl Future for Waits {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        black_box(Poll::Pending)
    }
}

fn costs(rounds: usize) -> Costs {
    let (one, other) = (Client::new("one"), Client::new("other"));
    let guarded = |client: &Client| Guarded::new(client.scope.clone(), Waits, None::<NoResponder>);
    let mut cx = Context::from_waker(Waker::noop());
    let mut bare = pin!(Waits);
    let bare = nanos(rounds, || {
        let _pending = black_box(bare.as_mut().poll(&mut cx));
    });
    let (mut first, mut second) = (pin!(guarded(&one)), pin!(guarded(&other)));
    let again = nanos(rounds, || drop(black_box(first.as_mut().poll(&mut cx))));
    let mut turn = false;
    let another = nanos(rounds, || {
        turn = !turn;
        let next = if turn { &mut first } else { &mut second };
        drop(black_box(next.as_mut().poll(&mut cx)));
    });
    let ready = nanos(rounds, || {
        let done = pin!(Guarded::new(one.scope.clone(), std::future::ready(()), None::<NoResponder>));
        drop(black_box(done.poll(&mut cx)));
    });
    Costs { bare, again, another, ready }
}

/// Rounds of so many polls, in nanoseconds for one: what a tenth of the rounds stayed within. Others on the machine only add
/// to a time, and processes that are measured one after another do not have the same others.
fn nanos(rounds: usize, mut poll: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        (0..POLLS).for_each(|_| poll());
        times.push(begun.elapsed());
    }
    times.sort();
    times[rounds / 10].as_secs_f64() * 1e9 / POLLS as f64
}
