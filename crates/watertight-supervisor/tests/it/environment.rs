//! What comes from the service manager, and what goes to the worker.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    process::Command,
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::process::Signal;

use crate::trial::{PATIENCE, Setup, begin, kill, poll_until, setup};

#[test]
fn sockets_of_the_service_manager_are_used() {
    let given = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = given.local_addr().unwrap();
    // A shell, because only the process itself knows the number for LISTEN_PID.
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\"", env!("CARGO_BIN_EXE_watertight-test-worker")]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web").env("TRIAL_SETTINGS", "listeners=2");
    command.fd_mappings(vec![FdMapping { parent_fd: given.into(), child_fd: 3 }]).unwrap();
    let setup = Setup::new(command, "");
    let mut trial = setup.start();
    let line = trial.wait_for("Listening");
    assert_eq!(line, format!("Listening {{ addresses: [{address}], inherited: true }}"));
    trial.address = address;
    trial.wait_for("Ready");
    let (pid, _, _) = trial.worker();
    kill(pid, Signal::KILL);
    assert_eq!(trial.worker().1, 2);
    let environment = trial.ask("/environment").unwrap();
    assert!(!environment.contains("LISTEN_FDS=1"), "the worker has taken them: {environment}");
    assert!(!environment.contains("LISTEN_PID") && !environment.contains("LISTEN_FDNAMES"), "{environment}");
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight-test-worker"));
    command.env("LISTEN_FDS", "1");
    command.fd_mappings(vec![FdMapping { parent_fd: datagram.into(), child_fd: 3 }]).unwrap();
    let mut trial = Setup::new(command, "").start();
    trial.wait_for("error: descriptor 0 of LISTEN_FDS");
    assert_eq!(trial.exit().code(), Some(71));
}

#[test]
fn nothing_but_what_is_meant_reaches_the_worker() {
    let mut trial = setup("board=1 listeners=2", "").begin();
    let (pid, _, _) = trial.worker();
    // The second worker must not have got what the parent holds for the first.
    for _ in 0..2 {
        // What this test was itself started with is passed on by everyone.
        let own = own_descriptors();
        let is_new = |line: &&str| !own.iter().any(|own| line.ends_with(own.as_str()));
        let mut descriptors = String::new();
        // A connection of before may not be closed yet; what leaks is never closed.
        poll_until(
            "the worker has two listeners, one connection, its channel and what it has opened itself",
            || {
                descriptors = trial.ask("/descriptors").unwrap();
                let count = |what: &str| {
                    descriptors.lines().filter(is_new).filter(|line| line.contains(what)).count()
                };
                (count("socket:"), count("memfd:")) == (2 + 1 + 1 + worker_sockets(), 1)
            },
        );
        assert!(descriptors.lines().any(|line| line == "0 /dev/null"), "{descriptors}");
        let inherited = trial.ask("/grandchild-descriptors").unwrap();
        let inherited: Vec<_> = inherited.lines().filter(is_new).collect();
        let leaks = |line: &&str| line.contains("socket:") || line.contains("memfd:");
        assert!(!inherited.iter().any(leaks), "{inherited:?}");
        if trial.worker().0 == pid {
            trial.signal(Signal::HUP);
            trial.wait_for("TakeoverEnded");
        }
    }
}

fn own_descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    entries.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

/// What the test's worker opens itself: a pair, of which one end is cloned for each of two signals, and signal-hook's own.
fn worker_sockets() -> usize {
    4
}

#[test]
fn a_relative_of_the_worker_is_no_worker() {
    let trial = begin("");
    let said = trial.ask("/relative").unwrap();
    assert!(said.contains("CannotStart") && said.contains("outcome: CannotStart"), "{said}");
}

#[test]
fn a_worker_without_its_channel_says_so() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" </dev/null", env!("CARGO_BIN_EXE_watertight-test-worker")]);
    command.env("SUPERVISED_BY", format!("watertight 1 {}", std::process::id()));
    let mut trial = Setup::new(command, "").start();
    trial.wait_for("not supervised: a supervisor has started this process");
    assert_eq!(trial.exit().code(), Some(1));
}

#[test]
fn any_program_that_takes_listen_fds_can_be_the_worker() {
    // It says what it was given, and waits.
    let script = std::env::temp_dir().join(format!("watertight-plain-{}", std::process::id()));
    std::fs::write(
        &script,
        "#!/bin/sh\necho \"fds $LISTEN_FDS pid <$LISTEN_PID>\"; ls -l /proc/self/fd/3 >&2\nexec sleep 60\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut trial = setup(&format!("ready_after=50 program={}", script.display()), "").start();
    assert_eq!(trial.wait_for("fds "), "fds 1 pid <>");
    trial.wait_for("Ready");
    trial.signal(Signal::TERM);
    assert_eq!(trial.exit().code(), Some(0));
    _ = std::fs::remove_file(script);
}

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("watertight-{name}-{}", std::process::id()));
        _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("the path is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("it has a limit");
        Self { socket, path }
    }

    /// The next message that contains this.
    fn wait_for(&self, what: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut bytes = [0; 4096];
            let count =
                self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{error}: no {what} in {seen}"));
            let message = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if message.contains(what) {
                return message;
            }
            seen.push_str(&message);
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn the_service_manager_is_kept_informed() {
    let manager = Manager::new("manager");
    let mut setup = setup("", "");
    setup.command.env("NOTIFY_SOCKET", &manager.path);
    let mut trial = setup.begin();
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=worker"), "{ready}");
    let environment = trial.ask("/environment").unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");

    assert!(trial.ask("/abort").is_err());
    manager.wait_for("STATUS=the worker died: signal 6 (SIGABRT)");
    let again = manager.wait_for("serves");
    assert!(!again.contains("READY"), "it was ready all the time: {again}");

    trial.wait_for("Died");
    trial.wait_for("Ready");
    trial.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    trial.wait_for("TakeoverEnded");
    trial.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(trial.exit().code(), Some(0));
}

#[test]
fn the_watchdog_hears_of_the_parent_while_all_is_well() {
    let manager = Manager::new("watchdog");
    let mut setup = setup("restarts=0 cap=600000 base=600000", "");
    setup.command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "40000");
    let mut trial = setup.begin();
    for _ in 0..3 {
        assert_eq!(manager.wait_for("WATCHDOG"), "WATCHDOG=1\n");
    }
    assert!(trial.ask("/abort").is_err());
    trial.wait_for("IntensityExceeded");
    // One may be on its way; then there is silence.
    manager.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = [0; 256];
    poll_until("the parent is silent", || manager.socket.recv(&mut bytes).is_err());
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    trial.signal(Signal::HUP);
    trial.wait_for("Ready");
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let settings = watertight_supervisor::SupervisorSettings::program("x").listen(address);
    let error = watertight_supervisor::Supervisor::new(settings).map(drop).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}
