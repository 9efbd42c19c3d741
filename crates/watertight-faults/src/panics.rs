//! Panics in all the places that code can panic in.

use serde::{Deserialize, Deserializer};

/// Is in the text of every panic of this crate, and so must never reach a client by default.
pub const PANIC_TEXT: &str = "deliberate panic";

/// Panics, saying where.
///
/// # Panics
///
/// Always.
#[track_caller]
pub fn panic_now(place: &str) -> ! {
    panic!("{PANIC_TEXT} in {place}")
}

/// A payload that cannot even be looked at.
#[derive(Debug)]
pub struct PanicsWhenDeserialized;

impl<'de> Deserialize<'de> for PanicsWhenDeserialized {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic_now("an extractor")
    }
}

/// A value whose destructor panics, unless the thread is panicking already: that would abort the process.
#[derive(Debug)]
pub struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_now("a destructor");
        }
    }
}
