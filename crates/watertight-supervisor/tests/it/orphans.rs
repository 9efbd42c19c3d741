//! Nobody outlives the parent, and the parent of all reaps.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
};

use rustix::process::{Signal, geteuid};

use crate::trial::{Client, Setup, begin, kill, poll_until, runs, setup};

#[test]
fn a_worker_whose_parent_is_killed_drains_and_ends() {
    let mut trial = begin("");
    let (pid, _, _) = trial.worker();
    let mut slow = Client::connect(trial.address).unwrap();
    slow.send("/slow/200").unwrap();
    trial.wait_for("slow");
    trial.signal(Signal::KILL);
    trial.wait_for(&format!("orphaned {pid}"));
    assert_eq!(slow.receive().unwrap().body, "slow", "what had begun is finished");
    poll_until("the worker ends", || !runs(pid));
    wait_for_free_port(trial.address);
}

#[test]
fn a_worker_that_was_never_told_what_to_do_then_ends_at_once() {
    for plan in ["careless", "hang"] {
        let mut trial = setup("", plan).start();
        let address = trial.listening();
        trial.address = address;
        // The worker may speak before the parent has told that it was started.
        let ready = trial.wait_for_any(&["Ready", "hanging"]);
        let pid: u32 = match ready.strip_prefix("hanging ") {
            Some(pid) => pid.parse().expect("a process id"),
            None => trial.worker().0,
        };
        trial.signal(Signal::KILL);
        poll_until("the worker ends", || !runs(pid));
        wait_for_free_port(address);
    }
}

#[test]
fn a_worker_that_cannot_drain_is_killed_all_the_same() {
    let mut trial = begin("drain=1");
    let (pid, _, _) = trial.worker();
    trial.plan("stubborn");
    trial.signal(Signal::KILL);
    trial.wait_for("draining");
    poll_until("the worker is killed", || !runs(pid));
}

#[test]
fn grandchildren_keep_neither_the_port_nor_the_lifeline() {
    let mut trial = begin("");
    let (worker, _, _) = trial.worker();
    let grandchild: u32 = trial.ask("/grandchild").unwrap().parse().expect("a process id");
    let grandchild = Grandchild(grandchild);
    assert!(runs(grandchild.0));
    trial.signal(Signal::KILL);
    trial.wait_for("orphaned");
    poll_until("the worker ends", || !runs(worker));
    wait_for_free_port(trial.address);
    assert!(runs(grandchild.0), "it was not its end that has freed the port");
}

/// Nobody else ends it.
struct Grandchild(u32);

impl Drop for Grandchild {
    fn drop(&mut self) {
        kill(self.0, Signal::KILL);
    }
}

/// The kernel closes the parent's sockets one after the other: the worker may know before the port is free.
fn wait_for_free_port(address: SocketAddr) {
    poll_until("the port is free", || TcpListener::bind(address).is_ok());
}

#[test]
fn during_a_takeover_both_workers_notice() {
    let mut trial = begin("");
    let (old, _, _) = trial.worker();
    trial.plan("hang");
    trial.signal(Signal::HUP);
    let new: u32 = trial.wait_for("hanging").split(' ').nth(1).unwrap().parse().unwrap();
    trial.signal(Signal::KILL);
    poll_until("both workers end", || !runs(old) && !runs(new));
}

#[test]
fn whoever_loses_its_parent_is_reaped() {
    let mut trial = begin("subreaper=1");
    let orphan = trial.ask("/orphan").unwrap().trim().to_owned();
    trial.wait_for(&format!("Reaped {{ pid: {orphan} }}"));
    // Workers are still told from orphans.
    let (pid, _, _) = trial.worker();
    kill(pid, Signal::KILL);
    assert!(trial.wait_for("Died").contains("Signal(9)"));
    trial.wait_for("Ready");
}

/// `script` gives it a terminal, and takes that away when it is killed.
#[test]
fn a_closed_window_ends_the_service() {
    if !Command::new("script").arg("--version").output().is_ok_and(|it| it.status.success()) {
        eprintln!("this machine has no `script`");
        return;
    }
    let output = std::env::temp_dir().join(format!("watertight-window-{}", std::process::id()));
    let mut command = Command::new("script");
    let program = env!("CARGO_BIN_EXE_watertight-test-worker");
    // Whoever runs the tests may have been told to ignore hangups, and what they start is so too.
    // What it writes does not go to the terminal: this test wants to read it afterwards, too.
    command.args([
        "-q",
        "-c",
        &format!("exec env --default-signal=HUP {program} > {}", output.display()),
        "/dev/null",
    ]);
    let trial = Setup::new(command, "").start();
    let said = |what: &str| std::fs::read_to_string(&output).is_ok_and(|said| said.contains(what));
    poll_until("the first worker is ready", || said("Ready {"));
    trial.signal(Signal::KILL);
    poll_until("the supervisor ends", || said("outcome: Stopped"));
    assert!(said("Stopping { signal: 1 }"));
    _ = std::fs::remove_file(output);
}

/// Only root may make a process 1.
#[test]
fn process_1_of_a_container_supervises_and_reaps() {
    if !geteuid().is_root()
        || !Command::new("unshare").args(["--pid", "--fork", "true"]).status().is_ok_and(|it| it.success())
    {
        eprintln!("this machine does not let the test make a process 1");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(env!("CARGO_BIN_EXE_watertight-test-worker"));
    let mut trial = Setup::new(command, "").begin();
    let orphan = trial.ask("/orphan").unwrap().trim().to_owned();
    trial.wait_for(&format!("Reaped {{ pid: {orphan} }}"));
    assert!(trial.ask("/abort").is_err());
    assert!(trial.wait_for("Died").contains("Signal(6)"));
    trial.wait_for("Ready");
    // `unshare` passes no signal on; its only child is process 1.
    let children = format!("/proc/{0}/task/{0}/children", trial.parent.id());
    let init: u32 = std::fs::read_to_string(children).unwrap().trim().parse().expect("one child");
    kill(init, Signal::TERM);
    trial.wait_for("outcome: Stopped");
    assert_eq!(trial.exit().code(), Some(0));
}
