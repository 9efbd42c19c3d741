//! A crowd of clients that come back at once, again and again until they are let in: nobody's library is so impatient.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Transport, is_refusal};

/// From a connection that failed to the next.
pub(super) const RETRY: Duration = Duration::from_millis(5);
/// The longest that one try may take. The system tries a connection again itself after 1, 3 and 7 s when the backlog
/// has no place for it.
const TRY: Duration = Duration::from_secs(20);
/// How many come at once at the beginning, when nothing is measured.
const AT_ONCE: usize = 200;

/// How the clients of a crowd are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mix {
    WebSocket,
    Polling,
    /// Every other one.
    Mixed,
}

impl Mix {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Polling => "polling",
            Self::Mixed => "mixed",
        }
    }

    /// How many connections so many clients hold: one that polls has a second for what it sends.
    pub(super) fn connections(self, clients: usize) -> usize {
        match self {
            Self::WebSocket => clients,
            Self::Polling | Self::Mixed => 2 * clients,
        }
    }

    fn of(self, number: usize) -> Transport {
        match self {
            Self::Mixed => Transport::ALL[number % Transport::ALL.len()],
            Self::WebSocket => Transport::WebSocket,
            Self::Polling => Transport::Polling,
        }
    }
}

/// What one of its clients has seen, by the client's number.
enum Seen {
    Entered(usize, Instant),
    Ended(usize, Instant),
    Refused,
    Failed(String),
}

/// Clients on a thread and a runtime of their own.
pub(super) struct Crowd {
    count: usize,
    seen: mpsc::Receiver<Seen>,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a crowd came back.
#[derive(Default)]
pub(super) struct Return {
    /// When the last of them saw its connection end.
    pub(super) noticed: Option<Instant>,
    /// When each who is back in its namespace was, in order.
    pub(super) back: Vec<Instant>,
    /// How many are not back in time.
    pub(super) missing: usize,
    /// Connections at which nobody listened.
    pub(super) refused: u64,
    /// Connections that came to nothing otherwise, by what was said.
    pub(super) failed: BTreeMap<String, u64>,
}

impl Crowd {
    /// Enters `namespace` with `count` clients.
    pub(super) fn gather(
        server: SocketAddr,
        namespace: &'static str,
        mix: Mix,
        count: usize,
        patience: Duration,
    ) -> Result<Self> {
        let (told, seen) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("crowd".into()).spawn(move || {
            runtime.block_on(async {
                let places = Arc::new(Semaphore::new(AT_ONCE));
                for number in 0..count {
                    let member =
                        Member { number, server, namespace, transport: mix.of(number), told: told.clone() };
                    tokio::spawn(member.live(Arc::clone(&places)));
                }
                // Its clients end with the runtime.
                _ = stopped.await;
            });
        });
        let crowd = Self { count, seen, stop: Some(stop), thread: Some(thread.context("a crowd")?) };
        let deadline = Instant::now() + patience;
        for entered in 0..count {
            match crowd.next(deadline) {
                Some(Seen::Entered(..)) => {}
                Some(Seen::Failed(why)) => bail!("client {entered} of a crowd: {why}"),
                Some(Seen::Refused) => bail!("client {entered} of a crowd is refused"),
                Some(Seen::Ended(..)) => bail!("a crowd's client is closed for nothing"),
                None => bail!("only {entered} of {count} clients are in after {patience:?}"),
            }
        }
        Ok(crowd)
    }

    /// Waits until everybody has left and is back. With the first whose connection ends, `at_first_end` is called.
    pub(super) fn come_back(
        &self,
        patience: Duration,
        at_first_end: impl FnOnce() -> Result<()>,
    ) -> Result<Return> {
        let deadline = Instant::now() + patience;
        let mut at_first_end = Some(at_first_end);
        let mut states = vec![State::Before; self.count];
        let (mut left, mut inside) = (0, 0);
        let mut came = Return::default();
        while left < self.count || inside < self.count {
            match self.next(deadline) {
                None => break,
                Some(Seen::Ended(number, at)) => {
                    came.noticed = came.noticed.max(Some(at));
                    match std::mem::replace(&mut states[number], State::Out) {
                        State::Before => left += 1,
                        State::Back(_) => inside -= 1,
                        State::Out => bail!("a client's connection ends twice"),
                    }
                    if let Some(first) = at_first_end.take() {
                        first()?;
                    }
                }
                Some(Seen::Entered(number, at)) => {
                    ensure!(matches!(states[number], State::Out), "a client enters twice");
                    states[number] = State::Back(at);
                    inside += 1;
                }
                Some(Seen::Refused) => came.refused += 1,
                Some(Seen::Failed(why)) => *came.failed.entry(why).or_default() += 1,
            }
        }
        came.missing = self.count - inside;
        came.back = states.into_iter().filter_map(State::back).collect();
        came.back.sort();
        Ok(came)
    }

    fn next(&self, deadline: Instant) -> Option<Seen> {
        self.seen.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }
}

#[derive(Clone, Copy)]
enum State {
    /// Still in.
    Before,
    Out,
    Back(Instant),
}

impl State {
    fn back(self) -> Option<Instant> {
        if let Self::Back(at) = self { Some(at) } else { None }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            _ = thread.join();
        }
    }
}

/// One client of a crowd.
struct Member {
    number: usize,
    server: SocketAddr,
    namespace: &'static str,
    transport: Transport,
    told: mpsc::Sender<Seen>,
}

impl Member {
    async fn live(self, places: Arc<Semaphore>) {
        let Ok(mut place) = places.acquire_owned().await.map(Some) else { return };
        loop {
            let mut client = self.insist().await;
            place.take();
            self.tell(Seen::Entered(self.number, Instant::now()));
            let at = client.ended().await;
            self.tell(Seen::Ended(self.number, at));
        }
    }

    /// Tries until it is let in.
    async fn insist(&self) -> Client {
        loop {
            match timeout(TRY, self.try_once()).await {
                Ok(Ok(client)) => return client,
                Ok(Err(error)) if is_refusal(&error) => self.tell(Seen::Refused),
                Ok(Err(error)) => self.tell(Seen::Failed(format!("{error:#}"))),
                Err(_) => self.tell(Seen::Failed(format!("not let in within {TRY:?}"))),
            }
            sleep(RETRY).await;
        }
    }

    async fn try_once(&self) -> Result<Client> {
        let mut client = Client::open(self.server, self.transport, self.namespace).await?;
        client.enter().await?;
        Ok(client)
    }

    fn tell(&self, seen: Seen) {
        // At the end nobody asks any more.
        _ = self.told.send(seen);
    }
}
