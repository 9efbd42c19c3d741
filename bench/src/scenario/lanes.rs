//! What lanes cost: the same echoes with the handlers on lanes and on the server's own runtime, turn by turn.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::Run;
use crate::client::{Client, Packet, Transport};
use crate::machine;
use crate::report::{Bars, Chart, Report, Spread, Table, or_dash};
use crate::server::{Server, binary};

/// Of the throughput on the server's own runtime, at least so much.
const BAR: f64 = 0.85;
/// How many clients echo at once, how many of its messages each has under way, and whether the bar is for them: a single
/// client with a single message shows what the way through another thread takes, and no throughput.
const CLIENTS: [(usize, usize, bool); 3] = [(1, 1, false), (10, 16, true), (50, 1, true)];
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);
const QUICK_ROUND: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Case {
    clients: usize,
    window: usize,
    rounds: Vec<[Pass; 2]>,
    /// Medians of the ratios of lanes to shared.
    throughput: Spread,
    cpu: f64,
}

/// One run against one server.
#[derive(Clone, Copy, Serialize)]
struct Pass {
    per_second: f64,
    /// Of the server, in microseconds; no number where the operating system does not tell.
    cpu_per_message: f64,
}

/// Measures throughput and CPU time with lanes and without.
pub(crate) fn run(run: &Run) -> Result<Report> {
    let servers = [server(run, "off")?, server(run, "on")?];
    let (rounds, length) = if run.quick { (QUICK_ROUNDS, QUICK_ROUND) } else { (ROUNDS, ROUND) };
    let mut report = Report::new(
        "Lanes",
        "Echoes over WebSocket against the server with its handlers on lanes (`--lanes on`) and on the threads that do I/O \
         (`--lanes off`), turn by turn: throughput, and the server's CPU time for each message.",
    );
    let mut table = Table::begin(
        format!("Lanes against shared: medians of {rounds} rounds"),
        0,
        &[
            "clients",
            "in flight",
            "shared /s",
            "lanes /s",
            "ratio              ",
            "shared µs",
            "lanes µs",
            "CPU ratio",
        ],
    );
    let mut cases = Vec::new();
    for (clients, window, has_bar) in CLIENTS {
        let mut passes = Vec::new();
        for _ in 0..rounds {
            let shared = pass(&servers[0], clients, window, length)?;
            let lanes = pass(&servers[1], clients, window, length)?;
            passes.push([shared, lanes]);
        }
        let ratios = |what: fn(&Pass) -> f64| {
            Spread::of(passes.iter().map(|[shared, lanes]| what(lanes) / what(shared)))
        };
        let throughput = ratios(|pass| pass.per_second);
        let cpu = ratios(|pass| pass.cpu_per_message).median;
        let of = |which: usize, what: fn(&Pass) -> f64| {
            Spread::of(passes.iter().map(|pass| what(&pass[which]))).median
        };
        table.row(vec![
            clients.to_string(),
            window.to_string(),
            format!("{:.0}", of(0, |pass| pass.per_second)),
            format!("{:.0}", of(1, |pass| pass.per_second)),
            throughput.to_string(),
            finite(of(0, |pass| pass.cpu_per_message), 1),
            finite(of(1, |pass| pass.cpu_per_message), 1),
            finite(cpu, 3),
        ]);
        if has_bar {
            let part = throughput.median;
            let line = format!(
                "{clients} clients, {window} in flight: lanes have {part:.3} of the throughput (≥ {BAR})"
            );
            report.verdict.bar(part >= BAR, line);
        }
        cases.push(Case { clients, window, rounds: passes, throughput, cpu });
    }
    report.tables.push(table);
    report.chart = Some(chart(&cases));
    report.keep(&cases)?;
    Ok(report)
}

fn finite(number: f64, digits: usize) -> String {
    or_dash(number.is_finite().then(|| format!("{number:.digits$}")))
}

fn chart(cases: &[Case]) -> Chart {
    let of = |which: usize| {
        let rates = |case: &Case| Spread::of(case.rounds.iter().map(|pass| pass[which].per_second)).median;
        cases.iter().map(rates).collect()
    };
    Chart::Bars(Bars {
        title: "Echoes with the handlers on lanes, and where the I/O is".to_owned(),
        unit: "echoes a second".to_owned(),
        groups: cases.iter().map(|case| format!("{} × {}", case.clients, case.window)).collect(),
        kinds: vec![("shared".to_owned(), of(0)), ("lanes".to_owned(), of(1))],
        logarithmic: false,
    })
}

fn server(run: &Run, lanes: &str) -> Result<Server> {
    let mut command = Command::new(binary("WATERTIGHT_SERVER", "game-admin-backend")?);
    // Without a parent: the CPU time is that of the process that serves.
    command.args(["--no-supervise", "--lab", "--port", "0", "--lanes", lanes]);
    // What is measured here is what a flood is there.
    command.args(["--set", "detection.messages_per_second=0", "--set", "detection.bytes_per_second=0"]);
    Server::start(command, &run.results.join(format!("lanes-{lanes}.log")))
}

/// As many echoes as there is time for.
fn pass(server: &Server, clients: usize, window: usize, length: Duration) -> Result<Pass> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..clients {
            let client = Client::connect(server.address(), Transport::WebSocket, "/lab").await;
            all.push(client.context("a client of the bench")?);
        }
        let before = machine::cpu_time(server.process());
        let begun = Instant::now();
        let echoing =
            all.into_iter().map(|client| tokio::task::spawn(echo_until(client, window, begun + length)));
        let mut echoed = 0;
        for done in echoing.collect::<Vec<_>>() {
            echoed += done.await??;
        }
        let took = begun.elapsed();
        let cpu = before.zip(machine::cpu_time(server.process())).map(|(before, after)| after - before);
        ensure!(echoed > 0, "nothing was echoed");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let messages = echoed as f64;
        Ok(Pass {
            per_second: messages / took.as_secs_f64(),
            cpu_per_message: cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64() * 1e6 / messages),
        })
    })
}

/// Echoes with so many messages under way; every one must come back, and in order.
async fn echo_until(mut client: Client, window: usize, end: Instant) -> Result<u64> {
    let (mut sent, mut echoed) = (0_u64, 0_u64);
    loop {
        while Instant::now() < end && sent - echoed < window as u64 {
            client.emit("echo", &Value::from(sent)).await?;
            sent += 1;
        }
        if sent == echoed {
            return Ok(echoed);
        }
        match client.next().await?.packet {
            Packet::Event { name, data, .. } if name == "echo" && data == echoed => echoed += 1,
            other => anyhow::bail!("echo {echoed} is answered with {other:?}"),
        }
    }
}
