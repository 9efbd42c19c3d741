//! Workers that do not answer any more.

use rustix::process::Signal;

use crate::trial::{begin, kill};

#[test]
fn a_wedged_worker_is_aborted_and_replaced_at_once() {
    let mut trial = begin("board=1 wedge=400");
    let (wedged, _, _) = trial.worker();
    assert_eq!(trial.ask("/wedge").unwrap(), "wedged");
    trial.wait_for(&format!("Wedged {{ generation: 1, pid: {wedged}"));
    trial.wait_for("black box: 1 is wedged");
    let died = trial.wait_for("Died");
    assert!(died.contains("Signal(6)") && died.contains("told: Some(Wedged)"), "{died}");
    assert!(trial.wait_for("Restarting").contains("delay: 0ns"));
    trial.wait_for("Ready { generation: 2");
    let (pid, _, after_death) = trial.worker();
    assert!(pid != wedged && after_death);
}

#[test]
fn a_worker_that_does_not_even_abort_is_killed() {
    let mut trial = begin("board=1 wedge=400");
    let (stopped, _, _) = trial.worker();
    kill(stopped, Signal::STOP);
    trial.wait_for("Wedged");
    trial.wait_for("Killed");
    assert!(trial.wait_for("Died").contains("told: Some(Wedged)"));
    trial.wait_for("Ready { generation: 2");
}

#[test]
fn a_parent_that_was_stopped_itself_does_not_blame_the_worker() {
    let mut trial = begin("board=1 wedge=400");
    let (pid, _, _) = trial.worker();
    for _ in 0..3 {
        // Both are stopped for longer than the limit; the parent goes on first and sees an old stamp.
        trial.signal(Signal::STOP);
        kill(pid, Signal::STOP);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(600);
        crate::trial::poll_until("the limit is over", || std::time::Instant::now() > until);
        trial.signal(Signal::CONT);
        kill(pid, Signal::CONT);
        assert_eq!(trial.worker().0, pid);
    }
    assert!(!trial.everything_until_the_end_of(Signal::TERM).iter().any(|line| line.starts_with("Wedged")));
}
