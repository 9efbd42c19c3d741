//! Those who did nothing: they echo all the time, come back at once when they are cut, and say what they felt.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::party::{Language, Party};
use crate::client::is_refusal;

pub(super) const BYSTANDERS: usize = 20;
/// How often each echoes.
const EVERY: Duration = Duration::from_millis(20);
/// From a connection that failed to the next.
const RETRY: Duration = Duration::from_millis(5);

/// From being let in to the first echo: bare socketioxide loses events that come before its connect handler has run, and
/// that is no fault of another's.
const SETTLED: Duration = Duration::from_millis(10);

/// Bystanders on a thread and a runtime of their own.
pub(super) struct Bystanders {
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<Vec<Felt>>>,
}

/// What one bystander felt, or all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Felt {
    /// Echoes that came back.
    pub(super) echoes: u64,
    /// How often its connection ended.
    pub(super) cut: u64,
    /// Echoes that never came back.
    pub(super) lost: u64,
    /// Connections at which nobody listened, and those that came to nothing otherwise.
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// The longest from when an echo was due until one was back; through the end of its connection, when there was one.
    #[serde(skip)]
    pub(super) worst: Duration,
    /// When it was back in the end, after it had been cut.
    #[serde(skip)]
    pub(super) back: Option<Instant>,
}

impl Bystanders {
    /// All of them are in when this is done.
    pub(super) fn gather(server: SocketAddr, language: Language) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let parties = runtime.block_on(async {
            let mut parties = Vec::new();
            for _ in 0..BYSTANDERS {
                parties.push(Party::join(server, language).await.context("a bystander")?);
            }
            Ok::<_, anyhow::Error>(parties)
        })?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("bystanders".into()).spawn(move || {
            runtime.block_on(async {
                let all: JoinSet<_> = parties
                    .into_iter()
                    .map(|party| echo_until(stopped.clone(), party, server, language))
                    .collect();
                all.join_all().await.into_iter().collect()
            })
        });
        Ok(Self { stop, thread: thread.context("bystanders")? })
    }

    /// Each echoes a last time. An error when one of them is not served any more.
    pub(super) fn finish(self) -> Result<Felt> {
        // When none is left to hear it, the thread has ended and says why.
        _ = self.stop.send(true);
        let all = self.thread.join().map_err(|_| anyhow!("bystanders panicked"))??;
        Ok(all.into_iter().fold(Felt::default(), Felt::with))
    }
}

impl Felt {
    fn with(self, other: Self) -> Self {
        Self {
            echoes: self.echoes + other.echoes,
            cut: self.cut + other.cut,
            lost: self.lost + other.lost,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
            worst: self.worst.max(other.worst),
            back: self.back.max(other.back),
        }
    }
}

/// How long a bystander tries to come back.
const PATIENCE: Duration = Duration::from_secs(20);

async fn echo_until(
    mut stopped: watch::Receiver<bool>,
    mut party: Party,
    server: SocketAddr,
    language: Language,
) -> Result<Felt> {
    let mut felt = Felt::default();
    sleep(SETTLED).await;
    let mut every = interval(EVERY);
    // What comes late must not be followed by a burst: others are measured here, not throughput.
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        let due = every.tick().await;
        let is_last = *stopped.borrow_and_update();
        while party.echo(number).await.is_err() {
            felt.cut += 1;
            felt.lost += 1;
            party = come_back(&mut felt, server, language).await?;
            felt.back = Some(Instant::now());
            sleep(SETTLED).await;
        }
        felt.echoes += 1;
        felt.worst = felt.worst.max(due.elapsed());
        if is_last {
            break;
        }
    }
    Ok(felt)
}

async fn come_back(felt: &mut Felt, server: SocketAddr, language: Language) -> Result<Party> {
    let begun = Instant::now();
    loop {
        match Party::join(server, language).await {
            Ok(party) => return Ok(party),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(error.context("a bystander is not let in"));
            }
            Err(error) if is_refusal(&error) => felt.refused += 1,
            Err(_) => felt.failed += 1,
        }
        sleep(RETRY).await;
    }
}
