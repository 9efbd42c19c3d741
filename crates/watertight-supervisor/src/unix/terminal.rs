//! Whether the terminal that the parent was started in is gone.
//!
//! SIGHUP has two meanings. To a service it says "read your settings again". To a program in a terminal it says that the
//! window was closed; a server that went on then would keep its port, and nobody would see it.

use std::fs::{self, File};

/// The parent's terminal, if its end is the end of the parent.
#[derive(Debug)]
pub(super) struct Terminal {
    is_ours: bool,
}

impl Terminal {
    /// As it is now: before any signal is caught, because `nohup` shows in what is ignored.
    pub(super) fn now() -> Self {
        Self { is_ours: is_there() && !outlives_it() }
    }

    /// Whether it was there and is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_ours && !is_there()
    }
}

fn is_there() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether the process was started to outlive its terminal: with SIGHUP ignored, as `nohup` does it. Only Linux tells.
fn outlives_it() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is signal 1, which is SIGHUP.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_shows_in_what_is_ignored() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup("SigIgn:\tnonsense\n"));
    }
}
