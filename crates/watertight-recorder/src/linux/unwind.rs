//! From a copy of a stack to the addresses of its frames.

use framehop::Unwinder;

use super::modules::Modules;
use super::signal::Snapshot;

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, PtrAuthMask, UnwindRegsAarch64 as UnwindRegs};
#[cfg(target_arch = "x86_64")]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as UnwindRegs};

/// Far more than are kept: a stack that does not end is a recursion, of which the beginning says enough.
const MAX_FRAMES: usize = 256;

/// The addresses to look up, from the innermost outwards. As far as the tables go.
pub(super) fn frames(snapshot: &Snapshot, modules: &Modules) -> Vec<u64> {
    let Modules(unwinder) = modules;
    let mut cache = Cache::<_>::new();
    let mut read = |address| snapshot.word(address).ok_or(());
    let registers = snapshot.registers;
    #[cfg(target_arch = "x86_64")]
    let start = UnwindRegs::new(registers.pc, registers.sp, registers.fp);
    #[cfg(target_arch = "aarch64")]
    let start = UnwindRegs::new_with_ptr_auth_mask(
        PtrAuthMask::from_max_known_address(unwinder.max_known_code_address()),
        registers.lr,
        registers.sp,
        registers.fp,
    );
    let mut found = unwinder.iter_frames(registers.pc, start, &mut cache, &mut read);
    let mut frames = Vec::new();
    while frames.len() < MAX_FRAMES
        && let Ok(Some(frame)) = found.next()
    {
        // Of a return address, the call before it.
        frames.push(frame.address_for_lookup());
    }
    frames
}
