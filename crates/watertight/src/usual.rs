//! What is hardly ever otherwise, and what every message asks for.
//!
//! All of it is in one line of the processor's cache, with nothing beside it that is written more often: what is asked for
//! only once a message is otherwise fetched from farther away each time, since the rest of a message's way fills that cache.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static USUAL: Usual = Usual {
    ended_compartments: AtomicUsize::new(0),
    activities_off: AtomicUsize::new(0),
    has_lanes: AtomicBool::new(false),
};

#[repr(align(64))]
struct Usual {
    ended_compartments: AtomicUsize,
    activities_off: AtomicUsize,
    has_lanes: AtomicBool,
}

/// Whether every compartment that is there is live, and none that the registry has forgotten. Whoever knows that one has ended
/// sees it counted: it is before it ends, until it is dropped.
#[inline]
pub(crate) fn no_compartment_has_ended() -> bool {
    USUAL.ended_compartments.load(Ordering::Relaxed) == 0
}

/// A compartment is about to end, for the first time.
pub(crate) fn compartment_ends() {
    USUAL.ended_compartments.fetch_add(1, Ordering::Relaxed);
}

/// One that has ended is dropped.
pub(crate) fn ended_compartment_is_gone() {
    USUAL.ended_compartments.fetch_sub(1, Ordering::Relaxed);
}

/// Whether no activity is switched off, in any set of breakers.
#[inline]
pub(crate) fn all_activities_are_on() -> bool {
    USUAL.activities_off.load(Ordering::Relaxed) == 0
}

/// Of one set of breakers so many are off now, instead of so many before.
pub(crate) fn activities_are_off(now: usize, before: usize) {
    // Wraps, as the sum does.
    USUAL.activities_off.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
}

/// Whether there are lanes.
#[inline]
pub(crate) fn has_lanes() -> bool {
    USUAL.has_lanes.load(Ordering::Relaxed)
}

/// There are lanes from now on.
pub(crate) fn lanes_have_started() {
    USUAL.has_lanes.store(true, Ordering::Relaxed);
}
