//! How a worker ended.

use std::{fmt, time::Duration};

/// A worker's process has ended: what the parent knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerDeath {
    /// Its process id, which may belong to another process by now.
    pub pid: u32,
    /// Which worker it was: 1 for the first, one more for each that was started after it.
    pub generation: u64,
    /// What the operating system says of the end.
    pub ending: Ending,
    /// Whether the kernel killed it because memory ran out. `None`: it was killed and nobody can say by whom, or the
    /// platform does not tell.
    pub oom_killed: Option<bool>,
    /// Whether it had said that it is ready.
    pub was_ready: bool,
    /// From its start to its end.
    pub uptime: Duration,
    /// What the parent had told it to do, if anything: `None` is a death that nobody asked for.
    pub told: Option<Told>,
}

/// What the operating system says of the end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It ended by itself, with this exit code.
    Exited(i32),
    /// It was ended by this signal.
    Signal(i32),
    /// The operating system does not say: another part of the program has waited for the process before the supervisor.
    Unknown,
}

/// Why the parent has told a worker to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Told {
    /// The whole service stops.
    Stop,
    /// Another worker has taken over.
    Drain,
    /// It was not ready in time.
    NotReady,
    /// It did not answer any more. See [`BlackBox::answered`](crate::BlackBox::answered).
    Wedged,
}

impl WorkerDeath {
    /// Whether this end was asked for: the service stops, or another worker has taken over.
    #[must_use]
    pub fn was_asked_for(&self) -> bool {
        matches!(self.told, Some(Told::Stop | Told::Drain))
    }

    /// Whether it was ended because it did not answer any more.
    #[must_use]
    pub fn was_wedged(&self) -> bool {
        self.told == Some(Told::Wedged)
    }
}

impl Ending {
    /// The exit code that a shell would show for it: the code itself, or 128 and the number of the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code & 0xff).unwrap_or(1),
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
            Self::Unknown => 1,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}{}", signal_name(*signal)),
            Self::Unknown => write!(f, "unknown"),
        }
    }
}

/// The signals of a death that have the same number on every Unix; the others are shown by number only.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        5 => " (SIGTRAP)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_has_the_code_that_a_shell_shows() {
        assert_eq!(Ending::Exited(0).shell_code(), 0);
        assert_eq!(Ending::Exited(3).shell_code(), 3);
        assert_eq!(Ending::Exited(-1).shell_code(), 255);
        assert_eq!(Ending::Signal(9).shell_code(), 137);
        assert_eq!(Ending::Signal(i32::MAX).shell_code(), 128);
        assert_eq!(Ending::Signal(11).to_string(), "signal 11 (SIGSEGV)");
    }
}
