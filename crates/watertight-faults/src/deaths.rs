//! Faults that end the process.

mod raw;

use std::hint::black_box;

/// How much [`exhaust_memory`] takes at once, in bytes.
const GULP: usize = 16 * 1024 * 1024;

/// Ends the process as a failed assertion in C does.
pub fn abort() -> ! {
    std::process::abort()
}

/// Calls itself until there is no stack left.
pub fn overflow_stack() -> ! {
    fn deeper(depth: u64) -> u64 {
        // More than a page of its own, so that it is quick; used after the call, so that the call is no jump.
        let frame = black_box([depth; 256]);
        if frame[0] == u64::MAX { 0 } else { deeper(depth + 1) + frame[1] }
    }

    unreachable!("{} calls deep", deeper(0))
}

/// Reads memory that is not there.
pub fn segfault() -> ! {
    raw::read_nowhere();
    unreachable!("there is memory at address 8")
}

/// Panics while it unwinds from a panic.
pub fn double_panic() -> ! {
    struct PanicsAgain;

    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            crate::panic_now("a destructor, during another panic");
        }
    }

    let _panics_again = PanicsAgain;
    crate::panic_now("a handler that will panic twice")
}

/// Kills the process as `kill -9` does.
pub fn kill() -> ! {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};

        let _sent = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
    #[cfg(not(unix))]
    std::process::exit(137)
}

/// Takes memory until there is none. Only where there is a limit: else the machine suffers.
pub fn exhaust_memory() -> ! {
    let mut taken = Vec::new();
    loop {
        let mut gulp = vec![0_u8; GULP];
        // Only what is written to is memory.
        gulp.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        taken.push(black_box(gulp));
    }
}

/// Whether [`exhaust_memory`] hurts this process only: there is a limit of its addresses, or of its control group's memory.
#[must_use]
pub fn has_memory_limit() -> bool {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};

        let of_its_group = || {
            let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
            let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
            let limit = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?;
            limit.trim().parse::<u64>().ok()
        };
        getrlimit(Resource::As).current.is_some() || of_its_group().is_some()
    }
    #[cfg(not(unix))]
    false
}
