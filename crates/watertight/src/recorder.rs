//! Memory that outlives the process, given by whoever has some: the core has no code for any platform.

use std::sync::atomic::AtomicU64;

/// Keeps the board where somebody else can read it when this process is dead. See
/// [`Builder::recorder`](crate::Builder::recorder).
pub trait Recorder: Send + Sync + 'static {
    /// The memory: zeros, at least [`flight::WORDS`](crate::flight::WORDS) of them, written by nobody else.
    fn words(&self) -> &'static [AtomicU64];

    /// What the system knows the calling thread by; 0 when it has no such thing. A signal's handler must be able to tell it,
    /// to [mark](crate::flight::mark) who dies.
    fn thread(&self) -> u64;
}
