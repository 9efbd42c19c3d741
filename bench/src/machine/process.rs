//! Other processes: whose children they are, how they are ended, and what waits for them.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};

/// The processes that a process has started and that run. `None` where the operating system does not tell.
pub(crate) fn children(process: u32) -> Option<Vec<u32>> {
    let mut children = offspring(process)?;
    children.retain(|&child| runs(child));
    Some(children)
}

/// The same with those that have ended and that nobody has waited for.
pub(super) fn offspring(process: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    // Each thread has its own.
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()?.map_while(Result::ok) {
        match fs::read_to_string(task.path().join("children")) {
            Ok(listed) => {
                children.extend(listed.split_whitespace().filter_map(|child| child.parse::<u32>().ok()))
            }
            // The thread has ended meanwhile, and others have its children.
            Err(_) if !task.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Makes this process the parent of those that descend from it and lose theirs, so that what they used is still known: a
/// worker outlives its killed parent. Nobody waits for them, so they stay listed until this process ends.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        // Without it their time counts as that of others.
        _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// Whether it is there and has not ended.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name may hold anything, also spaces and brackets.
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// Ends a process by SIGKILL.
#[cfg(unix)]
pub(crate) fn kill(process: u32) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};

    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("no process")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill the process {process}"))
}

/// Ends a process by SIGKILL.
#[cfg(not(unix))]
pub(crate) fn kill(process: u32) -> Result<()> {
    anyhow::bail!("the process {process} cannot be killed on this system")
}

/// How many connections wait at an address for being accepted. `None` where the operating system does not tell.
pub(crate) fn backlog(address: SocketAddr) -> Option<u64> {
    // Those that listen come first, and behind them come all that are open.
    let mut table = [0; 16 * 1024];
    let read = File::open("/proc/net/tcp").ok()?.read(&mut table).ok()?;
    waiting(&String::from_utf8_lossy(&table[..read]), address.port())
}

/// Of `sl local_address rem_address st tx_queue:rx_queue ...`, all numbers in hexadecimal; the second queue of a socket
/// that listens (0A) is its backlog.
fn waiting(table: &str, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (_, waiting) = queues.split_once(':')?;
        let listens = state == "0A" && local.ends_with(&port);
        listens.then(|| u64::from_str_radix(waiting, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_backlog_of_who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr\n\
            0: 0100007F:0BBA 00000000:0000 01 00000000:00000007 00:00000000\n\
            1: 0100007F:0BBA 00000000:0000 0A 00000000:000000FF 00:00000000\n";
        assert_eq!((waiting(table, 0x0BBA), waiting(table, 0x0BBB)), (Some(255), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn those_who_wait_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _waiting: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        assert_eq!(backlog(address), Some(3));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_is_found_until_it_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let ours = || children(std::process::id()).unwrap();
        assert!(ours().contains(&child.id()));
        kill(child.id()).unwrap();
        child.wait().unwrap();
        assert!(!ours().contains(&child.id()));
    }
}
