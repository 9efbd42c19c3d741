//! Deadlines of handlers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::recovery;

/// How long a piece of work may take. Costs a clock reading when the work begins and a timer once it has to wait: work
/// that is done at its first poll has neither. Part of every handler's task, so it is small: the limit is its scope's, and when
/// the work began is known to its first poll alone, which makes the timer.
#[derive(Default)]
pub(crate) struct Deadline {
    is_kept: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// One that is to be kept.
    pub(crate) fn kept() -> Self {
        Self { is_kept: true, timer: None }
    }

    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The work is about to be polled: when its time is over, if that does not run yet.
    pub(crate) fn begin(&self, limit: Duration) -> Option<Instant> {
        let now = self.timer.is_none().then(Instant::now)?;
        Some(now.checked_add(limit).unwrap_or(now))
    }

    /// Ready when the time is over. To be polled after the work, which has to wait, with what it was [begun](Self::begin) with.
    pub(crate) fn poll_passed(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match (&mut self.timer, due) {
            (Some(timer), _) => timer,
            (timer, Some(due)) => {
                // The timers of any other runtime stop while its threads are held, and panic when it has ended before the
                // handler: a server's may, while handlers run on lanes.
                let _context = recovery::enter_runtime();
                timer.insert(Box::pin(tokio::time::sleep_until(due)))
            }
            (None, None) => return Poll::Pending,
        };
        timer.as_mut().poll(cx)
    }

    #[cfg(test)]
    pub(crate) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }
}
