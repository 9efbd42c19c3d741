//! How many instructions the server runs for each message, counted by valgrind: a number that no other work on the
//! machine changes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::parts::{self, Parts};
use crate::Run;
use crate::client::{Client, Transport};
use crate::report::{Report, Spread, Table, or_dash};
use crate::server::Server;

/// Of the bare server's instructions, at most so many more.
const BAR: f64 = 0.015;
/// The servers that are counted; `least` has hardly anything that protects.
const KINDS: [&str; 3] = ["bare", "guarded", "least"];
/// Messages of the shorter run; the longer one has three times as many.
const MESSAGES: u32 = 1_000;
const QUICK_MESSAGES: u32 = 200;
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 1;
/// Messages before those that count, so that everything that is made once is there.
const WARM_UP: u32 = 20;
/// How much longer the longer one of two runs lasts in which nobody does anything.
const REST: Duration = Duration::from_secs(5);

/// One transport, bare and guarded.
#[derive(Serialize)]
pub(super) struct Case {
    pub(super) transport: Transport,
    /// Each time: instructions for a message, of each of [`KINDS`].
    rounds: Vec<[f64; 3]>,
    /// Guarded to bare, over the rounds.
    pub(super) ratio: Spread,
    /// Hardly any protection to bare, over the rounds.
    least: Spread,
    /// What of `rounds` is not the allocator's.
    code: Vec<[f64; 3]>,
    /// Guarded to bare, of that.
    code_ratio: Spread,
    /// Hardly any protection to bare, of that.
    code_least: Spread,
    /// What runs by the clock with one client there, in instructions a second, of each of [`KINDS`].
    by_the_clock: [f64; 3],
    /// Of a message, of all rounds together.
    #[serde(skip)]
    parts: [Parts; 3],
}

/// One run under valgrind.
struct Counted {
    instructions: f64,
    parts: Parts,
    /// From the first message to the end.
    lasted: f64,
}

