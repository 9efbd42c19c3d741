//! What the parts that loom models are built on: the usual, or loom's and stand-ins under `--cfg watertight_loom`.

#[cfg(not(watertight_loom))]
pub(crate) use crossbeam_queue::ArrayQueue;
#[cfg(not(watertight_loom))]
pub(crate) use futures_util::task::AtomicWaker;
#[cfg(watertight_loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};
#[cfg(not(watertight_loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

#[cfg(watertight_loom)]
pub(crate) use stand_in::{ArrayQueue, AtomicWaker};

/// What loom cannot see into, with the same promises. The real ones are their crates' to prove.
#[cfg(watertight_loom)]
mod stand_in {
    use std::collections::VecDeque;
    use std::task::Waker;

    use loom::sync::Mutex;

    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }
    }

    pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            Self(loom::future::AtomicWaker::new())
        }

        pub(crate) fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub(crate) fn wake(&self) {
            self.0.wake();
        }
    }
}
