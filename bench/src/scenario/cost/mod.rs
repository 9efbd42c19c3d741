//! What protection costs: the bench's server bare and guarded, turn by turn.

mod instructions;
mod latency;
mod load;
mod memory;
mod parts;
mod times;
mod turns;

use anyhow::Result;
use serde::Serialize;

use crate::Run;
use crate::report::{Bars, Chart, Report};

#[derive(Serialize)]
struct Details {
    instructions: Vec<instructions::Case>,
    memory: Vec<memory::Case>,
    times: Vec<times::Case>,
    controls: Vec<times::Control>,
}

/// What does not depend on how busy the machine is comes first.
pub(crate) fn run(run: &Run) -> Result<Report> {
    let mut report = Report::new("Cost of protection", about());
    let instructions = if instructions::can_be_counted() {
        instructions::measure(run, &mut report).unwrap_or_else(|error| {
            report.notes.push(format!("Instructions could not be counted: {error:#}."));
            Vec::new()
        })
    } else {
        report.notes.push(NOT_COUNTED.to_owned());
        Vec::new()
    };
    let memory = memory::measure(run, &mut report)?;
    let times = times::measure(run, &mut report)?;
    report.chart = Some(chart(&times));
    let controls = times::measure_controls(run, &mut report)?;
    report.keep(&Details { instructions, memory, times, controls })?;
    Ok(report)
}

fn chart(times: &[times::Case]) -> Chart {
    let of = |kind: usize| times.iter().map(|case| case.per_second(kind)).collect();
    Chart::Bars(Bars {
        title: "Echo round trips of one server thread".to_owned(),
        unit: "round trips a second".to_owned(),
        groups: times.iter().map(|case| format!("{} {}", case.transport, case.clients)).collect(),
        kinds: vec![("bare".to_owned(), of(0)), ("guarded".to_owned(), of(1))],
        logarithmic: false,
    })
}

fn about() -> String {
    let (starts, turn, messages) = (turns::STARTS, turns::TURN.as_millis(), turns::MESSAGES_IN_TURN);
    let round = latency::ROUND.as_millis();
    format!(
        "The same handlers on plain socketioxide (*bare*) and on Watertight with its defaults (*guarded*). Clients \
    send an event and get it back as another one (*echo*), over WebSocket and over HTTP polling.\n\n\
    *Instructions* are those of the whole server process for one echo, counted by valgrind with one client that has one \
    message under way: a run with three times as many messages less one with fewer, so that neither start nor end counts. \
    What runs by the clock, whether there are messages or not, is measured apart and not counted among them. What the \
    system's allocator takes for the same allocations depends on what happens to lie where in its heap, by some hundred \
    instructions an echo in the same program with more or fewer clients: *own* are the ratios of what is not its. *Least* is \
    a bare server with hardly anything that protects, written by hand around this one event (`bench/server/src/least.rs`): a \
    panic stops at the handler's call, at each poll of its future, and at a request; the thread says in a line of memory \
    whose work it does; a connection knows its tasks. Nobody is told, judged or closed, nothing is limited, and the \
    sessions of those who poll are not known: what it takes is paid before anything is promised. *Memory* is what \
    the server has allocated and not freed, to the byte, and what it has resident, for each client more that is there and \
    does nothing; the bare one makes a router for each connection, as `axum::serve` does, which the guarded one does not. \
    *Round trips* are a closed loop: every client sends its next message when the one before has come back. Both servers are started \
    {starts} times, with other clients, and take turns of {turn} ms, or as long as {messages} messages of each client take. The ratio \
    is the median of all turns, with as much weight for the starts in which the one server was there first as for the others; in \
    brackets is between what it lies with 95 % confidence, which is found by drawing the starts again at random (the bootstrap), \
    since two processes of one program differ for as long as they live. \
    Beside the bare server another bare one tells what there is to be seen. The server has \
    one thread for what it is asked, so that the load generator has a processor of its own; where the server is busy all the \
    time, the number is the server's. *Latency* is an open loop at the same rate for both servers, for {round} ms after each start's turns. It has no bar: in so \
    short a time its 99th percentile is what others on the machine do. Each time counts from the \
    moment at which its message was due, also when it could not be sent because the one before had not come back."
    )
}

const NOT_COUNTED: &str = "Instructions were not counted, because `valgrind` is not installed (`apt-get install valgrind`, \
    `dnf install valgrind`).";
