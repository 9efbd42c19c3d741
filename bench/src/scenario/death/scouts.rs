//! A few clients who come first, from a thread of their own: they see when the port answers, and what it is like to be back
//! while all others come back.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::crowd::RETRY;
use crate::client::{Client, Transport, is_refusal};
use crate::machine;
use crate::report::Times;

const SCOUTS: usize = 8;
/// How often each echoes.
const ECHO_EVERY: Duration = Duration::from_millis(20);
/// How often the backlog is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Scouts that are out.
pub(super) struct Scouts {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Found>>,
}

/// What scouts have found.
pub(super) struct Found {
    /// When the first of them got an open packet over a fresh connection. `None` when nobody did until they were called
    /// back: the backlog had no place for them.
    pub(super) answered: Option<Instant>,
    /// How long their echoes took, from when they were due.
    pub(super) echoes: Times,
    /// How many connections at most waited for being accepted. `None` where the operating system does not tell.
    pub(super) backlog: Option<u64>,
    /// Echoes that did not come back.
    pub(super) lost: u64,
    /// Connections at which nobody listened.
    pub(super) refused: u64,
}

impl Scouts {
    /// Sends them to `namespace`, which has an event `echo`.
    pub(super) fn send(server: SocketAddr, namespace: &'static str) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let scout = Scout { server, namespace, stopped };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread =
            thread::Builder::new().name("scouts".into()).spawn(move || runtime.block_on(scout.all()));
        Ok(Self { stop, thread: thread.context("scouts")? })
    }

    /// Calls them back.
    pub(super) fn call_back(self) -> Result<Found> {
        // When none is left to hear it, the thread has ended and says why.
        _ = self.stop.send(true);
        self.thread.join().map_err(|_| anyhow!("scouts panicked"))?
    }
}

/// How one scout fared.
struct Fate {
    answered: Instant,
    echoes: Times,
    /// One of its echoes did not come back, or it was let in and then not into its namespace; it stopped there.
    has_lost: bool,
    refused: u64,
}

#[derive(Clone)]
struct Scout {
    server: SocketAddr,
    namespace: &'static str,
    /// Whether it is called back.
    stopped: watch::Receiver<bool>,
}

impl Scout {
    async fn all(self) -> Result<Found> {
        let look = tokio::spawn(self.clone().look());
        let scouts: JoinSet<_> = (0..SCOUTS).map(|_| self.clone().scout()).collect();
        let fates = scouts.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let fates: Vec<Fate> = fates.into_iter().flatten().collect();
        let answered = fates.iter().map(|fate| fate.answered).min();
        let mut echoes = Times::new()?;
        for fate in &fates {
            echoes.merge(&fate.echoes)?;
        }
        let lost = fates.iter().map(|fate| u64::from(fate.has_lost)).sum();
        let refused = fates.iter().map(|fate| fate.refused).sum();
        Ok(Found { answered, echoes, backlog: look.await?, lost, refused })
    }

    /// Looks at the backlog until it is called back; answers the longest.
    async fn look(mut self) -> Option<u64> {
        let mut every = interval(LOOK_EVERY);
        let mut longest = None;
        while !*self.stopped.borrow_and_update() {
            every.tick().await;
            longest = longest.max(machine::backlog(self.server));
        }
        longest
    }

    /// Is let in, and echoes until it is called back, and once more. `None` when it is called back before.
    async fn scout(mut self) -> Result<Option<Fate>> {
        let insisting = self.clone();
        let (mut client, refused) = tokio::select! {
            in_session = insisting.insist() => in_session,
            _ = self.stopped.wait_for(|stop| *stop) => return Ok(None),
        };
        let answered = Instant::now();
        let has_lost = client.enter().await.is_err();
        let mut fate = Fate { answered, echoes: Times::new()?, has_lost, refused };
        if has_lost {
            return Ok(Some(fate));
        }
        let mut every = interval(ECHO_EVERY);
        // An echo that comes late makes those behind it late: each counts from when it was due.
        every.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0_u64.. {
            let due = every.tick().await;
            let is_last = *self.stopped.borrow_and_update();
            // A server that has let it in may still lose what comes before its handlers are there.
            fate.has_lost = client.echo(&Value::from(number)).await.is_err();
            if is_last || fate.has_lost {
                break;
            }
            fate.echoes.add(due.elapsed());
        }
        Ok(Some(fate))
    }

    /// Tries until a session is open; answers it, and how often nobody listened.
    async fn insist(self) -> (Client, u64) {
        let mut refused = 0;
        loop {
            match Client::open(self.server, Transport::WebSocket, self.namespace).await {
                Ok(client) => return (client, refused),
                Err(error) => refused += u64::from(is_refusal(&error)),
            }
            sleep(RETRY).await;
        }
    }
}
