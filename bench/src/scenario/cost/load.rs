//! The two servers with as many clients each, and the load on one of them at a time.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};

use crate::Run;
use crate::client::{Client, Packet, Transport};
use crate::crowd;
use crate::machine::process_cpu_time;
use crate::report::Times;
use crate::server::{Kind, Server};

const ONE_THREAD: [&str; 2] = ["--threads", "1"];

/// One server and its clients, which stay from turn to turn.
pub(super) struct Side {
    server: Server,
    clients: Vec<Client>,
}

/// As many echoes as there was time for.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Throughput {
    pub(super) per_second: f64,
    /// CPU time of the server for each, in microseconds. `None` where the operating system does not tell.
    pub(super) cpu: Option<f64>,
    /// What part of the time the server was at work, and the load generator: whoever is at 1 is the one that is measured.
    pub(super) busy: Option<f64>,
    pub(super) generator: Option<f64>,
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Bare,
    Guarded,
    /// With hardly any protection.
    Least,
}

impl Side {
    /// A server that has one thread for what it is asked: the load generator has another processor, and what the server gets
    /// done is up to the server. It logs to `cost-NAME.log`.
    pub(super) fn start(
        run: &Run,
        runtime: &Runtime,
        program: Program,
        name: &str,
        transport: Transport,
        clients: usize,
    ) -> Result<Self> {
        let log = run.results.join(format!("cost-{name}.log"));
        let server = match program {
            Program::Bare => Server::bench(Kind::Bare, &ONE_THREAD, &log)?,
            Program::Guarded => Server::bench(Kind::Guarded, &ONE_THREAD, &log)?,
            Program::Least => Server::least(&ONE_THREAD, &log)?,
        };
        let clients = runtime.block_on(crowd::connect(server.address(), transport, clients))?;
        Ok(Self { server, clients })
    }

    /// A closed loop: each client sends its next message when the one before has come back.
    pub(super) fn throughput(&mut self, runtime: &Runtime, length: Duration) -> Result<Throughput> {
        let used = || [self.server.process(), std::process::id()].map(process_cpu_time);
        let before = used();
        let begun = Instant::now();
        let end = begun + length;
        let echoing = all_at_work(&mut self.clients, |mut client| async move {
            let mut echoed = 0_u64;
            while echoed == 0 || Instant::now() < end {
                client.echo(&Value::from(echoed)).await?;
                echoed += 1;
            }
            Ok((client, echoed))
        });
        let echoed = runtime.block_on(echoing)?.into_iter().sum::<u64>();
        let took = begun.elapsed().as_secs_f64();
        let after = used();
        let [cpu, generator] = [0, 1].map(|who: usize| {
            let since = before[who].zip(after[who]);
            since.map(|(before, after)| after.saturating_sub(before).as_secs_f64())
        });
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let messages = echoed as f64;
        Ok(Throughput {
            per_second: messages / took,
            cpu: cpu.map(|cpu| cpu * 1e6 / messages),
            busy: cpu.map(|cpu| cpu / took),
            generator: generator.map(|cpu| cpu / took),
        })
    }

    /// An open loop: `rate` messages a second, whose clients take turns, whatever becomes of those before. Each time counts
    /// from when its message was due, also when its client still waited for the one before; otherwise a server that
    /// is held up would be asked, and blamed, less.
    pub(super) fn latency(&mut self, runtime: &Runtime, rate: f64, length: Duration) -> Result<Times> {
        let (mut turns, mut waiting): (Vec<_>, Vec<_>) =
            self.clients.iter().map(|_| mpsc::unbounded_channel::<Instant>()).unzip();
        let asked = (rate * length.as_secs_f64()).ceil();
        let begin = Instant::now();
        let timetable = async move {
            let mut number = 0.0;
            while number < asked {
                for turn in &mut turns {
                    let due = begin + Duration::from_secs_f64(number / rate);
                    // Timers are a millisecond coarse, which is more than what is measured.
                    while Instant::now() < due {
                        yield_now().await;
                    }
                    // A client that fails says so itself.
                    _ = turn.send(due);
                    number += 1.0;
                    if number >= asked {
                        break;
                    }
                }
            }
        };
        let echoing = all_at_work(&mut self.clients, move |mut client| {
            let turns = waiting.pop();
            async move {
                let mut turns = turns.context("each client has its turns")?;
                let mut times = Vec::new();
                while let Some(due) = turns.recv().await {
                    let at = echoed_at(&mut client, times.len()).await?;
                    times.push(at - due);
                }
                Ok((client, times))
            }
        });
        let (all, ()) = runtime.block_on(async { tokio::join!(echoing, timetable) });
        let mut times = Times::new()?;
        all?.into_iter().flatten().for_each(|time| times.add(time));
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let answered = times.len() as f64;
        ensure!(answered >= asked, "{asked} messages were sent and {answered} came back");
        Ok(times)
    }
}

/// Every client at once, each in a task of its own; what comes of each.
async fn all_at_work<T, F>(clients: &mut Vec<Client>, mut work: impl FnMut(Client) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<(Client, T)>> + Send + 'static,
    T: Send + 'static,
{
    let mut working: JoinSet<_> = clients.drain(..).map(&mut work).collect();
    let mut results = Vec::with_capacity(working.len());
    while let Some(done) = working.join_next().await {
        let (client, result) = done.context("a client of the bench")??;
        clients.push(client);
        results.push(result);
    }
    Ok(results)
}

/// When the echo of a number was read.
async fn echoed_at(client: &mut Client, number: usize) -> Result<Instant> {
    client.emit("echo", &Value::from(number)).await?;
    let received = client.next().await?;
    match received.packet {
        Packet::Event { name, data, .. } if name == "echo" && data == number => Ok(received.at),
        other => anyhow::bail!("echo {number} is answered with {other:?}"),
    }
}
