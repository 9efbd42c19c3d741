//! Whether any client at all may be behind with what it is sent.

use std::sync::atomic::{AtomicUsize, Ordering};

static THEY: AtomicUsize = AtomicUsize::new(0);

/// Held by a part of a compartment for as long as its client may be behind: without any, the recovery does not ask whose
/// [is](crate::Seal::absent). A sweep that asks all of tens of thousands each second, who all keep up, is most of what it
/// costs.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lagging {}

impl Lagging {
    /// From now on somebody may be.
    #[must_use = "nobody is when it is dropped"]
    #[expect(clippy::new_without_default, reason = "creating one is an event that is counted")]
    pub fn new() -> Self {
        THEY.fetch_add(1, Ordering::Relaxed);
        Self {}
    }

    /// Whether anybody may be.
    pub(crate) fn any() -> bool {
        THEY.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        THEY.fetch_sub(1, Ordering::Relaxed);
    }
}
