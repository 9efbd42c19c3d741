//! Platforms where it cannot be done.

use watertight::{NameFrames, Stacks};

use crate::Unsupported;

/// Takes the stacks of threads that block. There is none on this platform.
#[derive(Debug)]
pub struct ThreadStacks(std::convert::Infallible);

impl ThreadStacks {
    /// Answers that it cannot be done here.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn new() -> Result<Self, Unsupported> {
        Err(Unsupported::Platform)
    }
}

impl Stacks for ThreadStacks {
    fn enrol(&self) -> u64 {
        match self.0 {}
    }

    fn capture(&self, _thread: u64) -> Option<NameFrames> {
        match self.0 {}
    }
}
