//! Starting a worker's process.

use std::{
    env, io,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{self, Command, Stdio},
};

use super::{
    channel::Channel,
    greeting::{Greeting, PROTOCOL},
};
use crate::{Descriptors, SupervisorSettings};
use command_fds::{CommandFdExt as _, FdMapping};

/// Set for a worker, to the protocol, its version, and the process id of the parent. Not `WATERTIGHT_…`: those are settings.
pub(super) const VARIABLE: &str = "SUPERVISED_BY";
/// The first descriptor that is handed down, as systemd does it (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// What a service manager tells the parent and means the parent only.
const FOR_THE_PARENT: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Starts it and answers its process id and the channel to it.
///
/// The listening sockets are its descriptors 3 and above, with `LISTEN_FDS` as systemd has it and without `LISTEN_PID`, which
/// nobody can know before the process is there; most programs do not ask for it. Standard input is the channel. It is
/// the leader of a process group of its own: Ctrl-C in a terminal is for the parent, which asks it to end.
pub(super) fn spawn(
    settings: &SupervisorSettings,
    listeners: &[TcpListener],
    greeting: &Greeting,
    descriptors: &Descriptors,
) -> io::Result<(u32, Channel)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    greeting.send(&ours, descriptors)?;

    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).stdin(Stdio::from(OwnedFd::from(theirs))).process_group(0);
    for name in FOR_THE_PARENT {
        command.env_remove(name);
    }
    command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
    command.env(VARIABLE, format!("{PROTOCOL}{}", process::id()));
    let mut mappings = Vec::new();
    // Each copy takes the lowest free number, so that in the end every number which becomes a listening socket in the child is
    // taken here. The standard library's own pipe, through which it learns that a program could not be run, would
    // otherwise be given one of them and be overwritten.
    for (listener, child_fd) in listeners.iter().zip(FIRST..) {
        mappings.push(FdMapping { parent_fd: listener.try_clone()?.into(), child_fd });
    }
    if !mappings.is_empty() {
        command.env("LISTEN_FDS", mappings.len().to_string());
    }
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // Whoever waits for the child is the parent's loop; what `Child` would do is done there.
    Ok((command.spawn()?.id(), Channel::new(ours)))
}

/// Whether the parent that has set [`VARIABLE`] is this process's parent; `None`: it is not set.
pub(super) fn parent_is_supervisor() -> Option<bool> {
    let value = env::var_os(VARIABLE)?;
    let supervisor = value.to_str().and_then(|value| value.strip_prefix(PROTOCOL)?.parse().ok());
    Some(supervisor.is_some_and(|pid: u32| pid == std::os::unix::process::parent_id()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::io::fcntl_dupfd_cloexec;

    use super::*;

    #[test]
    fn a_program_that_cannot_be_run_is_told_even_where_low_descriptors_are_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let high = |_| TcpListener::from(fcntl_dupfd_cloexec(&listener, 200).unwrap());
        // Enough to reach above whatever the tests beside this one have open.
        let listeners: Vec<_> = (0..60).map(high).collect();
        let greeting = Greeting {
            generation: 1,
            after_death: false,
            drain_timeout: Duration::ZERO,
            listeners: listeners.len(),
        };
        let settings = SupervisorSettings::program("/nonexistent");
        let error = spawn(&settings, &listeners, &greeting, &Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
