//! How a service ends that is asked to.

use rustix::process::Signal;

use crate::trial::{Client, begin, runs, setup};

#[test]
fn a_service_that_is_asked_to_stop_drains_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut trial = begin("");
        let (pid, _, _) = trial.worker();
        let mut client = Client::connect(trial.address).unwrap();
        client.send("/slow/200").unwrap();
        trial.wait_for("slow");
        trial.signal(signal);
        trial.wait_for("Stopping");
        trial.wait_for("draining");
        assert_eq!(client.receive().unwrap().body, "slow", "what had begun is finished");
        trial.wait_for("Ended");
        assert_eq!(trial.exit().code(), Some(0));
        assert!(!runs(pid));
        assert!(Client::connect(trial.address).is_err(), "the port is free");
    }
}

#[test]
fn a_worker_that_does_not_end_is_killed_after_its_bound() {
    let mut trial = begin("drain=1");
    trial.plan("stubborn");
    trial.signal(Signal::TERM);
    trial.wait_for("draining");
    trial.wait_for("Killed");
    assert!(trial.wait_for("Ended").contains("Signal(9)"));
    assert_eq!(trial.exit().code(), Some(137));
}

#[test]
fn a_second_and_a_third_signal_hurry() {
    let mut trial = begin("drain=600000");
    trial.plan("stubborn");
    trial.signal(Signal::TERM);
    trial.wait_for("draining");
    trial.signal(Signal::INT);
    trial.wait_for("Hurried { signal: 2");
    trial.wait_for("Killed");
    assert_eq!(trial.exit().code(), Some(137));

    let mut trial = begin("drain=600000");
    trial.plan("stubborn");
    for (signal, said) in [(Signal::TERM, "draining"), (Signal::TERM, "Hurried"), (Signal::TERM, "Killed")] {
        trial.signal(signal);
        trial.wait_for(said);
    }
    assert_eq!(trial.exit().code(), Some(137));
}

#[test]
fn a_service_without_a_worker_stops_at_once() {
    let mut trial = begin("base=600000 cap=600000 restarts=0");
    assert!(trial.ask("/abort").is_err());
    trial.wait_for("Restarting");
    trial.signal(Signal::TERM);
    trial.wait_for("outcome: Stopped");
    assert_eq!(trial.exit().code(), Some(0));
}

#[test]
fn a_worker_that_is_not_ready_yet_is_stopped_too() {
    let mut trial = setup("", "hang").start();
    trial.wait_for("hanging");
    trial.signal(Signal::TERM);
    assert_eq!(trial.exit().code(), Some(0));
}

#[test]
fn other_signals_are_passed_on() {
    let mut trial = begin("");
    // This worker takes it for the end, which nobody has asked for.
    trial.signal(Signal::USR1);
    trial.wait_for("draining");
    assert!(trial.wait_for("Died").contains("Exited(0)"));
    trial.wait_for("Ready");
}
