//! The atomics of the parts that loom models: `std`'s, or loom's under `--cfg watertight_loom`.

#[cfg(watertight_loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
#[cfg(not(watertight_loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
