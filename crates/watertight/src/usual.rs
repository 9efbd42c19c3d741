//! What is hardly ever otherwise, and what every message asks for.
//!
//! All of it is in one line of the processor's cache, with nothing beside it that is written more often: what is asked for
//! only once a message is otherwise fetched from farther away each time, since the rest of a message's way fills that cache.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static USUAL: Usual = Usual {
    sealed_compartments: AtomicUsize::new(0),
    forgotten_compartments: AtomicUsize::new(0),
    activities_off: AtomicUsize::new(0),
    has_lanes: AtomicBool::new(false),
};

#[repr(align(64))]
struct Usual {
    sealed_compartments: AtomicUsize,
    forgotten_compartments: AtomicUsize,
    activities_off: AtomicUsize,
    has_lanes: AtomicBool,
}

/// Whether every compartment that is there is live. Whoever knows that one is being sealed sees it counted: it is before that
/// begins, until it is dropped.
#[inline]
pub(crate) fn no_compartment_is_sealed() -> bool {
    USUAL.sealed_compartments.load(Ordering::Relaxed) == 0
}

/// A compartment is about to be sealed.
pub(crate) fn compartment_is_sealed() {
    USUAL.sealed_compartments.fetch_add(1, Ordering::Relaxed);
}

/// One that was sealed is dropped, or somebody else has sealed it and counted it.
pub(crate) fn sealed_compartment_is_gone() {
    USUAL.sealed_compartments.fetch_sub(1, Ordering::Relaxed);
}

/// Whether the registry knows every compartment that is there, or never knew it. As above; with clients that come and go there
/// is one now and then.
#[inline]
pub(crate) fn no_compartment_is_forgotten() -> bool {
    USUAL.forgotten_compartments.load(Ordering::Relaxed) == 0
}

/// The registry is about to forget a compartment.
pub(crate) fn compartment_is_forgotten() {
    USUAL.forgotten_compartments.fetch_add(1, Ordering::Relaxed);
}

/// One that was forgotten is dropped, or known again.
pub(crate) fn forgotten_compartment_is_gone() {
    USUAL.forgotten_compartments.fetch_sub(1, Ordering::Relaxed);
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
