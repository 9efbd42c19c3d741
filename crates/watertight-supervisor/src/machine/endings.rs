//! What follows the end of a worker.

use std::time::Duration;

use super::{
    Action, End, Machine,
    worker::{Worker, ended_well},
};
use crate::{Ending, Happening, Next, Outcome, Told, WorkerDeath};

impl Machine {
    pub(super) fn cannot_start(
        &mut self,
        now: Duration,
        generation: u64,
        error: String,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Tell(Happening::CannotStart { generation, error }));
        if self.incoming.take_if(|worker| worker.generation == generation).is_some() {
            self.takeover_failed(generation, out);
            self.settle(now, out);
        } else if self.current.take_if(|worker| worker.generation == generation).is_some() {
            if self.ever_ready {
                self.replace(now, Duration::ZERO, false, false, out);
            } else {
                self.end.get_or_insert_default().outcome = Some(Outcome::CannotStart);
            }
        }
        self.finish(out);
    }

    fn takeover_failed(&self, new: u64, out: &mut Vec<Action>) {
        if let Some(old) = &self.current {
            out.push(Action::Tell(Happening::TakeoverFailed { old: old.generation, new }));
        }
    }

    pub(super) fn ended(
        &mut self,
        now: Duration,
        generation: u64,
        ending: Ending,
        oom_killed: Option<bool>,
        out: &mut Vec<Action>,
    ) {
        let is_it = |worker: &mut Worker| worker.generation == generation;
        let (outgoing, incoming) = (self.outgoing.take_if(is_it), self.incoming.take_if(is_it));
        let (drained, refused) = (outgoing.is_some(), incoming.is_some());
        let Some(worker) = outgoing.or(incoming).or_else(|| self.current.take_if(is_it)) else { return };
        let death = worker.death(now, ending, oom_killed);
        out.push(Action::Died(death.clone()));
        out.push(Action::Tell(if death.was_asked_for() {
            Happening::Ended(death.clone())
        } else {
            Happening::Died(death.clone())
        }));
        if let Some(end) = &mut self.end {
            if end.bad.is_none() && !ended_well(&death) {
                end.bad = Some(death);
            }
        } else if drained {
            out.push(Action::Tell(Happening::TakeoverEnded { old: generation }));
        } else if refused {
            self.takeover_failed(generation, out);
        } else if !self.ever_ready {
            self.never_ready(death, out);
        } else {
            self.died_at = Some(now);
            let served = worker.ready.map_or(Duration::ZERO, |ready| now.saturating_sub(ready));
            self.replace(now, served, death.was_ready, death.was_wedged(), out);
        }
        self.settle(now, out);
        self.finish(out);
    }

    fn never_ready(&mut self, death: WorkerDeath, out: &mut Vec<Action>) {
        let end = self.end.get_or_insert_default();
        end.outcome = Some(if death.told == Some(Told::NotReady) {
            Outcome::NotReadyInTime(death)
        } else {
            out.push(Action::Tell(Happening::ConfigurationFault(death.clone())));
            Outcome::ConfigurationFault(death)
        });
    }

    /// The current worker is gone.
    fn replace(
        &mut self,
        now: Duration,
        served: Duration,
        was_ready: bool,
        wedged: bool,
        out: &mut Vec<Action>,
    ) {
        let next = self.restarts.died(now, served, was_ready);
        let (restarts, period) = self.allowed;
        let exceeded = |delay| Action::Tell(Happening::IntensityExceeded { restarts, period, delay });
        self.exceeded = !matches!(next, Next::After(_));
        if let Some(mut incoming) = self.incoming.take() {
            // The one that was to take over is the replacement, and is on its way already.
            incoming.after_death = true;
            out.push(Action::AfterDeath { generation: incoming.generation });
            self.current = Some(incoming);
            return;
        }
        let delay = match next {
            // It has cost its limit to find out; that is pause enough.
            Next::After(_) if wedged => Duration::ZERO,
            Next::After(delay) => delay,
            Next::ExceededAfter(delay) => {
                out.push(exceeded(Some(delay)));
                delay
            }
            Next::GiveUp => {
                out.push(exceeded(None));
                self.end.get_or_insert_default().outcome = Some(Outcome::IntensityExceeded);
                return;
            }
        };
        out.push(Action::Tell(Happening::Restarting { generation: self.generation + 1, delay }));
        self.restart_at = Some(now + delay);
        self.time(now, out);
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Action>) {
        if self.workers().next().is_some() {
            return;
        }
        let Some(End { outcome, bad, .. }) = &mut self.end else { return };
        let stopped = || bad.take().map_or(Outcome::Stopped, Outcome::StoppedBadly);
        out.push(Action::Finish(outcome.take().unwrap_or_else(stopped)));
    }
}
