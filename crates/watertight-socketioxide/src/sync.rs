//! What the parts that loom models are built on: the usual, or loom's under `--cfg watertight_loom`.

#[cfg(watertight_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
#[cfg(not(watertight_loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(watertight_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Loom's, which knows poisoning, with the face of the other.
#[cfg(watertight_loom)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(watertight_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}
