//! The queue from the panic hook to the recovery thread: bounded and without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crossbeam_queue::ArrayQueue;
use futures_util::task::AtomicWaker;

use crate::fault::Report;

/// How many faults can wait. A process with 10,000 clients that all panic in one instant loses none.
const CAPACITY: usize = 16 * 1024;

pub(crate) struct Mailbox {
    queue: ArrayQueue<Box<Report>>,
    waker: AtomicWaker,
    overflow: AtomicU64,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { queue: ArrayQueue::new(CAPACITY), waker: AtomicWaker::new(), overflow: AtomicU64::new(0) }
    }

    /// Hands a report over, never waits. A full queue gives the report back and counts it.
    pub(crate) fn push(&self, report: Box<Report>) -> Result<(), Box<Report>> {
        let pushed = self.queue.push(report);
        if pushed.is_err() {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
        self.waker.wake();
        pushed
    }

    /// The next report. For the one consumer.
    pub(crate) async fn receive(&self) -> Box<Report> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Box<Report>> {
        if let Some(report) = self.queue.pop() {
            return Poll::Ready(report);
        }
        self.waker.register(cx.waker());
        // A report that came between the two looks has not woken anyone.
        self.queue.pop().map_or(Poll::Pending, Poll::Ready)
    }

    /// How many reports found the queue full.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Attribution, Fault};

    fn report() -> Box<Report> {
        Box::new(Report::new(Fault::Panic, Attribution::Unattributed, None, None, "x"))
    }

    #[test]
    fn a_full_queue_counts_and_does_not_block() {
        let mailbox = Mailbox::new();
        for _ in 0..CAPACITY {
            mailbox.push(report()).expect("there is room");
        }
        assert!(mailbox.push(report()).is_err());
        assert_eq!(mailbox.overflow(), 1);
    }

    #[tokio::test]
    async fn wakes_the_receiver() {
        let mailbox = std::sync::Arc::new(Mailbox::new());
        let receiver = tokio::spawn({
            let mailbox = std::sync::Arc::clone(&mailbox);
            async move { mailbox.receive().await.origin.message }
        });
        tokio::task::yield_now().await;
        std::thread::spawn(move || mailbox.push(report()).expect("there is room")).join().expect("no panic");
        assert_eq!(receiver.await.expect("no panic"), "x");
    }
}
