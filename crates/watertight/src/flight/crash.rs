//! The mark that a dying thread leaves.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::board::layout::header;

/// Nobody has died.
const NONE: u64 = 0;
/// Somebody is writing.
const BEGUN: u64 = 1;
const COMPLETE: u64 = 2;

/// How far from the stack pointer a thread that has no stack left looks for some: the guard page is within a page or two of
/// it, further only for frames that are not probed page by page, as C makes them.
const NEAR_BELOW: u64 = 1024 * 1024;
const NEAR_ABOVE: u64 = 64 * 1024;

/// A signal that ends the process, as the handler saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The thread that got it, as [`Recorder::thread`](crate::Recorder::thread) calls it.
    pub thread: u64,
    /// The signal's number.
    pub signal: i32,
    /// The signal's code: positive when the thread's own instruction led to it.
    pub code: i32,
    /// The address that could not be accessed; 0 for signals that are about none.
    pub address: u64,
    /// The thread's stack pointer.
    pub stack: u64,
    /// The process that sent it; 0 when none did, or one that this one cannot see, from outside its container.
    pub sender: u32,
}

/// Notes how the process dies. The first call counts.
///
/// For a signal's handler: it takes no lock, allocates nothing, and cannot panic.
pub fn mark(words: &[AtomicU64], crash: &Crash) {
    let Some(state) = words.get(header::CRASH) else { return };
    if state.compare_exchange(NONE, BEGUN, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return;
    }
    let set = |word: usize, value: u64| {
        if let Some(word) = words.get(word) {
            word.store(value, Ordering::Relaxed);
        }
    };
    set(header::CRASH_THREAD, crash.thread);
    set(header::CRASH_SIGNAL, crash.signal as u64);
    set(header::CRASH_CODE, crash.code as u64);
    set(header::CRASH_ADDRESS, crash.address);
    set(header::CRASH_STACK, crash.stack);
    set(header::CRASH_SENDER, u64::from(crash.sender));
    state.store(COMPLETE, Ordering::Release);
}

impl Crash {
    /// What a header says; `None` when nothing was marked, or not to the end.
    pub(super) fn read(header: &[u64]) -> Option<Self> {
        let get = |word: usize| header.get(word).copied();
        if get(header::CRASH)? != COMPLETE {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "written from that many bits")]
        Some(Self {
            thread: get(header::CRASH_THREAD)?,
            signal: get(header::CRASH_SIGNAL)? as i32,
            code: get(header::CRASH_CODE)? as i32,
            address: get(header::CRASH_ADDRESS)?,
            stack: get(header::CRASH_STACK)?,
            sender: get(header::CRASH_SENDER)? as u32,
        })
    }

    /// Whether the thread itself is the reason: its own instruction, or the process `own` that aborts itself. A signal from
    /// elsewhere hits any thread, which has done nothing.
    #[must_use]
    pub fn is_its_own(&self, own: u32) -> bool {
        self.code > 0 || (self.sender == own && own != 0)
    }

    /// Whether the thread had no stack left.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        self.code > 0
            && self.stack != 0
            && self.address.saturating_add(NEAR_BELOW) >= self.stack
            && self.address <= self.stack.saturating_add(NEAR_ABOVE)
    }
}
