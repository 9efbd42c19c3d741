//! The signal that has a thread copy its own stack, its handler, and the memory that it fills.
//!
//! A request goes through the states of [`Shot::state`]: the one who asks makes it `WANTED` of one thread, that thread's
//! handler makes it `TAKING` and then `TAKEN`, and the one who asked makes it `IDLE` again, having read what it needs. The
//! handler touches the rest only while it is `TAKING`, and the one who asks only while it is `TAKEN`.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Unsupported;

/// How much of a stack is copied: deep calls need tens of KiB, in builds without optimisation more.
const SIZE: usize = 256 * 1024;
/// What the kernel copies at once or not at all.
const PAGE: usize = 4096;
const PAGES: usize = SIZE / PAGE;

/// How long a thread gets to take its stack. A thread that runs needs microseconds.
const PATIENCE: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_micros(50);

const IDLE: u64 = 0;
const WANTED: u64 = 1;
const TAKING: u64 = 2;
const TAKEN: u64 = 3;

/// A state, and whose stack it is about. One number: a handler that comes late, for an earlier request, must not take what
/// is another thread's by now.
const fn of_thread(state: u64, thread: libc::pid_t) -> u64 {
    state | (thread as u64) << 2
}

static SHOT: Shot = Shot {
    state: AtomicU64::new(IDLE),
    taken: UnsafeCell::new(Taken {
        registers: Registers { pc: 0, sp: 0, fp: 0, lr: 0 },
        len: 0,
        pages: [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PAGES],
        stack: [0; SIZE],
    }),
};

/// The signal, once it has been chosen; held while a stack is taken.
static SIGNAL: Mutex<Option<libc::c_int>> = Mutex::new(None);

struct Shot {
    state: AtomicU64,
    taken: UnsafeCell<Taken>,
}

// SAFETY: `taken` is accessed by one thread at a time: by the handler that made the state `TAKING` until it makes it
// `TAKEN`, and by the one who holds `SIGNAL` while it is `TAKEN`. The handler's stores become visible with the release store of
// `TAKEN`, which the other one loads with acquire; and what that one has read is read before the release store of `WANTED`
// that lets the next handler begin.
unsafe impl Sync for Shot {}

struct Taken {
    registers: Registers,
    len: usize,
    /// Where to copy from. Here and not on the handler's stack, which may be a small alternate one.
    pages: [libc::iovec; PAGES],
    stack: [u8; SIZE],
}

/// What unwinding begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
    /// The link register, where there is one.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "there is none"))]
    pub(crate) lr: u64,
}

/// A thread's registers, and its stack from the stack pointer on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) registers: Registers,
    stack: Vec<u8>,
}

impl Snapshot {
    /// The eight bytes that stood at `address`.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.registers.sp)?).ok()?;
        let bytes = self.stack.get(at..at.checked_add(8)?)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    }
}

/// The right to take snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots(());

impl Snapshots {
    /// Chooses a signal and installs its handler, unless that has been done.
    pub(crate) fn new() -> Result<Self, Unsupported> {
        let mut signal = SIGNAL.lock();
        if signal.is_none() {
            can_copy()?;
            *signal = Some(take_signal().ok_or(Unsupported::NoSignal)?);
        }
        Ok(Self(()))
    }

    /// A snapshot of `thread`. `None` when it does not take one in time, has ended, or somebody else's is being taken.
    pub(crate) fn take(&self, thread: libc::pid_t) -> Option<Snapshot> {
        let signal = SIGNAL.try_lock()?;
        let signal = (*signal)?;
        let wanted = of_thread(WANTED, thread);
        // One that was taken too late for whoever asked is thrown away.
        if SHOT.state.load(Ordering::Acquire) & of_thread(TAKEN, 0) == TAKING {
            return None;
        }
        SHOT.state.store(wanted, Ordering::Release);
        // SAFETY: it takes three numbers. A thread of this process that does not exist is an error; the signal has our
        // handler, which was installed before `SIGNAL` was set.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
        if sent != 0 || !has_been_taken(of_thread(TAKEN, thread)) {
            // A signal that arrives after this finds nothing wanted. If the handler has begun already, its result is left
            // for the next one to throw away.
            let _ = SHOT.state.compare_exchange(wanted, IDLE, Ordering::Relaxed, Ordering::Relaxed);
            return None;
        }
        // SAFETY: the state is `TAKEN`, which only the holder of `SIGNAL` changes, and that is us.
        let taken = unsafe { &*SHOT.taken.get() };
        let snapshot =
            Snapshot { registers: taken.registers, stack: taken.stack[..taken.len.min(SIZE)].to_vec() };
        SHOT.state.store(IDLE, Ordering::Release);
        Some(snapshot)
    }
}

