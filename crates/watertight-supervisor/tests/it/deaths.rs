//! Workers that die, and what follows.

use std::{io::ErrorKind, thread, time::Duration};

use rustix::process::Signal;

use crate::trial::{Client, Setup, begin, kill, poll_until, setup};

#[test]
fn a_worker_that_dies_is_replaced_at_once_and_told_so() {
    let mut trial = begin("");
    let (first, generation, after_death) = trial.worker();
    assert_eq!((generation, after_death), (1, false));

    assert!(trial.ask("/abort").is_err());
    let died = trial.wait_for("Died");
    assert!(died.contains("ending: Signal(6), oom_killed: Some(false), was_ready: true"), "{died}");
    assert!(trial.wait_for("Restarting").contains("delay: 0ns"));
    let ready = trial.wait_for("Ready");
    assert!(ready.contains("after_death: Some("), "{ready}");

    let (second, generation, after_death) = trial.worker();
    assert_ne!(first, second);
    assert_eq!((generation, after_death), (2, true));
    // Nobody else has asked for memory here meanwhile, or else nobody can say.
    kill(second, Signal::KILL);
    let died = trial.wait_for("Died");
    assert!(died.contains("Signal(9)") && !died.contains("oom_killed: Some(true)"), "{died}");
    trial.wait_for("Ready");
    assert!(trial.ask("/exit/3").is_err());
    assert!(trial.wait_for("Died").contains("ending: Exited(3)"));
}

#[test]
fn nobody_is_refused_while_workers_die() {
    let mut trial = begin("base=100 cap=200");
    let address = trial.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let (mut served, mut broken) = (0_u32, 0_u32);
                while served < 300 {
                    // Connecting must always succeed. What dies with the worker is what it had accepted.
                    let mut client = Client::connect(address).expect("a connection waits in the backlog");
                    match client.ask("/") {
                        Ok(_) => served += 1,
                        Err(error) => {
                            let kinds =
                                [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::BrokenPipe];
                            assert!(kinds.contains(&error.kind()), "{error:?}");
                            broken += 1;
                        }
                    }
                }
                broken
            })
        })
        .collect();
    for _ in 0..5 {
        let (pid, _, _) = trial.worker();
        kill(pid, Signal::KILL);
        trial.wait_for("Died");
        // In the backlog, or on the way to the next worker: it is answered.
        assert!(Client::connect(address).expect("nobody is refused").ask("/").is_ok());
        trial.wait_for("Ready");
    }
    for client in clients {
        client.join().expect("nobody was refused");
    }
}

#[test]
fn ten_deaths_in_a_row_follow_the_policy() {
    let mut trial = begin("base=4 cap=30 restarts=4 period=60000");
    let mut delays = Vec::new();
    for death in 1..=10_u32 {
        let (pid, _, _) = trial.worker();
        kill(pid, Signal::KILL);
        let exceeded = trial.wait_for_any(&["IntensityExceeded", "Restarting"]);
        assert_eq!(exceeded.starts_with("IntensityExceeded"), death > 4, "death {death}: {exceeded}");
        let line = if exceeded.starts_with("Intensity") { trial.wait_for("Restarting") } else { exceeded };
        let delay = line.split("delay: ").nth(1).expect("a delay").trim_end_matches(" }").to_owned();
        delays.push(delay);
        trial.wait_for("Ready");
    }
    assert_eq!(delays[0], "0ns");
    assert_eq!(delays[4..], ["30ms"; 6]);
}

#[test]
fn too_many_deaths_end_the_parent_where_it_is_told_so() {
    let mut trial = setup("restarts=1 exceeded=exit", "").begin();
    for _ in 0..2 {
        let (pid, _, _) = trial.worker();
        kill(pid, Signal::KILL);
        trial.wait_for("Died");
        if trial.wait_for_any(&["Ready", "outcome: IntensityExceeded"]).starts_with("outcome") {
            break;
        }
    }
    assert_eq!(trial.exit().code(), Some(70));
}

#[test]
fn the_first_worker_that_is_never_ready_is_a_fault_of_the_configuration() {
    for (plan, code) in [("exit 3", 78), ("exit 0", 78), ("signal kill", 137)] {
        let mut trial = setup("", plan).start();
        trial.wait_for("ConfigurationFault");
        assert_eq!(trial.exit().code(), Some(code), "{plan}");
        let restarted = trial.everything_until_the_end().iter().any(|line| line.starts_with("Restarting"));
        assert!(!restarted, "{plan}");
    }
    let mut trial = setup("program=/nonexistent", "").start();
    assert!(trial.wait_for("CannotStart").contains("No such file"));
    assert_eq!(trial.exit().code(), Some(71));
    let mut trial = setup("ready=100", "hang").start();
    trial.wait_for("NotReady");
    trial.wait_for("outcome: NotReadyInTime");
    assert_eq!(trial.exit().code(), Some(75));
}

