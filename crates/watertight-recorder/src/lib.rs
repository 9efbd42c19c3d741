//! What is left of a process that dies, and where a thread that blocks is right now.
//!
//! # The flight recorder
//!
//! A parent makes [`shared_memory`], its worker inherits and [maps](FlightRecorder::map) it, and writes there whose work each
//! thread is at; a thread that gets a signal which ends the process [marks](FlightRecorder::mark_crashes) itself. When
//! the worker is dead the parent reads a [`Record`](watertight::flight::Record) of it. On every Unix; the marks on Linux.
//!
//! # Stacks of threads that block
//!
//! Seen from outside while they block:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use watertight::Watertight;
//! use watertight_recorder::ThreadStacks;
//!
//! let mut builder = Watertight::builder();
//! match ThreadStacks::new() {
//!     Ok(stacks) => builder = builder.stacks(stacks),
//!     Err(unsupported) => eprintln!("stalls are reported without a stack: {unsupported}"),
//! }
//! builder.install()?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works, and why it is safe
//!
//! Linux on x86-64 and ARM64; anywhere else [`ThreadStacks::new`] answers an error and nothing is changed.
//!
//! The thread is sent a real-time signal. Its handler notes four registers and has the kernel copy up to 256 KiB of the stack
//! into memory that was set aside before: one system call (`process_vm_readv`), which answers an error where there is no
//! memory and never faults. The handler takes no lock, allocates nothing, and does not unwind, so it does not matter
//! whether the thread is allocating, panicking, loading a library or holding any lock, nor which C library it is. The frames
//! are found and named afterwards, from the copy, on another thread.
//!
//! A signal can make some system calls end early with `EINTR`, whatever its flags: those that wait with a time limit, above
//! all, such as a read from a socket that has one. What would be felt by the program is not interrupted: the kernel is asked
//! first what the thread waits for, and it is sent the signal only while it computes, or waits for a lock, for a pipe, for a
//! socket without time limits, or for time to pass (`std::thread::sleep` goes on sleeping; a `sleep` of C's own, called
//! directly, ends early). In any other system call, only that is told.
//!
//! # What it does not promise
//!
//! - A thread that begins another system call in the few microseconds between the question and the signal is interrupted
//!   in that one.
//! - Code that was loaded after the first stack was taken, that was made at run time, or that has no unwind tables
//!   (`.eh_frame`) ends a stack early.
//! - A thread that blocks all signals, or does not run for 20 ms, has no stack.
//! - After a `fork` the child shares the handler and nothing else; an `exec` ends that.

#![warn(missing_docs)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere;
#[cfg(unix)]
mod flight;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod minidump;
#[cfg(unix)]
mod sys;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub use elsewhere::ThreadStacks;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use linux::ThreadStacks;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use self::minidump::{Dumper, dump_parent};
#[cfg(unix)]
pub use flight::{FlightFile, FlightRecorder, let_go_of_code, minidump_of, shared_journal, shared_memory};

/// Why a board cannot be kept for the parent to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRecorded {
    /// The memory that the parent gave is not enough.
    #[error(
        "the flight recorder's memory has {has} bytes and needs {needs}: parent and worker are of different builds"
    )]
    TooSmall {
        /// What it has, in bytes.
        has: u64,
        /// What this build needs, in bytes.
        needs: u64,
    },
    /// The memory cannot be used.
    #[error("the flight recorder's memory cannot be mapped")]
    Memory(#[source] std::io::Error),
    /// The handler cannot be installed.
    #[error("signals that end the process cannot be handled: {0}")]
    Signals(String),
    /// There is no way to do it on this platform.
    #[error("who dies is marked on Linux, on x86-64 and ARM64 only")]
    Platform,
}

/// Why stacks cannot be taken here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// There is no way to do it on this platform.
    #[error("stacks of other threads can be taken on Linux, on x86-64 and ARM64 only")]
    Platform,
    /// The kernel does not let the process read its own memory, as some sandboxes do.
    #[error("the kernel does not let the process copy its own stack (process_vm_readv: error {0})")]
    Memory(i32),
    /// The kernel does not say what a thread waits for.
    #[error("the kernel does not say what a thread waits for (/proc/self/task/ID/syscall cannot be read)")]
    Waits,
    /// Every real-time signal has a handler already.
    #[error("no real-time signal is free")]
    NoSignal,
}
