//! What a thread waits for, as the kernel says it: whether a signal would be felt.

use std::fmt;
use std::fs;
use std::os::fd::RawFd;

use super::signal;

/// What a thread does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It runs, or waits for the processor or for memory.
    No,
    /// It waits in this system call, whose first argument is that.
    In(libc::c_long, u64),
}

impl Waits {
    /// Asks the kernel; `None` when that does not say, or the thread has ended.
    pub(super) fn of(thread: libc::pid_t) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?)
    }

    /// Reads `running`, `-1 SP PC`, or `NUMBER ARGUMENT… SP PC`.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        match words.next()? {
            "running" | "-1" => Some(Self::No),
            number => {
                let first = words.next()?.strip_prefix("0x")?;
                Some(Self::In(number.parse().ok()?, u64::from_str_radix(first, 16).ok()?))
            }
        }
    }

    /// Whether a signal's handler can run without the program noticing: signal(7) lists what is restarted after it. Users
    /// of futexes must be prepared to be woken for nothing, and Rust's sleep goes on until its time has come.
    pub(super) fn may_be_interrupted(self) -> bool {
        let Self::In(number, first) = self else { return true };
        let file = RawFd::try_from(first).ok();
        match number {
            libc::SYS_futex | libc::SYS_nanosleep | libc::SYS_clock_nanosleep => true,
            libc::SYS_read | libc::SYS_write | libc::SYS_readv | libc::SYS_writev => {
                file.is_some_and(|file| is_pipe(file) || signal::is_socket_without_timeout(file))
            }
            libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_sendto | libc::SYS_sendmsg => {
                file.is_some_and(signal::is_socket_without_timeout)
            }
            _ => false,
        }
    }
}

/// Waiting at a pipe is taken up again after a signal.
fn is_pipe(file: RawFd) -> bool {
    fs::read_link(format!("/proc/self/fd/{file}"))
        .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"pipe:"))
}

/// For people, in place of a stack.
impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("running"),
            Self::In(number, _) => {
                f.write_str("in the system call ")?;
                match name(*number) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "number {number}")?,
                }
                f.write_str(", which is not interrupted to see where it was called from")
            }
        }
    }
}

/// The names of those in which threads usually block.
fn name(number: libc::c_long) -> Option<&'static str> {
    Some(match number {
        libc::SYS_accept | libc::SYS_accept4 => "accept",
        libc::SYS_connect => "connect",
        libc::SYS_epoll_pwait => "epoll_wait",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => "epoll_wait",
        libc::SYS_fcntl => "fcntl",
        libc::SYS_fdatasync => "fdatasync",
        libc::SYS_flock => "flock",
        libc::SYS_fsync => "fsync",
        libc::SYS_openat => "open",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => "poll",
        libc::SYS_ppoll => "poll",
        libc::SYS_pread64 | libc::SYS_read | libc::SYS_readv => "read",
        libc::SYS_pselect6 => "select",
        libc::SYS_pwrite64 | libc::SYS_write | libc::SYS_writev => "write",
        libc::SYS_recvfrom | libc::SYS_recvmsg => "recv",
        libc::SYS_sendto | libc::SYS_sendmsg => "send",
        libc::SYS_wait4 | libc::SYS_waitid => "wait",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(Waits::parse("running\n"), Some(Waits::No));
        assert_eq!(Waits::parse("-1 0x7ffd 0x7f00\n"), Some(Waits::No));
        let futex = "202 0x7f10 0x80 0x0 0x0 0x0 0xffffffff 0x7ffd 0x7f00\n";
        assert_eq!(Waits::parse(futex), Some(Waits::In(202, 0x7f10)));
        for wrong in ["", "\n", "x 0x1", "202", "202 7"] {
            assert_eq!(Waits::parse(wrong), None, "{wrong:?}");
        }
        assert!(Waits::of(signal::this_thread()).is_some());
    }

    #[test]
    fn what_ends_early_after_a_signal_is_not_interrupted() {
        let may =
            |number, file: &dyn AsRawFd| Waits::In(number, file.as_raw_fd() as u64).may_be_interrupted();
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let file = fs::File::open("/proc/self/stat").expect("a file");
        assert!(Waits::No.may_be_interrupted());
        assert!(may(libc::SYS_read, &reader) && !may(libc::SYS_read, &file));
        assert!(!may(libc::SYS_recvfrom, &reader) && !may(libc::SYS_ppoll, &reader));
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert!(may(libc::SYS_recvfrom, &socket) && may(libc::SYS_read, &socket));
        socket.set_write_timeout(Some(Duration::from_secs(9))).expect("a socket");
        assert!(!may(libc::SYS_recvfrom, &socket) && !may(libc::SYS_read, &socket));
        assert!(Waits::In(libc::SYS_recvfrom, 3).to_string().starts_with("in the system call recv, "));
    }
}
