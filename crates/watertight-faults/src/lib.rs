//! Real faults, for tests, the lab and demonstrations. Nothing here belongs into a program that is meant to work.

mod deaths;
mod outlet;
mod panics;
mod transport;

pub use deaths::{abort, double_panic, exhaust_memory, has_memory_limit, kill, overflow_stack, segfault};
pub use panics::{PANIC_TEXT, PanicsWhenDeserialized, PanicsWhenDropped, panic_now};
pub use transport::{FaultyIo, FaultyListener, TransportFaults, fail_bodies};
