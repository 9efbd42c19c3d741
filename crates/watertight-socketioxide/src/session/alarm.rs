//! Whether the engine has woken a poll request that waits, and nobody has come to see why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Stands between the engine and whoever polls a poll request.
///
/// The engine wakes the poll request of a session that it drops. While one waits in peace, the engine has its session.
pub(crate) struct Alarm {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Alarm {
    /// Of a poll request that the engine has not been asked yet: nothing is known of its session.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), task: AtomicWaker::new() })
    }

    /// The engine is about to be asked by the task of `waker`.
    pub(super) fn set(&self, waker: &Waker) {
        self.task.register(waker);
        self.rung.store(false, Ordering::Release);
    }

    /// The poll request waits no more.
    pub(super) fn end(&self) {
        self.rung.store(true, Ordering::Release);
        self.task.take();
    }

    /// Whether the engine has a poll request that it has no answer for.
    pub(super) fn is_quiet(&self) -> bool {
        !self.rung.load(Ordering::Acquire)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn is_quiet_from_when_the_engine_is_asked_until_it_answers() {
        let task = Arc::new(Task(AtomicBool::new(false)));
        let alarm = Alarm::new();
        assert!(!alarm.is_quiet(), "the engine has not been asked");
        alarm.set(&Waker::from(Arc::clone(&task)));
        assert!(alarm.is_quiet());
        Waker::from(Arc::clone(&alarm)).wake_by_ref();
        assert!(!alarm.is_quiet());
        assert!(task.0.load(Ordering::Acquire), "whoever polls it is told");
        alarm.set(Waker::noop());
        assert!(alarm.is_quiet(), "it has been asked again");
        alarm.end();
        assert!(!alarm.is_quiet());
    }
}
