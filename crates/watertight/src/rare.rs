//! What hardly ever is, and what every message asks for.
//!
//! It is in one line of the processor's cache, with nothing beside it that is written more often: what is asked for
//! only once a message is otherwise fetched from farther away each time, since the rest of a message's way fills that cache.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Of the whole process.
pub(crate) static RARE: CachePadded<Rare> = CachePadded::new(Rare {
    sealed_compartments: Count::none(),
    activities_off: Count::none(),
    lanes: Count::none(),
});

/// The compartments that the registry knew and does so no more, until they are dropped. In a line of its own, for with clients
/// that come and go there is one now and then; only poll requests ask.
pub(crate) static FORGOTTEN: CachePadded<Count> = CachePadded::new(Count::none());

/// How many there are of each. Whoever knows of one finds it counted: it is before it comes about, until after it is gone.
pub(crate) struct Rare {
    /// Compartments that are being sealed or have been, until they are dropped.
    pub(crate) sealed_compartments: Count,
    /// Activities that are switched off, in all sets of breakers together.
    pub(crate) activities_off: Count,
    /// The lanes, once they have started.
    pub(crate) lanes: Count,
}

/// How many there are of something rare. More than there are costs a closer look; fewer would hide one.
#[derive(Debug)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    const fn none() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn add_one(&self) {
        self.change(0, 1);
    }

    /// One that was added is gone.
    pub(crate) fn take_one(&self) {
        self.change(1, 0);
    }

    /// Of those that one owner knows there are so many now, instead of so many before.
    pub(crate) fn change(&self, before: usize, now: usize) {
        // Wraps, as the sum does.
        self.0.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_none_again_when_all_are_gone() {
        let count = Count::none();
        assert!(count.is_none());
        count.add_one();
        count.change(0, 3);
        count.take_one();
        count.change(3, 2);
        assert!(!count.is_none());
        count.change(2, 0);
        assert!(count.is_none());
    }
}