/// Whether the tool is there that counts.
pub(super) fn can_be_counted() -> bool {
    cfg!(unix)
        && Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<Vec<Case>> {
    let rounds = if run.quick { QUICK_ROUNDS } else { ROUNDS };
    let title = format!("Instructions of the server for each echo, medians of {rounds} rounds");
    let heads = [
        "transport",
        "bare",
        "guarded",
        "more",
        "ratio                ",
        "least",
        "more",
        "ratio                ",
        "guarded, own",
        "least, own",
        "bare /s idle",
        "guarded /s idle",
    ];
    let mut table = Table::begin(title, 1, &heads);
    let mut cases = Vec::new();
    let transports = if run.quick { &Transport::ALL[..1] } else { &Transport::ALL[..] };
    for &transport in transports {
        let case = Case::measure(run, transport, rounds)?;
        let [bare, guarded, least] = case.medians();
        let [bare_idle, guarded_idle, _] = case.by_the_clock;
        table.row(vec![
            transport.to_string(),
            format!("{bare:.0}"),
            format!("{guarded:.0}"),
            format!("{:+.0}", guarded - bare),
            format!("{:.4}", case.ratio),
            format!("{least:.0}"),
            format!("{:+.0}", least - bare),
            format!("{:.4}", case.least),
            format!("{:.4}", case.code_ratio.median),
            format!("{:.4}", case.code_least.median),
            or_dash((!run.quick).then(|| format!("{bare_idle:.0}"))),
            or_dash((!run.quick).then(|| format!("{guarded_idle:.0}"))),
        ]);
        let more = case.ratio.median - 1.0;
        let percent = |spread: Spread| (spread.median - 1.0) * 100.0;
        let line = format!(
            "an echo over {transport} takes {:+.2} % of the bare server's instructions (≤ {:+.2} %), {:+.2} % without the \
             allocator's; hardly anything takes {:+.2} %, {:+.2} % without",
            more * 100.0,
            BAR * 100.0,
            percent(case.code_ratio),
            percent(case.least),
            percent(case.code_least)
        );
        report.verdict.bar(more <= BAR, line);
        cases.push(case);
    }
    report.tables.push(table);
    for case in &cases {
        let title = format!("Where the instructions of an echo over {} are", case.transport);
        report.tables.push(parts::table(title, [&case.parts[0], &case.parts[1]], rounds));
    }
    Ok(cases)
}

impl Case {
    fn measure(run: &Run, transport: Transport, rounds: usize) -> Result<Self> {
        let mut by_the_clock = [0.0; 3];
        // In short, it counts as a part of the messages.
        if !run.quick {
            for (rate, kind) in by_the_clock.iter_mut().zip(KINDS) {
                *rate = each_second(run, kind, transport)?;
            }
        }
        let (mut turns, mut code) = (Vec::new(), Vec::new());
        let mut parts = <[Parts; 3]>::default();
        for _ in 0..rounds {
            let (mut turn, mut own) = ([0.0; 3], [0.0; 3]);
            for (number, kind) in KINDS.into_iter().enumerate() {
                let parts = &mut parts[number];
                let allocated = parts.allocator();
                turn[number] = each_message(run, kind, transport, by_the_clock[number], parts)?;
                own[number] = turn[number] - (parts.allocator() - allocated);
            }
            turns.push(turn);
            code.push(own);
        }
        let guarded = |turns: &[[f64; 3]]| Spread::of(turns.iter().map(|[bare, guarded, _]| guarded / bare));
        let least = |turns: &[[f64; 3]]| Spread::of(turns.iter().map(|[bare, _, least]| least / bare));
        let (ratio, code_ratio) = (guarded(&turns), guarded(&code));
        let (least, code_least) = (least(&turns), least(&code));
        Ok(Self { transport, rounds: turns, ratio, least, code, code_ratio, code_least, by_the_clock, parts })
    }

    fn medians(&self) -> [f64; 3] {
        [0, 1, 2].map(|kind| Spread::of(self.rounds.iter().map(|turn| turn[kind])).median)
    }
}

/// Instructions a second while nobody does anything.
fn each_second(run: &Run, kind: &str, transport: Transport) -> Result<f64> {
    let short = Counted::of(run, kind, transport, 0, Duration::ZERO)?;
    let long = Counted::of(run, kind, transport, 0, REST)?;
    // Where it is next to nothing, two starts of a program differ by more.
    let more = (long.instructions - short.instructions).max(0.0);
    Ok(more / (long.lasted - short.lasted))
}

/// Instructions for one message: what a longer run has more than a shorter one, without what runs by the clock. It is
/// much slower under valgrind than it is in truth, and so there is much more clock to a message.
fn each_message(
    run: &Run,
    kind: &str,
    transport: Transport,
    by_the_clock: f64,
    parts: &mut Parts,
) -> Result<f64> {
    let messages = if run.quick { QUICK_MESSAGES } else { MESSAGES };
    let short = Counted::of(run, kind, transport, messages, Duration::ZERO)?;
    let long = Counted::of(run, kind, transport, 3 * messages, Duration::ZERO)?;
    let more = long.instructions - short.instructions - by_the_clock * (long.lasted - short.lasted);
    let messages = f64::from(2 * messages);
    parts.add(&long.parts, &short.parts, messages);
    Ok(more / messages)
}

impl Counted {
    /// So many echoes one after another, or so much rest, with one client.
    fn of(run: &Run, kind: &str, transport: Transport, messages: u32, rest: Duration) -> Result<Self> {
        let log = run.results.join(format!("cost-instructions-{}.valgrind.log", kind));
        let output = run.results.join(format!("cost-instructions-{}.cachegrind.log", kind));
        let mut tool = Command::new("valgrind");
        tool.args(["--tool=cachegrind", "--cache-sim=no"]);
        tool.arg(format!("--cachegrind-out-file={}", output.display()));
        tool.arg(format!("--log-file={}", log.display()));
        let name = format!("cost-instructions-{}.server.log", kind);
        let server = Server::under(tool, kind, &["--threads", "1"], &run.results.join(name))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lasted = runtime.block_on(async {
            let mut client = Client::connect(server.address(), transport, "/").await?;
            for number in 0..WARM_UP {
                client.echo(&Value::from(number)).await?;
            }
            let begun = Instant::now();
            for number in 0..messages {
                client.echo(&Value::from(number)).await?;
            }
            tokio::time::sleep(rest).await;
            anyhow::Ok(begun.elapsed())
        })?;
        server.interrupt()?;
        let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let instructions =
            sum(&text).with_context(|| format!("there is no sum of instructions in {}", log.display()))?;
        let parts = fs::read_to_string(&output);
        let parts = parts.with_context(|| format!("cannot read {}", output.display()))?;
        Ok(Self { instructions, parts: Parts::read(&parts), lasted: lasted.as_secs_f64() })
    }
}

/// The number in `==42== I   refs:      1,234,567`.
fn sum(log: &str) -> Option<f64> {
    let (_, number) = log.lines().find_map(|line| {
        let (head, number) = line.split_once("refs:")?;
        head.trim_end().ends_with('I').then_some((head, number))
    })?;
    number.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_sum_of_both_forms() {
        assert_eq!(sum("==1== Cachegrind\n==1== \n==1== I   refs:      1,234,567\n"), Some(1_234_567.0));
        assert_eq!(sum("==1== I refs:        42\n==1== D refs:  7"), Some(42.0));
        assert_eq!(sum("==1== D refs:  7"), None);
    }
}
