//! Deadlines of handlers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::recovery;

/// How long a piece of work may take. Costs a clock reading when the work begins and a timer once it has to wait: work
/// that is done at its first poll has neither. Part of every handler's task, so it is small: the limit is its scope's.
#[derive(Default)]
pub(crate) struct Deadline {
    due: Due,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Default)]
enum Due {
    /// The work may take as long as it likes.
    #[default]
    Never,
    /// It has not begun.
    Sometime,
    At(Instant),
}

impl Deadline {
    /// One that is to be kept.
    pub(crate) fn kept() -> Self {
        Self { due: Due::Sometime, timer: None }
    }

    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        !matches!(self.due, Due::Never)
    }

    /// The work is about to be polled: from the first time on, its time runs.
    pub(crate) fn begin(&mut self, limit: Duration) {
        if matches!(self.due, Due::Sometime) {
            let now = Instant::now();
            self.due = Due::At(now.checked_add(limit).unwrap_or(now));
        }
    }

    /// Ready when the time is over. To be polled after the work, which has to wait.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Due::At(due) = self.due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| {
            // The timers of any other runtime stop while its threads are held, and panic when it has ended before the
            // handler: a server's may, while handlers run on lanes.
            let _context = recovery::enter_runtime();
            Box::pin(tokio::time::sleep_until(due))
        });
        timer.as_mut().poll(cx)
    }

    #[cfg(test)]
    pub(crate) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }
}
