//! What else the machine was doing, as far as the operating system tells: a number that was measured on a busy machine
//! is not one of the program.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::process::offspring;

/// CPU time so far, in the ticks of `/proc`.
#[derive(Clone, Copy)]
struct Ticks {
    machine: MachineTicks,
    /// Of the processes that are measured and measure.
    ours: u64,
}

/// All processors together.
#[derive(Clone, Copy, Debug, PartialEq)]
struct MachineTicks {
    /// Idle or not.
    all: u64,
    idle: u64,
    /// What the host gave to other machines.
    stolen: u64,
}

/// Watches the machine from its start on.
pub(crate) struct Watch {
    processes: Vec<u32>,
    before: Option<Ticks>,
}

/// Parts of the machine's CPU time, 0 to 1.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    /// Of other processes and of the kernel: its threads, and its interrupts where it tells them apart from the
    /// processes that they interrupt.
    pub(super) others: f64,
    /// Of the host.
    pub(super) stolen: f64,
}

impl Watch {
    /// Beside this process and all that descend from it, `processes` do not count as others.
    pub(crate) fn start(processes: &[u32]) -> Self {
        let mut processes = processes.to_vec();
        processes.push(std::process::id());
        let before = ticks(&processes);
        Self { processes, before }
    }

    /// The part of the machine's CPU time that others used since the start, 0 to 1; a hypervisor is one of them.
    /// `None` where the operating system does not tell.
    pub(crate) fn others(&self) -> Option<f64> {
        self.shares().map(|Shares { others, stolen }| others + stolen)
    }

    /// What others had since the start. `None` where the operating system does not tell.
    pub(super) fn shares(&self) -> Option<Shares> {
        Some(shares(self.before?, ticks(&self.processes)?))
    }
}

fn shares(before: Ticks, now: Ticks) -> Shares {
    let since = |of: fn(&Ticks) -> u64| of(&now).saturating_sub(of(&before));
    let all = since(|ticks| ticks.machine.all);
    let [idle, stolen, ours] =
        [since(|ticks| ticks.machine.idle), since(|ticks| ticks.machine.stolen), since(|ticks| ticks.ours)];
    // The machine's ticks are samples and those of processes are not, so ours may be more than there were.
    let others = all.saturating_sub(idle).saturating_sub(stolen).saturating_sub(ours);
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let part = |ticks: u64| ticks as f64 / all.max(1) as f64;
    Shares { others: part(others), stolen: part(stolen) }
}

/// How much CPU time a process has used, to within a tick. `None` where the operating system does not tell.
pub(crate) fn cpu_time(process: u32) -> Option<Duration> {
    let [ticks, _] = of_process(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
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
    let machine = of_machine(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(Ticks { machine, ours: of_families(processes)? })
}

/// What these processes have used, all that descend from them, and those that these have had and waited for.
fn of_families(processes: &[u32]) -> Option<u64> {
    let (mut known, mut ours) = (BTreeSet::new(), 0);
    let mut found = processes.to_vec();
    while let Some(process) = found.pop() {
        if !known.insert(process) {
            continue;
        }
        // One may be gone, and then its parent has what it used.
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        ours += of_process(&stat)?.iter().sum::<u64>();
        match offspring(process) {
            Some(children) => found.extend(children),
            None if !fs::exists(format!("/proc/{process}")).ok()? => {}
            None => return None,
        }
    }
    Some(ours)
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guests are counted in user already.
fn of_machine(stat: &str) -> Option<MachineTicks> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let &[_, _, _, idle, waiting, _, _, stolen] = numbers.as_slice() else { return None };
    Some(MachineTicks { all: numbers.iter().sum(), idle: idle + waiting, stolen })
}

/// `pid (name) state ...`, with the user's and the system's time as the 14th and 15th field, and the same of the children
/// that it has waited for behind them. Its own, and its children's.
fn of_process(stat: &str) -> Option<[u64; 2]> {
    // The name may hold anything, also spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map_while(|number| number.parse::<u64>().ok());
    let mut both = || Some(times.next()? + times.next()?);
    Some([both()?, both()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_proc() {
        let machine = MachineTicks { all: 72, idle: 45, stolen: 8 };
        assert_eq!(of_machine("cpu  1 2 3 40 5 6 7 8 9 10\ncpu0 1 1\n"), Some(machine));
        assert_eq!(of_machine("cpu  1 2 3"), None);
        let line = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        assert_eq!(of_process(line), Some([11 + 12, 13 + 14]));
    }

    #[test]
    fn others_are_whoever_is_neither_idle_nor_ours_nor_the_host() {
        let of = |all, idle, stolen, ours| Ticks { machine: MachineTicks { all, idle, stolen }, ours };
        let Shares { others, stolen } = shares(of(1_000, 500, 0, 100), of(1_200, 550, 20, 190));
        assert_eq!((others, stolen), (0.2, 0.1));
        // Ours are sometimes counted before the machine is.
        assert_eq!(shares(of(0, 0, 0, 0), of(100, 50, 0, 60)).others, 0.0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_what_its_children_used() {
        let used = || of_families(&[std::process::id()]).unwrap();
        let before = used();
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        // A child of a child, which is waited for, and a child that has ended and is not.
        let mut child =
            std::process::Command::new("sh").args(["-c", &format!("sh -c '{busy}'; true")]).spawn().unwrap();
        let pid = child.id();
        while super::super::children(std::process::id()).unwrap().contains(&pid) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let unwaited = used();
        assert!(unwaited > before, "{before} ticks, and {unwaited} with the child's");
        child.wait().unwrap();
        assert!(used() >= unwaited);
    }
}
