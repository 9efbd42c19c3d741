//! One worker, as the parent knows it.

use std::time::Duration;

use super::{Action, Signal};
use crate::{Ending, Happening, Told, WorkerDeath};

/// How many messages that are none are told of, for each worker.
const COMPLAINTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) generation: u64,
    /// 0 until it is started.
    pub(super) pid: u32,
    pub(super) started: Duration,
    pub(super) ready: Option<Duration>,
    pub(super) after_death: bool,
    pub(super) told: Option<Told>,
    /// When it is killed.
    kill_at: Option<Duration>,
    complaints: u32,
}

impl Worker {
    pub(super) fn new(generation: u64, now: Duration, after_death: bool) -> Self {
        Self {
            generation,
            pid: 0,
            started: now,
            ready: None,
            after_death,
            told: None,
            kill_at: None,
            complaints: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// Whether it is ready and meant to stay.
    pub(super) fn serves(&self) -> bool {
        self.is_ready() && self.told.is_none()
    }

    /// How long it has been neither ready nor told to end.
    pub(super) fn waits_since(&self, now: Duration) -> Option<Duration> {
        (!self.is_ready() && self.told.is_none()).then(|| now.saturating_sub(self.started))
    }

    /// It is told to end. The first reason counts, and the earliest time.
    pub(super) fn tell(&mut self, told: Told, kill_at: Duration) {
        self.told.get_or_insert(told);
        // `kill_at` is empty when it is killed already.
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
    }

    pub(super) fn deadline(&self, ready_timeout: Duration) -> Option<Duration> {
        let ready_by = (!self.is_ready() && self.told.is_none()).then(|| self.started + ready_timeout);
        self.kill_at.into_iter().chain(ready_by).min()
    }

    /// Ends what takes too long.
    pub(super) fn time(
        &mut self,
        now: Duration,
        ready_timeout: Duration,
        last_words: Duration,
        out: &mut Vec<Action>,
    ) {
        let Self { generation, pid, .. } = *self;
        if self.waits_since(now) >= Some(ready_timeout) {
            self.tell(Told::NotReady, now + last_words);
            out.push(Action::Tell(Happening::NotReady { generation, pid, limit: ready_timeout }));
            out.push(Action::Signal { generation, signal: Signal::Terminate });
        }
        if self.kill_at.take_if(|at| *at <= now).is_some() {
            out.push(Action::Tell(Happening::Killed { generation, pid }));
            out.push(Action::Signal { generation, signal: Signal::Kill });
        }
    }

    pub(super) fn may_complain(&mut self) -> bool {
        self.complaints = self.complaints.saturating_add(1);
        self.complaints <= COMPLAINTS
    }

    pub(super) fn death(&self, now: Duration, ending: Ending, oom_killed: Option<bool>) -> WorkerDeath {
        WorkerDeath {
            pid: self.pid,
            generation: self.generation,
            ending,
            oom_killed,
            was_ready: self.is_ready(),
            uptime: now.saturating_sub(self.started),
            told: self.told,
        }
    }
}

/// Whether a worker that was told to end has done so as it should: by itself, or because it knows nothing of SIGTERM.
pub(super) fn ended_well(death: &WorkerDeath) -> bool {
    /// The same number on every Unix.
    const SIGTERM: i32 = 15;
    matches!(death.ending, Ending::Exited(0) | Ending::Signal(SIGTERM))
}
