//! Linux: the kernel copies the stack, in a signal's handler that does nothing else.

mod modules;
mod names;
mod unwind;
mod waits;

use std::sync::{Arc, LazyLock};

use watertight::{NameFrames, Stacks};

use crate::Unsupported;
use crate::sys::signal::{self, Snapshots};
use modules::Modules;
use waits::Waits;

/// Takes the stacks of threads that block. Only one is taken at a time in the process.
#[derive(Debug)]
pub struct ThreadStacks {
    snapshots: Snapshots,
    /// What is loaded, looked at when the first stack is named.
    modules: Arc<LazyLock<Modules>>,
}

impl ThreadStacks {
    /// Takes a real-time signal that nobody uses, for the rest of the process's life. Further ones share it.
    ///
    /// # Errors
    ///
    /// When stacks cannot be taken here.
    pub fn new() -> Result<Self, Unsupported> {
        if Waits::of(signal::this_thread()).is_none() {
            return Err(Unsupported::Waits);
        }
        Ok(Self { snapshots: Snapshots::new()?, modules: Arc::new(LazyLock::new(Modules::loaded)) })
    }
}

impl Stacks for ThreadStacks {
    fn enrol(&self) -> u64 {
        signal::this_thread().try_into().unwrap_or(0)
    }

    fn capture(&self, thread: u64) -> Option<NameFrames> {
        let thread = thread.try_into().ok()?;
        let waits = Waits::of(thread)?;
        if !waits.may_be_interrupted() {
            return Some(Box::new(move || Some(waits.to_string())));
        }
        let snapshot = self.snapshots.take(thread)?;
        let modules = Arc::clone(&self.modules);
        Some(Box::new(move || names::of(&unwind::frames(&snapshot, &modules))))
    }
}
