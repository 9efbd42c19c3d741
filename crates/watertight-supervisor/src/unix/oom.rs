//! Whether the kernel has killed a worker because memory ran out.
//!
//! A death by SIGKILL does not say by whom. The kernel counts the processes that it kills for memory: in each control group
//! (`memory.events` of version 2, `memory.oom_control` of version 1; since Linux 4.13), and in all (`/proc/vmstat`).
//! Elsewhere than on Linux there is none of these, and the answer is that nobody knows.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::Ending;

/// The counters that concern one worker, and what they showed when it was started.
#[derive(Debug)]
pub(super) struct OomCounters {
    group: Option<(PathBuf, u64)>,
    machine: Option<u64>,
}

const MACHINE: &str = "/proc/vmstat";
/// These files are short; a broken one shall not cost memory.
const MOST: u64 = 64 * 1024;
/// The same number on every Unix.
const SIGKILL: i32 = 9;

impl OomCounters {
    /// As they are now, for the process `pid`.
    pub(super) fn now(pid: u32) -> Self {
        let groups = read(Path::new(&format!("/proc/{pid}/cgroup"))).unwrap_or_default();
        let group = candidates(&groups).into_iter().find_map(|path| {
            let count = kills(&read(&path)?)?;
            Some((path, count))
        });
        Self { group, machine: machine() }
    }

    /// What they say of this end of the process.
    pub(super) fn verdict(&self, ending: Ending) -> Option<bool> {
        let group = self.group.as_ref().map(|(path, before)| {
            let after = read(path).and_then(|text| kills(&text));
            after.map(|after| after > *before)
        });
        let machine = self.machine.and_then(|before| Some(machine()? > before));
        judge(ending, group.flatten(), machine)
    }
}

/// `group` and `machine`: whether anyone was killed for memory there.
fn judge(ending: Ending, group: Option<bool>, machine: Option<bool>) -> Option<bool> {
    match ending {
        Ending::Exited(_) => Some(false),
        Ending::Signal(signal) if signal != SIGKILL => Some(false),
        Ending::Signal(_) | Ending::Unknown => match (group, machine) {
            // The count of all includes the group's.
            (_, Some(false)) | (Some(false), _) => Some(false),
            (Some(true), _) => Some(true),
            // Someone was, somewhere on this machine.
            (None, Some(true) | None) => None,
        },
    }
}

fn machine() -> Option<u64> {
    kills(&read(Path::new(MACHINE))?)
}

/// Where the counter may lie, by the contents of `/proc/PID/cgroup`.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                paths.push(Path::new(root).join(path).join("memory.events"));
            }
        } else if controllers.split(',').any(|controller| controller == "memory") {
            paths.push(Path::new("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"));
        }
    }
    paths
}

fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        assert_eq!(kills("low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(kills("oom_kill many\n"), None);
        assert_eq!(kills(""), None);
    }

    #[test]
    fn the_group_is_found_in_both_versions() {
        let paths = |text| candidates(text).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            paths("0::/system.slice/game.service\n"),
            [
                "/sys/fs/cgroup/system.slice/game.service/memory.events",
                "/sys/fs/cgroup/unified/system.slice/game.service/memory.events"
            ]
        );
        assert_eq!(
            paths("5:cpu,cpuacct:/x\n4:memory:/docker/1\nnonsense\n"),
            ["/sys/fs/cgroup/memory/docker/1/memory.oom_control"]
        );
    }

    #[test]
    fn only_a_kill_can_be_for_memory_and_doubt_stays_doubt() {
        let killed = Ending::Signal(9);
        assert_eq!(judge(Ending::Exited(137), Some(true), Some(true)), Some(false));
        assert_eq!(judge(Ending::Signal(6), Some(true), Some(true)), Some(false));
        assert_eq!(judge(killed, Some(true), Some(true)), Some(true));
        assert_eq!(judge(killed, Some(false), Some(true)), Some(false));
        assert_eq!(judge(killed, None, Some(false)), Some(false));
        assert_eq!(judge(killed, None, Some(true)), None);
        assert_eq!(judge(killed, None, None), None);
    }
}
