//! The queue from the panic hook to the recovery thread: bounded and without locks.

use std::task::{Context, Poll};

use crate::fault::Report;
use crate::sync::{ArrayQueue, AtomicU64, AtomicWaker, Ordering};

/// How many faults can wait. A process with 10,000 clients that all panic in one instant loses none.
const CAPACITY: usize = 16 * 1024;

pub(crate) struct Mailbox {
    queue: ArrayQueue<Box<Report>>,
    waker: AtomicWaker,
    overflow: AtomicU64,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity), waker: AtomicWaker::new(), overflow: AtomicU64::new(0) }
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

#[cfg(all(test, not(watertight_loom)))]
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

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use std::task::Waker;

    use super::*;
    use crate::fault::{Attribution, Fault};
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread::{self, JoinHandle};

    fn report(message: &str) -> Box<Report> {
        Box::new(Report::new(Fault::Panic, Attribution::Unattributed, None, None, message))
    }

    fn pushes(mailbox: &Arc<Mailbox>, message: &'static str) -> JoinHandle<bool> {
        let mailbox = Arc::clone(mailbox);
        thread::spawn(move || mailbox.push(report(message)).is_ok())
    }

    /// Two threads panic while the recovery falls asleep: it wakes for both, and gets each once. Were it left
    /// asleep, loom would see a deadlock.
    #[test]
    fn loom_no_report_is_left_sleeping() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::with_capacity(2));
            let pushed = [pushes(&mailbox, "a"), pushes(&mailbox, "b")];
            let mut received = [0; 2].map(|_| block_on(mailbox.receive()).origin.message);
            received.sort();
            assert_eq!(received, ["a", "b"]);
            assert!(pushed.into_iter().all(|thread| thread.join().unwrap()));
            assert_eq!(mailbox.overflow(), 0);
        });
    }

    /// Two threads find the queue full, or the recovery has made room: a report is received or counted, never both.
    #[test]
    fn loom_what_is_not_received_is_counted() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::with_capacity(1));
            assert!(mailbox.push(report("first")).is_ok());
            let pushed = [pushes(&mailbox, "a"), pushes(&mailbox, "b")];
            assert_eq!(block_on(mailbox.receive()).origin.message, "first");
            let refused = pushed.into_iter().map(|thread| u64::from(!thread.join().unwrap())).sum::<u64>();
            let mut context = Context::from_waker(Waker::noop());
            let second = u64::from(mailbox.poll_receive(&mut context).is_ready());
            assert_eq!(mailbox.overflow(), refused);
            assert_eq!(second + mailbox.overflow(), 2);
        });
    }
}
