//! Those who have nothing to do with the storm: many clients that echo, each once a second.
//!
//! Nobody waits for an echo before the next one is due, and its time counts from when it should have been sent: what keeps
//! the crowd from sending is felt by its clients as well.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::client::{Client, Packet, Transport};
use crate::report::Times;

/// How often each echoes.
const EVERY: Duration = Duration::from_secs(1);

/// The crowd, on a thread of its own, and another that says when who is to echo.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    pacer: JoinHandle<()>,
    clients: JoinHandle<Result<Vec<String>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The part of the measurement that echoes are of which are due now.
    part: AtomicUsize,
    parts: Mutex<Vec<Part>>,
}

/// What the crowd felt in one part of the measurement.
#[derive(Serialize)]
pub(super) struct Part {
    pub(super) echo: Times,
    sent: u64,
    echoed: u64,
}

/// What became of the crowd.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Fate {
    pub(super) sent: u64,
    pub(super) lost: u64,
    /// What those saw who were disconnected, or got something else than their echoes in order.
    pub(super) disturbed: Vec<String>,
}

/// One echo.
struct Due {
    at: Instant,
    part: usize,
}

impl Crowd {
    /// Connects `count` clients, and lets them echo in the first part.
    pub(super) fn start(server: SocketAddr, count: u32) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.parts().push(Part::new()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut connected = Vec::new();
        runtime.block_on(async {
            for _ in 0..count {
                let client = Client::connect(server, Transport::WebSocket, "/").await;
                connected.push(client.context("a bystander")?);
            }
            anyhow::Ok(())
        })?;
        let (dues, waiting): (Vec<_>, Vec<_>) = connected.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let pacer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("pacer".into()).spawn(move || pace(&shared, &dues))?
        };
        let clients = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("crowd".into()).spawn(move || {
                runtime.block_on(async {
                    let echoing = connected
                        .into_iter()
                        .zip(waiting)
                        .map(|(client, dues)| tokio::task::spawn(echo(client, dues, Arc::clone(&shared))));
                    let mut disturbed = Vec::new();
                    for done in echoing.collect::<Vec<_>>() {
                        disturbed.extend(done.await?.err().map(|error| format!("{error:#}")));
                    }
                    Ok(disturbed)
                })
            })?
        };
        Ok(Self { shared, pacer, clients })
    }

    /// Begins the next part; answers its number.
    pub(super) fn next_part(&self) -> Result<usize> {
        let mut parts = self.shared.parts();
        parts.push(Part::new()?);
        let part = parts.len() - 1;
        self.shared.part.store(part, Ordering::Release);
        Ok(part)
    }

    /// Waits until every echo is back or given up; answers all parts.
    pub(super) fn finish(self) -> Result<(Vec<Part>, Fate)> {
        let Self { shared, pacer, clients } = self;
        shared.stop.store(true, Ordering::Release);
        pacer.join().map_err(|_| anyhow!("the pacer panicked"))?;
        let disturbed = clients.join().map_err(|_| anyhow!("the crowd panicked"))??;
        let parts = std::mem::take(&mut *shared.parts());
        let (sent, echoed) =
            parts.iter().fold((0, 0), |(sent, echoed), part| (sent + part.sent, echoed + part.echoed));
        Ok((parts, Fate { sent, lost: sent - echoed, disturbed }))
    }
}

impl Shared {
    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        // Counting does not fail half-way.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, part: usize, count: impl FnOnce(&mut Part)) {
        if let Some(part) = self.parts().get_mut(part) {
            count(part);
        }
    }
}

impl Part {
    fn new() -> Result<Self> {
        Ok(Self { echo: Times::new()?, sent: 0, echoed: 0 })
    }
}

/// Says one after another that they are due, evenly spread. A thread that sleeps is exact to a tenth of a millisecond
/// where tokio's timers are to a whole one.
fn pace(shared: &Shared, dues: &[mpsc::UnboundedSender<Due>]) {
    let begun = Instant::now();
    for round in 0_u32.. {
        for (number, due) in (0_u32..).zip(dues) {
            let apart = EVERY / u32::try_from(dues.len()).unwrap_or(u32::MAX);
            let at = begun + EVERY * round + apart * number;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            // One that is disconnected waits for nothing more.
            _ = due.send(Due { at, part: shared.part.load(Ordering::Acquire) });
        }
    }
}

/// Echoes whenever it is due; every echo must come back, and in order.
async fn echo(mut client: Client, mut dues: mpsc::UnboundedReceiver<Due>, shared: Arc<Shared>) -> Result<()> {
    let mut under_way = VecDeque::new();
    let (mut number, mut goes_on) = (0_u64, true);
    while goes_on || !under_way.is_empty() {
        tokio::select! {
            due = dues.recv(), if goes_on => match due {
                Some(due) => {
                    shared.count(due.part, |part| part.sent += 1);
                    under_way.push_back((number, due));
                    client.emit("echo", &Value::from(number)).await.context("cannot echo")?;
                    number += 1;
                }
                None => goes_on = false,
            },
            received = client.next(), if !under_way.is_empty() => {
                let received = received?;
                match (received.packet, under_way.pop_front()) {
                    (Packet::Event { name, data, .. }, Some((number, due))) if name == "echo" && data == number => {
                        let took = received.at.saturating_duration_since(due.at);
                        shared.count(due.part, |part| { part.echoed += 1; part.echo.add(took); });
                    }
                    (other, _) => bail!("an echo is answered with {other:?}"),
                }
            }
        }
    }
    Ok(())
}
