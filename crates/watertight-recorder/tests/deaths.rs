//! Real deaths: each in a process of its own, read by this one when it is over.

#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use watertight::flight::{Now, Record};
use watertight::{
    Activity, ActivityKind, Attribution, Death, Exit, Identity, Manner, Registry, Scope, Watertight, spawn,
};
use watertight_recorder::{FlightFile, FlightRecorder, NotRecorded, shared_memory};

/// Says to the victim which death is its, and where its memory is.
const DEATH: &str = "WATERTIGHT_TEST_DEATH";
const BOARD: &str = "WATERTIGHT_TEST_BOARD";

/// What a victim does to itself in a handler.
fn die(how: &str) {
    match how {
        "abort" => watertight_faults::abort(),
        "overflow" => watertight_faults::overflow_stack(),
        "segfault" => watertight_faults::segfault(),
        "double_panic" => watertight_faults::double_panic(),
        "kill" => watertight_faults::kill(),
        "memory" => watertight_faults::exhaust_memory(),
        "killed_from_outside" => loop {
            std::thread::park();
        },
        other => panic!("nobody dies of {other}"),
    }
}

/// The process that dies: not a test of its own.
#[test]
#[ignore = "run by the others, in a process of its own"]
fn victim() {
    let (Ok(how), Ok(board)) = (std::env::var(DEATH), std::env::var(BOARD)) else { return };
    let board = OpenOptions::new().read(true).write(true).open(board).expect("the parent has it open");
    let recorder = FlightRecorder::map(&board).expect("it is large enough");
    recorder.mark_crashes().expect("nobody handles these signals");
    Watertight::builder().recorder(recorder).install().expect("nothing is installed");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let innocent = Registry::global().open(None);
        innocent.identify("user:innocent");
        let echo = Scope::new(Arc::clone(&innocent), Activity::new(ActivityKind::Event, "/", "echo"));
        let eve = Registry::global().open(None);
        assert!(Registry::global().name(&eve, "sid-of-eve"));
        eve.identify("user:eve");
        let fire = Scope::new(Arc::clone(&eve), Activity::new(ActivityKind::Event, "/lab", "fire"));
        // Somebody who does nothing wrong, on every thread.
        for _ in 0..4 {
            let scope = echo.clone();
            tokio::spawn(watertight::ScopeExt::scoped(std::future::ready(()), scope))
                .await
                .expect("it works")
                .expect("no panic");
        }
        let dying = watertight::ScopeExt::scoped(
            async move {
                // A child, which works for the same client.
                spawn(async move { die(&how) }).await.expect("nobody survives this");
            },
            fire,
        );
        let _ = tokio::spawn(dying).await;
        drop((innocent, eve));
    });
}

struct Dead {
    status: ExitStatus,
    record: Record,
    death: Death,
}

fn command(how: &str, board: &File) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let path = format!("/proc/{}/fd/{}", std::process::id(), board.as_raw_fd());
    command.args(["victim", "--exact", "--ignored"]).env(DEATH, how).env(BOARD, path);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

fn dead(status: ExitStatus, board: File) -> Dead {
    let record = Record::read(&FlightFile::new(board)).expect("it is a board");
    let mut exit = Exit::now(Duration::from_secs(1));
    exit.signal = status.signal().map(|signal| signal.to_string());
    exit.code = status.code();
    let death = Death::new(exit, Some(&record));
    Dead { status, record, death }
}

