//! Every panic is counted here when it is asked for, and by the server when it is recorded; and no more are under way at
//! once than the server has room for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::site::{Place, SITES};
use crate::client::{StatsConnection, Transport};

/// The server's queue of faults has room for twice as many; what finds it full is counted there and never recorded.
const UNDER_WAY: usize = 8 * 1024;
/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// As long as something is recorded now and then, it is only slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many errors of clients are kept: the rest will be the same.
const ERRORS: usize = 5;
const TOO_MANY: u64 = 1_000;

/// What has been asked for.
pub(super) struct Count {
    asked: [[AtomicU64; Transport::ALL.len()]; SITES.len()],
    sockets: AtomicU64,
    room: Semaphore,
    failed: AtomicU64,
    errors: Mutex<Vec<String>>,
}

/// What the server's judge says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Judged {
    pub(super) right: u64,
    pub(super) wrong: u64,
    pub(super) nobodys: u64,
    pub(super) by_transport: u64,
    pub(super) wrong_activity: u64,
    /// Of all places together.
    #[serde(default)]
    pub(super) lost: u64,
    #[serde(default)]
    pub(super) places: BTreeMap<String, Judged>,
}

impl Judged {
    pub(super) fn all(&self) -> u64 {
        let Self { right, wrong, nobodys, lost, .. } = self;
        right + wrong + nobodys + lost
    }
}

impl Count {
    pub(super) fn new() -> Self {
        Self {
            asked: Default::default(),
            sockets: AtomicU64::new(0),
            room: Semaphore::new(UNDER_WAY),
            failed: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// Waits until there is room for so many panics, which is taken.
    pub(super) async fn room_for(&self, panics: usize) -> Result<()> {
        let room = self.room.acquire_many(u32::try_from(panics)?).await;
        room.context("the server has not recorded what was asked for before")?.forget();
        Ok(())
    }

    /// A panic at `place` is asked for now.
    pub(super) fn asks(&self, Place(site, transport): Place) {
        self.asked[site][transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connects(&self) {
        self.sockets.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sockets(&self) -> u64 {
        self.sockets.load(Ordering::Relaxed)
    }

    /// A client met with something else than expected.
    pub(super) fn failed(&self, error: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < ERRORS {
            errors.push(error);
        }
    }

    /// Whether nothing is recorded any more, or so much fails that the rest would only take long.
    pub(super) fn is_given_up(&self) -> bool {
        self.room.is_closed() || self.failed.load(Ordering::Relaxed) > TOO_MANY
    }

    pub(super) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn asked_at(&self, Place(site, transport): Place) -> u64 {
        self.asked[site][transport as usize].load(Ordering::Relaxed)
    }

    pub(super) fn asked(&self) -> u64 {
        Place::all().map(|place| self.asked_at(place)).sum()
    }

    /// Makes room for as many as the server records, and tells how many those are in all, until `is_over` and all are
    /// recorded. Nobody waits for room when this gives up.
    pub(super) async fn follow(
        &self,
        server: SocketAddr,
        is_over: impl Fn() -> bool,
        mut tell: impl FnMut(u64),
    ) -> Result<()> {
        let mut stats = StatsConnection::open(server).await?;
        let (mut recorded, mut last) = (0, Instant::now());
        let followed = loop {
            let now_over = is_over();
            let all = judged(&mut stats).await?.all();
            if all > recorded {
                self.room.add_permits(usize::try_from(all - recorded)?);
                (recorded, last) = (all, Instant::now());
                tell(all);
            }
            if now_over && recorded >= self.asked() {
                break Ok(());
            }
            if last.elapsed() > PATIENCE {
                break Err(recorded);
            }
            tokio::time::sleep(LOOK).await;
        };
        self.room.close();
        match followed {
            Ok(()) => Ok(()),
            Err(recorded) => {
                bail!("{recorded} of {} panics are recorded, and no more for {PATIENCE:?}", self.asked())
            }
        }
    }
}

pub(super) async fn judged(stats: &mut StatsConnection) -> Result<Judged> {
    Judged::deserialize(&stats.read().await?["judged"]).context("the server judges")
}
