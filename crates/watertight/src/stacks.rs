//! Stacks of threads that block, taken by whoever can: the core has no code for any platform.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::fault::truncated;
use crate::guard::quietly;

/// The longest stack that is kept, in bytes.
const MAX_LEN: usize = 16 * 1024;

static STACKS: OnceLock<Box<dyn Stacks>> = OnceLock::new();

/// Names the frames of a stack that was taken. May take long: it is called once, away from the threads that watch and seal.
pub type NameFrames = Box<dyn FnOnce() -> Option<String> + Send>;

/// Takes the stack of another thread while that blocks. See [`Builder::stacks`](crate::Builder::stacks).
pub trait Stacks: Send + Sync + 'static {
    /// What [`capture`](Self::capture) knows the calling thread by. Called on each thread when it is first watched; 0 for a
    /// thread whose stack cannot be taken.
    fn enrol(&self) -> u64;

    /// Where that thread is right now. Called on the watchdog's thread, which looks at nobody else meanwhile: it should take
    /// no longer than 20 ms. The thread may have ended.
    fn capture(&self, thread: u64) -> Option<NameFrames>;
}

/// Sets what takes stacks, once in a process.
pub(crate) fn set(stacks: Box<dyn Stacks>) {
    // `install` is called once.
    let _ = STACKS.set(stacks);
}

/// What the calling thread is known by; 0 when its stack cannot be taken.
pub(crate) fn enrol() -> u64 {
    STACKS.get().and_then(|stacks| quietly(|| stacks.enrol())).unwrap_or(0)
}

/// The stack of that thread.
pub(crate) fn capture(thread: u64) -> Option<Arc<Stack>> {
    let stacks = STACKS.get().filter(|_| thread != 0)?;
    let name = quietly(|| stacks.capture(thread)).flatten()?;
    Some(Arc::new(Stack { name: Mutex::new(Some(name)), text: OnceLock::new() }))
}

/// A stack whose frames are named when somebody wants to read them.
pub(crate) struct Stack {
    name: Mutex<Option<NameFrames>>,
    text: OnceLock<Option<Arc<str>>>,
}

impl Stack {
    /// The names: slow for whoever is first, and for those who come meanwhile.
    pub(crate) fn named(&self) -> Option<Arc<str>> {
        let name = || {
            let mut text = quietly(self.name.lock().take()?).flatten()?;
            truncated(&mut text, MAX_LEN);
            Some(text.into())
        };
        self.text.get_or_init(name).clone()
    }

    /// The names, when they are known already.
    pub(crate) fn known(&self) -> Option<Arc<str>> {
        self.text.get().cloned().flatten()
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("text", &self.text).finish_non_exhaustive()
    }
}