#[test]
fn a_later_worker_that_is_never_ready_is_tried_again() {
    let mut trial = begin("");
    let (pid, _, _) = trial.worker();
    trial.plan("exit 3");
    kill(pid, Signal::KILL);
    for generation in 2..=4 {
        trial.wait_for(&format!("Restarting {{ generation: {generation}"));
    }
    trial.plan("");
    trial.wait_for("Ready");
    assert!(trial.worker().1 >= 4);
}

#[test]
fn a_worker_may_say_anything_and_as_much_as_it_likes() {
    let mut trial = setup("drain=100", "garbage").start();
    let first = trial.wait_for("Garbage");
    assert!(first.contains("x01garbage 0"), "{first}");
    trial.wait_for("Ready");
    trial.signal(Signal::TERM);
    assert_eq!(trial.exit().code(), Some(0), "it does not know SIGTERM, and is ended by it");
    let garbage = trial.everything_until_the_end().iter().filter(|line| line.starts_with("Garbage")).count();
    assert_eq!(garbage, 3, "that is enough to know");
}

/// Needs root and a control group of its own.
#[test]
fn a_kill_for_memory_is_told_from_any_other() {
    use std::{fs, path::Path, process::Command};

    const LIMIT: &str = "67108864";
    let name = format!("watertight-{}", std::process::id());
    let made = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"].into_iter().find_map(|root| {
        let group = Path::new(root).join(&name);
        fs::create_dir(&group).ok()?;
        let limit = ["memory.max", "memory.limit_in_bytes"].map(|file| group.join(file));
        if limit.iter().any(|file| file.exists() && fs::write(file, LIMIT).is_ok()) {
            return Some(group);
        }
        _ = fs::remove_dir(&group);
        None
    });
    let Some(group) = made else {
        eprintln!("this machine does not let the test limit memory");
        return;
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$1\" && exec \"$0\"", env!("CARGO_BIN_EXE_watertight-test-worker")]);
    command.arg(group.join("cgroup.procs"));
    let mut trial = Setup::new(command, "").begin();
    let (pid, _, _) = trial.worker();
    kill(pid, Signal::KILL);
    let died = trial.wait_for("Died");
    assert!(died.contains("ending: Signal(9), oom_killed: Some(false)"), "{died}");
    trial.wait_for("Ready");
    assert!(trial.ask("/eat").is_err());
    let died = trial.wait_for("Died");
    assert!(died.contains("ending: Signal(9), oom_killed: Some(true)"), "{died}");
    trial.wait_for("Ready");
    trial.signal(Signal::TERM);
    assert_eq!(trial.exit().code(), Some(0));
    _ = fs::remove_dir(group);
}

#[test]
fn what_a_worker_leaves_behind_is_told_to_the_black_box_before_the_next_one_starts() {
    let mut trial = begin("board=1");
    let (pid, _, _) = trial.worker();
    kill(pid, Signal::KILL);
    trial.wait_for("black box: 1 has died");
    trial.wait_for("Started { generation: 2");
    trial.wait_for("Ready");
    let descriptors = trial.ask("/descriptors").expect("the worker answers");
    assert!(descriptors.contains("memfd:board"), "{descriptors}");
}

#[test]
fn the_parent_is_small() {
    let mut trial = begin("board=1");
    for _ in 0..20 {
        let (pid, _, _) = trial.worker();
        kill(pid, Signal::KILL);
        trial.wait_for("Ready");
    }
    let mut kilobytes = u64::MAX;
    poll_until("the parent is measured", || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", trial.parent.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX);
        kilobytes < u64::MAX
    });
    println!("the parent has {kilobytes} KiB resident after 20 deaths");
    assert!(kilobytes < 5 * 1024, "{kilobytes} KiB");
}

#[test]
fn a_restart_takes_a_moment() {
    let mut trial = begin("base=0 cap=0");
    let mut took = Vec::new();
    for _ in 0..20 {
        let (pid, _, _) = trial.worker();
        kill(pid, Signal::KILL);
        let ready = trial.wait_for("Ready { generation");
        let after = ready.split("after_death: Some(").nth(1).expect("it replaces a dead one");
        took.push(parse(after.trim_end_matches(") }")));
    }
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("from the death to the next worker's readiness: median {median:?}, worst {worst:?}");
    assert!(median < Duration::from_millis(250), "{took:?}");
}

/// What `Debug` of a duration writes.
fn parse(text: &str) -> Duration {
    let unit = text.find(|c: char| c.is_alphabetic() || c == 'µ').expect("a unit");
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => panic!("{text}"),
    };
    Duration::from_secs_f64(number.parse::<f64>().expect("a number") * seconds)
}
