//! Strands: work that runs in the order it came, on whichever lane thread is free.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::guard::quietly;
use crate::lanes::{Drain, Lanes};

/// How many jobs a thread does for one strand before others get their turn.
const BATCH: usize = 32;

/// One piece of a [`Strand`]'s work.
pub trait Job: Send + 'static {
    /// Does it. Whatever is not ours in it must be guarded.
    fn run(self);

    /// How much memory it holds while it waits, in bytes, as far as it is worth counting.
    fn weight(&self) -> usize {
        0
    }
}

/// The bounds of what may wait in one strand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrandLimits {
    /// Jobs.
    pub jobs: usize,
    /// The sum of their [weights](Job::weight).
    pub weight: usize,
}

/// Runs jobs one after another, in the order they came. A job that blocks holds up its own strand and no other.
pub struct Strand<J> {
    lanes: &'static Lanes,
    limits: StrandLimits,
    line: Mutex<Line<J>>,
}

struct Line<J> {
    jobs: VecDeque<J>,
    weight: usize,
    /// Whether a lane thread has it, or will.
    running: bool,
}

impl<J: Job> Strand<J> {
    /// A strand without work, on `lanes`.
    pub fn new(lanes: &'static Lanes, limits: StrandLimits) -> Arc<Self> {
        let line = Line { jobs: VecDeque::new(), weight: 0, running: false };
        Arc::new(Self { lanes, limits, line: Mutex::new(line) })
    }

    /// Adds a job.
    ///
    /// # Errors
    ///
    /// The job itself, when as much as may is waiting already.
    pub fn push(self: &Arc<Self>, job: J) -> Result<(), J> {
        {
            let mut line = self.line.lock();
            let weight = line.weight + job.weight();
            if line.jobs.len() >= self.limits.jobs || (weight > self.limits.weight && !line.jobs.is_empty()) {
                return Err(job);
            }
            line.add(job);
            if std::mem::replace(&mut line.running, true) {
                return Ok(());
            }
        }
        self.lanes.drain(Arc::<Self>::clone(self));
        Ok(())
    }

    /// Adds a job, whatever waits already: for the few that must not be lost.
    pub fn push_anyway(self: &Arc<Self>, job: J) {
        {
            let mut line = self.line.lock();
            line.add(job);
            if std::mem::replace(&mut line.running, true) {
                return;
            }
        }
        self.lanes.drain(Arc::<Self>::clone(self));
    }

    /// Whether there is nothing to do, and nothing being done.
    pub fn is_idle(&self) -> bool {
        !self.line.lock().running
    }

    fn next(&self) -> Option<J> {
        let mut line = self.line.lock();
        let job = line.jobs.pop_front();
        match &job {
            Some(job) => line.weight = line.weight.saturating_sub(job.weight()),
            None => line.running = false,
        }
        job
    }
}

impl<J: Job> Line<J> {
    fn add(&mut self, job: J) {
        self.weight += job.weight();
        self.jobs.push_back(job);
    }
}

impl<J: Job> Drain for Strand<J> {
    fn drain(self: Arc<Self>) {
        for _ in 0..BATCH {
            match self.next() {
                Some(job) => {
                    quietly(|| job.run());
                }
                None => return,
            }
        }
        self.lanes.drain(Arc::<Self>::clone(&self));
    }
}

impl<J> std::fmt::Debug for Strand<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Strand").field("waiting", &self.line.lock().jobs.len()).finish_non_exhaustive()
    }
}
