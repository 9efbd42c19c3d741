//! What else the machine was doing, as far as the operating system tells: a number that was measured on a busy machine
//! is not one of the program.

use std::fs;
use std::time::Duration;

/// CPU time so far, in the ticks of `/proc`.
#[derive(Clone, Copy)]
struct Ticks {
    /// Of all processors, idle or not.
    all: u64,
    idle: u64,
    /// Of the processes that are measured.
    ours: u64,
}

/// Watches the machine from its start on.
pub(crate) struct Watch {
    processes: Vec<u32>,
    before: Option<Ticks>,
}

impl Watch {
    /// Beside this process, `processes` do not count as others.
    pub(crate) fn start(processes: &[u32]) -> Self {
        let mut processes = processes.to_vec();
        processes.push(std::process::id());
        let before = ticks(&processes);
        Self { processes, before }
    }

    /// The part of the machine's CPU time that others used since the start, 0 to 1; a hypervisor is one of them.
    /// `None` where the operating system does not tell.
    pub(crate) fn others(&self) -> Option<f64> {
        let (before, now) = (self.before?, ticks(&self.processes)?);
        let since = |of: fn(&Ticks) -> u64| of(&now).saturating_sub(of(&before));
        let all = since(|ticks| ticks.all);
        let others = all.saturating_sub(since(|ticks| ticks.idle)).saturating_sub(since(|ticks| ticks.ours));
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let part = others as f64 / all.max(1) as f64;
        Some(part)
    }
}

/// How much CPU time a process has used, to within a tick. `None` where the operating system does not tell.
pub(crate) fn cpu_time(process: u32) -> Option<Duration> {
    let ticks = of_process(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// How much memory a process has resident, in bytes. `None` where the operating system does not tell.
pub(crate) fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// `USER_HZ`, which is the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// How many tasks wanted to run in the last minute. `None` where the operating system does not tell.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn ticks(processes: &[u32]) -> Option<Ticks> {
    let (all, idle) = of_machine(&fs::read_to_string("/proc/stat").ok()?)?;
    let ours = processes
        .iter()
        .filter_map(|process| of_process(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?));
    Some(Ticks { all, idle, ours: ours.sum() })
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are counted in user already.
fn of_machine(stat: &str) -> Option<(u64, u64)> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    Some((numbers.iter().sum(), numbers.get(3)? + numbers.get(4)?))
}

/// `pid (name) state ...`, with the user's and the system's time as the 14th and 15th field.
fn of_process(stat: &str) -> Option<u64> {
    // The name may hold anything, also spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).take(2).map(|number| number.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_proc() {
        assert_eq!(of_machine("cpu  1 2 3 40 5 6 7 8 9 10\ncpu0 1 1\n"), Some((72, 45)));
        let line = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        assert_eq!(of_process(line), Some(11 + 12));
    }
}
