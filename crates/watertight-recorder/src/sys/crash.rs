//! The handler of signals that end the process: it marks who dies.

use std::sync::atomic::AtomicU64;

use crash_handler::{CrashContext, CrashEventResult, CrashHandler, make_crash_event};
use watertight::flight::{Crash, mark};

use crate::{Dumper, NotRecorded};

/// Marks the thread that gets such a signal in `words`, from now on and for the rest of the process's life. The process
/// dies of the signal as it would have.
pub(crate) fn mark_crashes(words: &'static [AtomicU64], dumper: Option<Dumper>) -> Result<(), NotRecorded> {
    // SAFETY: the closure runs in a signal's handler, at any point of any code. It only reads the context that it is given,
    // stores into memory that stays for ever, and makes three system calls that a handler may make: no lock, no allocation,
    // no panic.
    let event = unsafe {
        make_crash_event(move |context: &CrashContext| {
            mark(words, &crash_of(context));
            if let Some(dumper) = &dumper {
                dumper.request(context);
            }
            // The default handler next, and not that of Rust's runtime, which takes its time to say what our parent says.
            CrashEventResult::Handled(true)
        })
    };
    let handler = CrashHandler::attach(event).map_err(|error| NotRecorded::Signals(error.to_string()))?;
    // Dropping it would detach it.
    std::mem::forget(handler);
    Ok(())
}

fn crash_of(context: &CrashContext) -> Crash {
    let info = &context.siginfo;
    // What crash-handler calls `signalfd_siginfo` is the bytes of a `siginfo_t`. In that, after the code and a gap, stand
    // the address, or the process and the user who sent the signal: where the other has user and file.
    let (first, second) = (info.ssi_uid, info.ssi_fd.cast_unsigned());
    let by_itself = info.ssi_code > 0;
    Crash {
        thread: u64::try_from(context.tid).unwrap_or(0),
        signal: info.ssi_signo.cast_signed(),
        code: info.ssi_code,
        address: if by_itself { u64::from(first) | u64::from(second) << 32 } else { 0 },
        stack: stack_pointer(context),
        sender: if by_itself { 0 } else { first },
    }
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &CrashContext) -> u64 {
    // `REG_RSP`.
    context.context.uc_mcontext.gregs[15].cast_unsigned()
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &CrashContext) -> u64 {
    context.context.uc_mcontext.sp
}
