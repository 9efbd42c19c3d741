//! What the parent decides: events in, actions out. No clock, no process, no socket.
//!
//! There are at most two workers: the *current* one, which serves or is about to, and beside it either an *incoming* one, which
//! is to take over as soon as it is ready, or an *outgoing* one, which drains.

mod endings;
mod events;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

pub(crate) use self::events::{Action, Event, Message, Signal};
use self::worker::Worker;
use crate::{Happening, Outcome, Restarts, SupervisorSettings, Told, WorkerDeath};

/// How much longer than its drain timeout a worker may take until it is killed: to flush its logs and to leave.
pub(crate) const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// How long a worker has between SIGABRT, or the SIGTERM for not being ready, and SIGKILL.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often within the limit a worker is asked whether it answers.
const LOOKS_WITHIN_LIMIT: u32 = 5;
/// The longest time between two such looks.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// That the parent is to end.
#[derive(Debug, Default)]
struct End {
    /// How often it was asked to.
    asked: u32,
    /// Why, if not because it was asked.
    outcome: Option<Outcome>,
    /// The first worker that did not end as it should.
    bad: Option<WorkerDeath>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    ready: Duration,
    /// When a worker that says nothing is taken for ready.
    assumed: Option<Duration>,
    drain: Duration,
    wedge: Duration,
}

#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    allowed: (u32, Duration),
    restarts: Restarts,
    /// Of the worker that was started last.
    generation: u64,
    current: Option<Worker>,
    incoming: Option<Worker>,
    outgoing: Option<Worker>,
    /// When the next current worker is due.
    restart_at: Option<Duration>,
    /// When the current worker died, until there is one that is ready.
    died_at: Option<Duration>,
    ever_ready: bool,
    /// Workers die faster than is allowed.
    exceeded: bool,
    /// Another reload is asked for.
    reload: bool,
    look_at: Duration,
    /// Until when silence is forgiven.
    forgiven_until: Duration,
    end: Option<End>,
}

impl Machine {
    pub(crate) fn new(settings: &SupervisorSettings, chance: fastrand::Rng) -> Self {
        Self {
            limits: Limits {
                ready: settings.ready_timeout,
                assumed: settings.ready_after,
                drain: settings.drain_timeout,
                wedge: settings.wedge_limit,
            },
            allowed: settings.restart.allowed(),
            restarts: Restarts::new(settings.restart.clone(), chance),
            generation: 0,
            current: None,
            incoming: None,
            outgoing: None,
            restart_at: Some(Duration::ZERO),
            died_at: None,
            ever_ready: false,
            exceeded: false,
            reload: false,
            look_at: Duration::ZERO,
            forgiven_until: Duration::ZERO,
            end: None,
        }
    }