/// Waits until the handler is done, which makes the state `taken`.
fn has_been_taken(taken: u64) -> bool {
    let begun = Instant::now();
    while SHOT.state.load(Ordering::Acquire) != taken {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

/// The kernel's number of the calling thread.
pub(crate) fn this_thread() -> libc::pid_t {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Whether reading from it and writing to it wait without a limit: only then a signal does not end that early.
pub(crate) fn is_socket_without_timeout(file: RawFd) -> bool {
    [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].into_iter().all(|option| {
        let mut time = libc::timeval { tv_sec: 1, tv_usec: 0 };
        let mut len = size_of::<libc::timeval>() as libc::socklen_t;
        // SAFETY: the option is a `timeval`, which `time` is and `len` says. What is no socket, or has been closed, is an
        // error.
        let asked =
            unsafe { libc::getsockopt(file, libc::SOL_SOCKET, option, (&raw mut time).cast(), &raw mut len) };
        asked == 0 && (time.tv_sec, time.tv_usec) == (0, 0)
    })
}

/// Whether the kernel copies memory of this process for it.
fn can_copy() -> Result<(), Unsupported> {
    let (from, mut to) = ([7_u8; 8], [0_u8; 8]);
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    // SAFETY: `local` is memory that is ours to write; `remote` is only read.
    let copied =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    if copied == 8 && from == to {
        return Ok(());
    }
    Err(Unsupported::Memory(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)))
}

/// Gives a real-time signal that nobody handles our handler. From the last one on: programs choose their own from the first.
fn take_signal() -> Option<libc::c_int> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().find(|signal| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: `before` may be written; nothing is changed. A `sigaction` of zeros is a valid one.
        let before = unsafe {
            if libc::sigaction(*signal, std::ptr::null(), before.as_mut_ptr()) != 0 {
                return false;
            }
            before.assume_init()
        };
        if before.sa_sigaction != libc::SIG_DFL {
            return false;
        }
        // SAFETY: as above; then a handler of the form that `SA_SIGINFO` asks for is installed, which does what handlers
        // may (see there). With all other signals held back it is never interrupted by another handler.
        unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = take_own_stack;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_SIGINFO;
            libc::sigfillset(&raw mut action.sa_mask);
            libc::sigaction(*signal, &raw const action, std::ptr::null_mut()) == 0
        }
    })
}

/// The handler. It runs on the thread whose stack is wanted, at any point of any code. So it takes no lock, allocates
/// nothing, cannot panic, and leaves `errno` as it was.
extern "C" fn take_own_stack(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `errno` is the calling thread's own, and its address is valid for as long as that lives.
    let errno = unsafe { *libc::__errno_location() };
    // As a plain system call it is safe in a handler.
    let thread = this_thread();
    let (wanted, taking) = (of_thread(WANTED, thread), of_thread(TAKING, thread));
    if !context.is_null()
        && SHOT.state.compare_exchange(wanted, taking, Ordering::Acquire, Ordering::Relaxed).is_ok()
    {
        // SAFETY: the state is `TAKING`, and it was we who made it so.
        let taken = unsafe { &mut *SHOT.taken.get() };
        // SAFETY: with `SA_SIGINFO` the third argument is the interrupted thread's `ucontext_t`, for as long as the handler runs.
        taken.registers = registers(unsafe { &*context.cast::<libc::ucontext_t>() });
        let mut from = taken.registers.sp;
        for page in &mut taken.pages {
            let len = PAGE - (from as usize % PAGE);
            *page = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: len };
            from = from.wrapping_add(len as u64);
        }
        let local = libc::iovec { iov_base: taken.stack.as_mut_ptr().cast(), iov_len: SIZE };
        // SAFETY: `local` is memory that only we access now. What is read may be any address: the kernel stops before the
        // first page that is not there. As a plain system call it is safe in a handler.
        let copied = unsafe {
            let pages = taken.pages.as_ptr();
            libc::process_vm_readv(libc::getpid(), &raw const local, 1, pages, PAGES as libc::c_ulong, 0)
        };
        taken.len = usize::try_from(copied).unwrap_or(0);
        SHOT.state.store(of_thread(TAKEN, thread), Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let register = |number: libc::c_int| context.uc_mcontext.gregs[number as usize] as u64;
    Registers { pc: register(libc::REG_RIP), sp: register(libc::REG_RSP), fp: register(libc::REG_RBP), lr: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let context = &context.uc_mcontext;
    Registers { pc: context.pc, sp: context.sp, fp: context.regs[29], lr: context.regs[30] }
}
