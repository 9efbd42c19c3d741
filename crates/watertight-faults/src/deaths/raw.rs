//! The one place with `unsafe` code: what cannot be done wrong without.

#![allow(unsafe_code, reason = "a fault that safe code cannot have")]

/// An address in the first page, which no system gives to programs.
const NOWHERE: *const u8 = std::ptr::without_provenance(8);

/// Reads from there, which ends the process.
pub(super) fn read_nowhere() {
    // SAFETY: there is none, and that is the purpose: the processor faults at the access, before anything is read. Volatile,
    // so that the compiler takes it as it is.
    let _ = unsafe { std::ptr::read_volatile(NOWHERE) };
}