/// Lets a process die so, and reads what it has left.
fn dies_of(how: &str) -> Dead {
    let board = shared_memory().expect("memory");
    let status = command(how, &board).status().expect("it starts");
    dead(status, board)
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

#[track_caller]
fn names_the_culprit(dead: &Dead, signal: i32, manner: Manner) {
    assert_eq!(dead.status.signal(), Some(signal), "{:?}", dead.status);
    let Death { manner: found, attribution, culprits, .. } = &dead.death;
    assert_eq!((*found, *attribution), (manner, Attribution::Exact), "{:#?}", dead.record);
    let [culprit] = &culprits[..] else { panic!("{culprits:#?}") };
    assert_eq!(culprit.id, "sid-of-eve");
    assert_eq!(culprit.identity, Some(Identity::named("user:eve")));
    assert_eq!(culprit.activity, Some(Activity::new(ActivityKind::Event, "/lab", "fire")));
    assert!(dead.death.crash.is_some_and(|crash| crash.signal == signal), "{:?}", dead.death.crash);
}

#[test]
fn an_abort_names_its_culprit() {
    names_the_culprit(&dies_of("abort"), SIGABRT, Manner::Crash);
}

#[test]
fn a_stack_overflow_names_its_culprit() {
    names_the_culprit(&dies_of("overflow"), SIGSEGV, Manner::StackOverflow);
}

#[test]
fn a_wild_pointer_names_its_culprit() {
    names_the_culprit(&dies_of("segfault"), SIGSEGV, Manner::Crash);
}

#[test]
fn a_double_panic_names_its_culprit() {
    names_the_culprit(&dies_of("double_panic"), SIGABRT, Manner::Crash);
}

#[test]
fn memory_that_cannot_be_had_names_its_culprit() {
    let board = shared_memory().expect("memory");
    let victim = command("memory", &board);
    // A limit of addresses: the allocation fails, which ends the process.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""])
        .arg(victim.get_program())
        .args(victim.get_args());
    limited.envs(victim.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let status = limited.status().expect("it starts");
    names_the_culprit(&dead(status, board), SIGABRT, Manner::Crash);
}

#[test]
fn who_was_at_work_when_it_was_killed_is_a_suspect() {
    let dead = dies_of("kill");
    assert_eq!(dead.status.signal(), Some(SIGKILL));
    assert_eq!((dead.death.manner, dead.death.attribution), (Manner::Killed, Attribution::Suspect));
    let suspects: Vec<_> = dead.death.culprits.iter().map(|suspect| &*suspect.id).collect();
    assert_eq!(suspects, ["sid-of-eve"], "the other one had nothing to do");
    assert!(dead.death.culprit().is_none());
}

/// Somebody sends a signal that would end the process by itself: it hits any thread.
#[test]
fn a_signal_from_elsewhere_accuses_nobody_for_certain() {
    use rustix::process::{Pid, Signal, kill_process};

    let board = shared_memory().expect("memory");
    let mut victim = command("killed_from_outside", &board).spawn().expect("it starts");
    let file = FlightFile::new(board.try_clone().expect("a descriptor"));
    let is_at_work = || {
        let threads = Record::read(&file).map(|record| record.threads).unwrap_or_default();
        threads.iter().any(|thread| match &thread.now {
            Now::Scope { current, .. } => current.activity.as_ref().is_some_and(|on| on.name == "fire"),
            _ => false,
        })
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_at_work() {
        assert!(std::time::Instant::now() < deadline, "it never begins");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(victim.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::ABORT).expect("it lives");
    let status = victim.wait().expect("it ends");
    let dead = dead(status, board);
    assert_eq!(dead.status.signal(), Some(SIGABRT));
    assert!(
        dead.record.crash.is_some_and(|crash| crash.sender == std::process::id()),
        "{:?}",
        dead.record.crash
    );
    assert_eq!((dead.death.manner, dead.death.attribution), (Manner::Killed, Attribution::Suspect));
}

#[test]
fn memory_of_another_size_is_refused() {
    let small = tempfile_of(4096);
    let error = FlightRecorder::map(&small).expect_err("too small");
    assert!(matches!(error, NotRecorded::TooSmall { has: 4096, .. }), "{error}");
    let board = shared_memory().expect("memory");
    assert!(board.set_len(0).is_err(), "nobody takes it from under the worker");
}

fn tempfile_of(length: u64) -> File {
    let file =
        File::from(rustix::fs::memfd_create("small", rustix::fs::MemfdFlags::CLOEXEC).expect("memory"));
    file.set_len(length).expect("memory");
    file
}
