//! Throws anything at what this project parses itself: `cargo xtask fuzz`.
//!
//! A [`Target`] takes any bytes and panics when what it promises about them does not hold. The [driver](Fuzzer) makes them
//! from a corpus, which is the folder `corpus/<target>`, and a list of words; what fails is written to
//! `failures/<target>`. Put it into the corpus when it is mended: every run begins with that.
//!
//! It runs on stable Rust. It knows nothing of the code's branches, so the words and the corpus have to lead it there.

mod drive;
mod mutate;
mod targets;

pub use drive::{Failure, Fuzzer, Ran};
pub use targets::{TARGETS, Target};

/// Counts what is allocated: no input may cost more than its length allows.
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// How many bytes have been allocated so far in this process.
fn allocated() -> usize {
    ALLOCATOR.total_allocated()
}
