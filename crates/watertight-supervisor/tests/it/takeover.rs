//! A new worker for an old one, while clients are served.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::Signal;

use crate::trial::{Client, begin, kill, setup};

/// Clients that ask without a pause, and count what they are answered.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// Half of the clients use one connection for each request, half use theirs as long as they may.
    fn begin(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |number: usize| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Client::connect(address).expect("nobody is refused");
                    loop {
                        let answer = client.ask("/").expect("no request is lost");
                        served.fetch_add(1, Ordering::Relaxed);
                        if number.is_multiple_of(2) || answer.is_last || stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            })
        };
        let clients = (0..8).map(client).collect();
        Self { stop, served, clients }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("every request was answered");
        }
        self.served.load(Ordering::Relaxed)
    }
}

#[test]
fn a_takeover_under_load_loses_no_request_and_refuses_nobody() {
    let mut trial = begin("");
    let load = Load::begin(trial.address);
    for generation in 2..=6 {
        let before = load.served.load(Ordering::Relaxed);
        crate::trial::poll_until("there is load", || load.served.load(Ordering::Relaxed) > before + 200);
        trial.signal(Signal::HUP);
        trial.wait_for("TakeoverBegun");
        trial.wait_for("TakenOver");
        trial.wait_for("Ended");
        trial.wait_for("TakeoverEnded");
        let (_, serves, after_death) = trial.worker();
        assert_eq!((serves, after_death), (generation, false));
    }
    let served = load.end();
    println!("{served} requests over 5 takeovers");
    assert!(!trial.everything_until_the_end_of(Signal::TERM).iter().any(|line| line.starts_with("Died")));
}

#[test]
fn the_old_worker_finishes_what_it_has_begun_while_the_new_one_serves() {
    let mut trial = begin("");
    let mut slow = Client::connect(trial.address).unwrap();
    slow.send("/slow/300").unwrap();
    trial.wait_for("slow");
    trial.signal(Signal::HUP);
    trial.wait_for("TakenOver");
    trial.wait_for("draining");
    assert_eq!(trial.worker().1, 2);
    let answer = slow.receive().unwrap();
    assert_eq!((answer.body.as_str(), answer.is_last), ("slow", true));
    trial.wait_for("TakeoverEnded");
}

#[test]
fn a_new_worker_that_is_never_ready_leaves_the_old_one_in_place() {
    let mut trial = begin("ready=300");
    let (old, _, _) = trial.worker();
    for (plan, said) in [("exit 3", "Died"), ("hang", "NotReady")] {
        trial.plan(plan);
        trial.signal(Signal::HUP);
        trial.wait_for("TakeoverBegun");
        trial.wait_for(said);
        let failed = trial.wait_for("TakeoverFailed");
        assert!(failed.contains("old: 1"), "{failed}");
        assert_eq!(trial.worker().0, old);
    }
    trial.plan("");
    trial.signal(Signal::HUP);
    trial.wait_for("TakeoverEnded");
    assert_eq!(trial.worker().1, 4);
}

#[test]
fn reloads_during_a_takeover_are_remembered_once() {
    let mut trial = begin("");
    let mut slow = Client::connect(trial.address).unwrap();
    slow.send("/slow/200").unwrap();
    trial.wait_for("slow");
    trial.signal(Signal::HUP);
    trial.wait_for("TakenOver");
    for _ in 0..3 {
        trial.signal(Signal::HUP);
        trial.wait_for("ReloadRemembered");
    }
    slow.receive().unwrap();
    trial.wait_for("TakeoverEnded");
    trial.wait_for("TakeoverBegun");
    trial.wait_for("TakeoverEnded");
    let said = trial.everything_until_the_end_of(Signal::TERM);
    let takeovers = said.iter().filter(|line| line.starts_with("TakeoverBegun")).count();
    assert_eq!(takeovers, 2);
}

#[test]
fn an_old_worker_that_dies_during_a_takeover_is_replaced_by_the_new_one() {
    let mut trial = begin("");
    let (old, _, _) = trial.worker();
    trial.plan("hang");
    trial.signal(Signal::HUP);
    let hanging: u32 = trial.wait_for("hanging").split(' ').nth(1).unwrap().parse().unwrap();
    trial.plan("");
    kill(old, Signal::KILL);
    trial.wait_for("Died");
    // The one that hangs is the only one, and is replaced when it dies.
    kill(hanging, Signal::KILL);
    let first = trial.wait_for_any(&["Died", "Restarting"]);
    assert!(first.starts_with("Died"), "nobody else was started meanwhile: {first}");
    trial.wait_for("Ready { generation: 3");
    assert!(trial.worker().2);
}

#[test]
fn a_reload_does_not_wait_for_the_next_try() {
    let mut trial = setup("base=600000 cap=600000 restarts=0", "").begin();
    let (pid, _, _) = trial.worker();
    kill(pid, Signal::KILL);
    trial.wait_for("Restarting");
    trial.signal(Signal::HUP);
    trial.wait_for("Ready { generation: 2");
}