    /// `now` must not go back.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let out = &mut actions;
        match event {
            Event::Time => self.time(now, out),
            Event::Suspended => self.forgive(now),
            Event::Started { generation, pid } => {
                if let Some(worker) = self.worker(generation) {
                    worker.pid = pid;
                    let after_death = worker.after_death;
                    out.push(Action::Tell(Happening::Started { generation, pid, after_death }));
                }
            }
            Event::CannotStart { generation, error } => self.cannot_start(now, generation, error, out),
            Event::Said { generation, message } => self.said(now, generation, message, out),
            Event::Ended { generation, ending, oom_killed } => {
                self.ended(now, generation, ending, oom_killed, out);
            }
            Event::Answered { generation, ago } => self.answered(now, generation, ago, out),
            Event::Stop { signal } => self.stop(now, signal, out),
            Event::Reload => self.reload(now, out),
            Event::Forward { signal } => {
                if let Some(worker) = &self.current {
                    let signal = Signal::Other(signal);
                    out.push(Action::Signal { generation: worker.generation, signal });
                }
            }
        }
        actions
    }

    /// When [`Event::Time`] is due, at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let limits = self.limits;
        let look = self.current.as_ref().is_some_and(Worker::serves).then_some(self.look_at);
        let workers =
            self.workers().filter_map(|worker| worker.deadline(limits.assumed.unwrap_or(limits.ready)));
        workers.chain(self.restart_at).chain(look).min()
    }

    /// Whether the service manager should be told that all is well: a worker serves, or is coming within what is allowed.
    pub(crate) fn is_well(&self) -> bool {
        match &self.current {
            Some(worker) if worker.told == Some(Told::Wedged) => false,
            Some(worker) if worker.is_ready() => true,
            _ => !self.exceeded,
        }
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.current.iter().chain(&self.incoming).chain(&self.outgoing)
    }

    fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.current.iter_mut().chain(&mut self.incoming).chain(&mut self.outgoing)
    }

    fn worker(&mut self, generation: u64) -> Option<&mut Worker> {
        self.workers_mut().find(|worker| worker.generation == generation)
    }

    fn start(&mut self, now: Duration, after_death: bool, out: &mut Vec<Action>) -> Worker {
        self.generation += 1;
        // Whoever starts now starts with what the reload wanted to be read.
        self.reload = false;
        out.push(Action::Start { generation: self.generation, after_death });
        Worker::new(self.generation, now, after_death)
    }

    fn time(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.restart_at.is_some_and(|at| at <= now) && self.end.is_none() {
            self.restart_at = None;
            let worker = self.start(now, self.died_at.is_some(), out);
            self.current = Some(worker);
        }
        let Limits { ready, assumed, .. } = self.limits;
        let silent = |worker: &&Worker| assumed.is_some_and(|after| worker.waits_since(now) >= Some(after));
        let assumed_ready: Vec<u64> = self.workers().filter(silent).map(|worker| worker.generation).collect();
        for generation in assumed_ready {
            self.said(now, generation, Message::Ready, out);
        }
        for worker in self.workers_mut() {
            worker.time(now, ready, LAST_WORDS, out);
        }
        let Some(current) = self.current.as_ref().filter(|worker| worker.serves()) else { return };
        if now >= self.look_at {
            out.push(Action::Look { generation: current.generation });
            // A parent that was itself kept from looking cannot tell whose silence it is.
            if now - self.look_at > self.limits.wedge / 2 {
                self.forgive(now);
            }
            self.look_at = now + (self.limits.wedge / LOOKS_WITHIN_LIMIT).min(LONGEST_LOOK);
        }
    }

    fn forgive(&mut self, now: Duration) {
        self.forgiven_until = now + self.limits.wedge;
    }

    fn answered(&mut self, now: Duration, generation: u64, ago: Option<Duration>, out: &mut Vec<Action>) {
        let Some(silent) = ago.filter(|ago| *ago > self.limits.wedge) else { return };
        let forgiven = now < self.forgiven_until;
        let Some(worker) = self.current.as_mut().filter(|worker| worker.generation == generation) else {
            return;
        };
        if forgiven || !worker.serves() {
            return;
        }
        worker.tell(Told::Wedged, now + LAST_WORDS);
        let pid = worker.pid;
        out.push(Action::Tell(Happening::Wedged { generation, pid, silent }));
        out.push(Action::Wedged { generation, pid, silent });
        out.push(Action::Signal { generation, signal: Signal::Abort });
    }

    fn said(&mut self, now: Duration, generation: u64, message: Message, out: &mut Vec<Action>) {
        let Some(worker) = self.worker(generation) else { return };
        match message {
            Message::Ready if worker.is_ready() => {}
            Message::Ready => {
                worker.ready = Some(now);
                self.ready(now, generation, out);
            }
            // It is its own business until it has ended.
            Message::Stopping => {}
            Message::Garbage(text) => {
                if worker.may_complain() {
                    out.push(Action::Tell(Happening::Garbage { generation, text }));
                }
            }
        }
    }

    fn ready(&mut self, now: Duration, generation: u64, out: &mut Vec<Action>) {
        let Some(worker) = self.worker(generation) else { return };
        if worker.told.is_some() {
            return;
        }
        let (pid, after) = (worker.pid, now.saturating_sub(worker.started));
        let after_death = self.died_at.take().map(|died| now.saturating_sub(died));
        out.push(Action::Tell(Happening::Ready { generation, pid, after, after_death }));
        self.ever_ready = true;
        self.look_at = now;
        self.forgive(now);
        let incoming = self.incoming.take_if(|incoming| incoming.generation == generation);
        if let Some(mut outgoing) = incoming.and_then(|incoming| self.current.replace(incoming)) {
            let old = outgoing.generation;
            out.push(Action::Tell(Happening::TakenOver { old, new: generation }));
            // One that is being aborted is not asked as well.
            if outgoing.told.is_none() {
                outgoing.tell(Told::Drain, now + self.limits.drain + DRAIN_MARGIN);
                out.push(Action::TakenOver { generation: old });
                out.push(Action::Signal { generation: old, signal: Signal::Terminate });
            }
            self.outgoing = Some(outgoing);
        }
        self.settle(now, out);
    }

    fn reload(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.end.is_some() {
            return;
        }
        if self.restart_at.is_some() {
            // Whoever asks has mended something: there is nothing to wait for.
            out.push(Action::Tell(Happening::ReloadHurries { generation: self.generation + 1 }));
            self.restart_at = Some(now);
            self.time(now, out);
            return;
        }
        self.reload = true;
        if !self.settle(now, out) {
            out.push(Action::Tell(Happening::ReloadRemembered));
        }
    }

    /// Begins the takeover that was asked for, if everything is quiet enough for it, and answers whether it has.
    fn settle(&mut self, now: Duration, out: &mut Vec<Action>) -> bool {
        let Some(old) = self.current.as_ref().filter(|worker| worker.serves()) else { return false };
        if !self.reload || self.incoming.is_some() || self.outgoing.is_some() || self.end.is_some() {
            return false;
        }
        out.push(Action::Tell(Happening::TakeoverBegun { old: old.generation, new: self.generation + 1 }));
        let worker = self.start(now, false, out);
        self.incoming = Some(worker);
        true
    }

    fn stop(&mut self, now: Duration, signal: i32, out: &mut Vec<Action>) {
        let end = self.end.get_or_insert_default();
        end.asked = end.asked.saturating_add(1);
        let asked = end.asked;
        self.restart_at = None;
        out.push(Action::Tell(if asked == 1 {
            Happening::Stopping { signal }
        } else {
            Happening::Hurried { signal }
        }));
        let patience = match asked {
            1 => self.limits.drain + DRAIN_MARGIN,
            2 => LAST_WORDS,
            _ => Duration::ZERO,
        };
        for worker in self.workers_mut() {
            if worker.told.is_none() || asked > 1 {
                out.push(Action::Signal { generation: worker.generation, signal: Signal::Terminate });
            }
            worker.tell(Told::Stop, now + patience);
        }
        self.time(now, out);
        self.finish(out);
    }
}
