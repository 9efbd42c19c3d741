use proptest::prelude::*;

use super::*;
use crate::{Ending, Exceeded, RestartPolicy};

const MS: Duration = Duration::from_millis(1);
const SIGTERM: i32 = 15;

/// A machine, its clock, and what it did last.
struct Trial {
    machine: Machine,
    now: Duration,
    actions: Vec<Action>,
}

fn settings() -> SupervisorSettings {
    SupervisorSettings::program("worker")
        .ready_timeout(3000 * MS)
        .drain_timeout(5000 * MS)
        .wedge_limit(1000 * MS)
        .restart(RestartPolicy::default().intensity(3, 60_000 * MS).backoff(100 * MS, 800 * MS))
}

impl Trial {
    /// Nothing has happened yet.
    fn new(settings: &SupervisorSettings) -> Self {
        let machine = Machine::new(settings, fastrand::Rng::with_seed(1));
        Self { machine, now: Duration::ZERO, actions: Vec::new() }
    }

    /// The first worker serves.
    fn serving() -> Self {
        let mut trial = Self::new(&settings());
        trial.event(Event::Time);
        trial.ready(1);
        trial
    }

    /// Starts are answered at once, with a process id of a hundred times the generation.
    fn event(&mut self, event: Event) -> &[Action] {
        self.actions = self.machine.handle(self.now, event);
        let mut done = 0;
        while done < self.actions.len() {
            if let Action::Start { generation, .. } = self.actions[done] {
                let pid = u32::try_from(generation).unwrap() * 100;
                let more = self.machine.handle(self.now, Event::Started { generation, pid });
                self.actions.extend(more);
            }
            done += 1;
        }
        &self.actions
    }

    fn after(&mut self, time: Duration) -> &[Action] {
        self.now += time;
        self.event(Event::Time)
    }

    fn ready(&mut self, generation: u64) -> &[Action] {
        self.event(Event::Said { generation, message: Message::Ready })
    }

    fn ended(&mut self, generation: u64, ending: Ending) -> &[Action] {
        self.event(Event::Ended { generation, ending, oom_killed: Some(false) })
    }

    fn stop(&mut self) -> &[Action] {
        self.event(Event::Stop { signal: SIGTERM })
    }

    fn signals(&self) -> Vec<(u64, Signal)> {
        let signal = |action: &Action| match action {
            Action::Signal { generation, signal } => Some((*generation, *signal)),
            _ => None,
        };
        self.actions.iter().filter_map(signal).collect()
    }

    fn started(&self) -> Vec<(u64, bool)> {
        let start = |action: &Action| match action {
            Action::Start { generation, after_death } => Some((*generation, *after_death)),
            _ => None,
        };
        self.actions.iter().filter_map(start).collect()
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.actions.iter().find_map(|action| match action {
            Action::Finish(outcome) => Some(outcome),
            _ => None,
        })
    }

    fn told(&self, is_it: impl Fn(&Happening) -> bool) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Tell(happening) if is_it(happening)))
    }
}

#[test]
fn the_black_box_reads_before_the_next_worker_starts() {
    let mut trial = Trial::serving();
    trial.ended(1, Ending::Signal(11));
    assert_eq!(trial.started(), [(2, true)]);
    let died = trial.actions.iter().position(|action| matches!(action, Action::Died(_)));
    let start = trial.actions.iter().position(|action| matches!(action, Action::Start { .. }));
    assert!(died < start && died.is_some());
}

#[test]
fn the_time_of_a_restart_is_told_when_the_next_worker_is_ready() {
    let mut trial = Trial::serving();
    trial.ended(1, Ending::Signal(11));
    trial.now += 7 * MS;
    trial.ready(2);
    let after = |happening: &Happening| matches!(happening, Happening::Ready { after_death: Some(after), .. } if *after == 7 * MS);
    assert!(trial.told(after));
    assert!(trial.machine.is_well());
}

#[test]
fn the_second_death_is_followed_by_a_wait_that_a_reload_ends() {
    let mut trial = Trial::serving();
    trial.ended(1, Ending::Signal(9));
    trial.ready(2);
    trial.ended(2, Ending::Signal(9));
    assert_eq!(trial.started(), []);
    let due = trial.machine.deadline().unwrap();
    assert!(due > trial.now && due <= trial.now + 100 * MS);
    trial.event(Event::Reload);
    assert!(trial.told(|happening| *happening == Happening::ReloadHurries { generation: 3 }));
    assert_eq!(trial.started(), [(3, true)]);
}

#[test]
fn a_wait_ends_when_it_is_due() {
    let mut trial = Trial::serving();
    trial.ended(1, Ending::Signal(9));
    trial.ended(2, Ending::Signal(9));
    let due = trial.machine.deadline().unwrap();
    let wait = due - trial.now;
    trial.after(wait - Duration::from_nanos(1));
    assert_eq!(trial.started(), []);
    trial.after(Duration::from_nanos(1));
    assert_eq!(trial.started(), [(3, true)]);
}

#[test]
fn too_many_deaths_are_told_every_time_and_are_not_well() {
    let mut trial = Trial::serving();
    for generation in 1..=3 {
        trial.ended(generation, Ending::Signal(9));
        assert!(trial.machine.is_well());
        trial.after(100 * 4 * MS);
        trial.ready(generation + 1);
    }
    for generation in 4..=6 {
        trial.ended(generation, Ending::Signal(9));
        let delay = |happening: &Happening| matches!(happening, Happening::IntensityExceeded { restarts: 3, delay: Some(delay), .. } if *delay == 800 * MS);
        assert!(trial.told(delay) && !trial.machine.is_well());
        trial.after(800 * MS);
        assert_eq!(trial.started(), [(generation + 1, true)]);
        assert!(!trial.machine.is_well(), "it has to be ready first");
        trial.ready(generation + 1);
        assert!(trial.machine.is_well());
    }
}

#[test]
fn too_many_deaths_end_the_parent_where_it_is_told_so() {
    let policy = RestartPolicy::default().intensity(1, 60_000 * MS).when_exceeded(Exceeded::Exit);
    let mut trial = Trial::new(&settings().restart(policy));
    trial.event(Event::Time);
    trial.ready(1);
    trial.ended(1, Ending::Signal(9));
    assert_eq!(trial.started(), [(2, true)]);
    trial.ended(2, Ending::Signal(9));
    assert_eq!(trial.outcome(), Some(&Outcome::IntensityExceeded));
    assert_eq!(trial.outcome().unwrap().exit_code(), 70);
}

#[test]
fn the_parent_that_gives_up_waits_for_the_worker_that_drains() {
    let policy = RestartPolicy::default().intensity(0, 60_000 * MS).when_exceeded(Exceeded::Exit);
    let mut trial = Trial::new(&settings().restart(policy));
    trial.event(Event::Time);
    trial.ready(1);
    trial.event(Event::Reload);
    trial.ready(2);
    trial.ended(2, Ending::Signal(9));
    assert_eq!(trial.outcome(), None);
    trial.after(7000 * MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);
    trial.ended(1, Ending::Signal(9));
    assert_eq!(trial.outcome(), Some(&Outcome::IntensityExceeded));
}

#[test]
fn the_first_worker_has_to_be_ready_once() {
    let mut trial = Trial::new(&settings());
    trial.event(Event::Time);
    trial.ended(1, Ending::Exited(2));
    assert!(trial.told(|happening| matches!(happening, Happening::ConfigurationFault(_))));
    assert_eq!(trial.outcome().unwrap().exit_code(), 78);

    let mut trial = Trial::new(&settings());
    trial.event(Event::Time);
    trial.ended(1, Ending::Signal(11));
    assert_eq!(trial.outcome().unwrap().exit_code(), 139);

    let mut trial = Trial::new(&settings());
    trial.event(Event::Time);
    trial.after(2999 * MS);
    assert_eq!(trial.signals(), []);
    trial.after(MS);
    assert_eq!(trial.signals(), [(1, Signal::Terminate)]);
    // It is too late now.
    trial.ready(1);
    assert!(!trial.told(|happening| matches!(happening, Happening::Ready { .. })));
    trial.after(1000 * MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);
    trial.ended(1, Ending::Signal(9));
    assert_eq!(trial.outcome().unwrap().exit_code(), 75);
}

#[test]
fn a_worker_that_says_nothing_is_taken_for_ready_where_it_is_told_so() {
    let mut trial = Trial::new(&settings().ready_after(500 * MS));
    trial.event(Event::Time);
    assert_eq!(trial.machine.deadline(), Some(500 * MS));
    trial.after(499 * MS);
    assert!(!trial.told(|happening| matches!(happening, Happening::Ready { .. })));
    trial.after(MS);
    assert!(trial.told(|happening| matches!(happening, Happening::Ready { .. })));
}

#[test]
fn a_stop_is_patient_and_then_hurries() {
    let mut trial = Trial::serving();
    trial.stop();
    assert_eq!(trial.signals(), [(1, Signal::Terminate)]);
    trial.after(6999 * MS);
    assert_eq!(trial.signals(), []);
    trial.after(MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);
    trial.ended(1, Ending::Signal(9));
    assert_eq!(trial.outcome().unwrap().exit_code(), 137);

    let mut trial = Trial::serving();
    trial.stop();
    trial.stop();
    assert_eq!(trial.signals(), [(1, Signal::Terminate)]);
    trial.after(1000 * MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);

    let mut trial = Trial::serving();
    trial.stop();
    trial.stop();
    trial.stop();
    assert_eq!(trial.signals(), [(1, Signal::Terminate), (1, Signal::Kill)]);
}

#[test]
fn a_service_that_stops_ends_as_its_worker_does() {
    for (ending, code) in [
        (Ending::Exited(0), 0),
        (Ending::Signal(SIGTERM), 0),
        (Ending::Exited(3), 3),
        (Ending::Signal(11), 139),
        (Ending::Unknown, 1),
    ] {
        let mut trial = Trial::serving();
        trial.stop();
        trial.ended(1, ending);
        assert_eq!(trial.outcome().map(Outcome::exit_code), Some(code), "{ending}");
    }
}

#[test]
fn a_stop_reaches_everyone() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    trial.stop();
    assert_eq!(trial.signals(), [(1, Signal::Terminate), (2, Signal::Terminate)]);
    trial.ended(2, Ending::Exited(0));
    assert_eq!(trial.outcome(), None);
    trial.ended(1, Ending::Exited(0));
    assert_eq!(trial.outcome(), Some(&Outcome::Stopped));
}

#[test]
fn a_stop_while_nobody_runs_ends_at_once() {
    let mut trial = Trial::serving();
    trial.ended(1, Ending::Signal(9));
    trial.ended(2, Ending::Signal(9));
    trial.stop();
    assert_eq!(trial.outcome(), Some(&Outcome::Stopped));
    trial.after(1000 * MS);
    assert_eq!(trial.started(), []);
}

#[test]
fn a_takeover_asks_the_old_worker_only_when_the_new_one_is_ready() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    assert_eq!((trial.started(), trial.signals()), (vec![(2, false)], vec![]));
    trial.ready(2);
    assert_eq!(trial.signals(), [(1, Signal::Terminate)]);
    trial.after(7000 * MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);
    trial.ended(1, Ending::Signal(9));
    assert!(trial.told(|happening| *happening == Happening::TakeoverEnded { old: 1 }));
    assert_eq!(trial.started(), []);
}

#[test]
fn a_takeover_that_fails_leaves_the_old_worker_alone() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    assert_eq!(trial.signals(), []);
    trial.ended(2, Ending::Exited(1));
    assert!(trial.told(|happening| *happening == Happening::TakeoverFailed { old: 1, new: 2 }));
    assert_eq!((trial.started(), trial.signals()), (vec![], vec![]));

    let start_fails = Event::CannotStart { generation: 3, error: "no".to_owned() };
    assert!(
        trial
            .machine
            .handle(trial.now, Event::Reload)
            .contains(&Action::Start { generation: 3, after_death: false })
    );
    trial.event(start_fails);
    assert!(trial.told(|happening| *happening == Happening::TakeoverFailed { old: 1, new: 3 }));
    assert!(trial.outcome().is_none() && trial.machine.is_well());
}

#[test]
fn reloads_during_a_takeover_are_remembered_once() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    for _ in 0..3 {
        trial.event(Event::Reload);
        assert!(trial.told(|happening| *happening == Happening::ReloadRemembered));
    }
    trial.ready(2);
    assert_eq!(trial.started(), []);
    trial.ended(1, Ending::Exited(0));
    assert_eq!(trial.started(), [(3, false)]);
    trial.ready(3);
    trial.ended(2, Ending::Exited(0));
    assert_eq!(trial.started(), []);
}

#[test]
fn a_reload_before_the_first_worker_is_ready_is_remembered() {
    let mut trial = Trial::new(&settings());
    trial.event(Event::Time);
    trial.event(Event::Reload);
    assert_eq!(trial.started(), []);
    trial.ready(1);
    assert_eq!(trial.started(), [(2, false)]);
}

#[test]
fn the_incoming_worker_replaces_one_that_dies() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    trial.ended(1, Ending::Signal(11));
    assert_eq!(trial.started(), []);
    assert!(trial.actions.contains(&Action::AfterDeath { generation: 2 }));
    trial.ready(2);
    let ready = |happening: &Happening| matches!(happening, Happening::Ready { after_death: Some(_), .. });
    assert!(trial.told(ready) && trial.signals().is_empty());
}

#[test]
fn a_worker_dies_while_the_one_before_it_drains() {
    let mut trial = Trial::serving();
    trial.event(Event::Reload);
    trial.ready(2);
    trial.ended(2, Ending::Signal(11));
    assert_eq!(trial.started(), [(3, true)]);
    trial.ready(3);
    trial.ended(1, Ending::Exited(0));
    assert!(trial.told(|happening| *happening == Happening::TakeoverEnded { old: 1 }));
}

#[test]
fn silence_beyond_the_limit_is_a_wedge() {
    let mut trial = Trial::serving();
    let silent = |ago| Event::Answered { generation: 1, ago };
    trial.now += 1000 * MS;
    trial.event(silent(None));
    assert_eq!(trial.signals(), []);
    trial.event(silent(Some(1000 * MS)));
    assert_eq!(trial.signals(), []);
    trial.event(silent(Some(1001 * MS)));
    assert_eq!(trial.signals(), [(1, Signal::Abort)]);
    assert!(!trial.machine.is_well());
    let wedged = trial.actions.iter().position(|action| matches!(action, Action::Wedged { .. }));
    let abort = trial.actions.iter().position(|action| matches!(action, Action::Signal { .. }));
    assert!(wedged < abort, "the black box looks first");
    trial.after(1000 * MS);
    assert_eq!(trial.signals(), [(1, Signal::Kill)]);
    trial.ended(1, Ending::Signal(9));
    assert_eq!(trial.started(), [(2, true)]);
    // A second wedge is paid for with its own limit, not with a wait.
    trial.ready(2);
    trial.now += 1000 * MS;
    trial.event(Event::Answered { generation: 2, ago: Some(2000 * MS) });
    trial.ended(2, Ending::Signal(6));
    assert_eq!(trial.started(), [(3, true)]);
}

#[test]
fn looks_are_frequent_and_only_at_who_serves() {
    let mut trial = Trial::new(&settings());
    trial.event(Event::Time);
    let look = |trial: &Trial| trial.actions.contains(&Action::Look { generation: 1 });
    assert!(!look(&trial));
    trial.ready(1);
    trial.after(Duration::ZERO);
    assert!(look(&trial));
    assert_eq!(trial.machine.deadline(), Some(200 * MS));
    trial.after(199 * MS);
    assert!(!look(&trial));
    trial.after(MS);
    assert!(look(&trial));
    trial.stop();
    trial.after(200 * MS);
    assert!(!look(&trial));
}

#[test]
fn whoever_looks_late_or_wakes_up_forgives_one_silence() {
    for woken in [false, true] {
        let mut trial = Trial::serving();
        // What is new is forgiven anyway.
        for _ in 0..6 {
            trial.after(200 * MS);
        }
        if woken {
            trial.event(Event::Suspended);
        } else {
            trial.after(2000 * MS);
        }
        trial.event(Event::Answered { generation: 1, ago: Some(5000 * MS) });
        assert_eq!(trial.signals(), []);
        for _ in 0..5 {
            trial.after(200 * MS);
        }
        trial.event(Event::Answered { generation: 1, ago: Some(6000 * MS) });
        assert_eq!(trial.signals(), [(1, Signal::Abort)]);
    }
}

#[test]
fn garbage_is_told_three_times() {
    let mut trial = Trial::serving();
    let garbage = || Event::Said { generation: 1, message: Message::Garbage("?".to_owned()) };
    for _ in 0..3 {
        assert_eq!(trial.event(garbage()).len(), 1);
    }
    assert_eq!(trial.event(garbage()), []);
}

#[test]
fn news_of_nobody_is_ignored() {
    let mut trial = Trial::serving();
    assert_eq!(trial.ended(7, Ending::Exited(0)), []);
    assert_eq!(trial.ready(7), []);
    assert_eq!(trial.event(Event::Answered { generation: 7, ago: Some(Duration::MAX) }), []);
    assert_eq!(trial.event(Event::CannotStart { generation: 7, error: String::new() }).len(), 1);
    assert_eq!(trial.ready(1), [], "once is enough");
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Ready,
    End(u8, i32),
    Silent,
    Reload,
    Stop,
    FailStart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..5000).prop_map(Step::Pass),
        4 => Just(Step::Ready),
        4 => (0_u8..3, 0_i32..3).prop_map(|(which, code)| Step::End(which, code)),
        1 => Just(Step::Silent),
        2 => Just(Step::Reload),
        1 => Just(Step::Stop),
        1 => Just(Step::FailStart),
    ]
}

proptest! {
    /// Whatever happens in whatever order: at most two workers, nobody is forgotten, and the parent always waits for something
    /// until it ends; when it is asked to stop, it ends.
    #[test]
    fn no_order_of_events_confuses_the_machine(steps in proptest::collection::vec(step(), 0..80)) {
        let mut machine = Machine::new(&settings(), fastrand::Rng::with_seed(1));
        let mut now = Duration::ZERO;
        let (mut running, mut fail) = (Vec::new(), false);
        let mut finished = false;
        let mut steps = steps.into_iter();
        let mut events = vec![Event::Time];
        while !finished {
            while let Some(event) = events.pop() {
                for action in machine.handle(now, event) {
                    prop_assert!(!finished, "{action:?} after the end");
                    match action {
                        Action::Start { generation, .. } if fail => {
                            fail = false;
                            events.push(Event::CannotStart { generation, error: String::new() });
                        }
                        Action::Start { generation, .. } => {
                            running.push(generation);
                            prop_assert!(running.len() <= 2, "{running:?}");
                            events.push(Event::Started { generation, pid: 1 });
                        }
                        Action::Signal { generation, signal } => {
                            prop_assert!(running.contains(&generation));
                            if signal == Signal::Kill {
                                events.push(Event::Ended { generation, ending: Ending::Signal(9), oom_killed: None });
                            }
                        }
                        Action::Died(death) => running.retain(|generation| *generation != death.generation),
                        Action::Finish(_) => {
                            prop_assert_eq!(&running, &Vec::<u64>::new());
                            finished = true;
                        }
                        _ => {}
                    }
                }
            }
            if finished {
                break;
            }
            prop_assert!(!running.is_empty() || machine.deadline().is_some(), "it waits for nothing");
            let last = running.last().copied().unwrap_or(0);
            match steps.next() {
                Some(Step::Pass(millis)) => {
                    now += Duration::from_millis(millis);
                    events.push(Event::Time);
                }
                Some(Step::Ready) => events.push(Event::Said { generation: last, message: Message::Ready }),
                Some(Step::End(which, code)) => {
                    if let Some(generation) = running.get(usize::from(which)).copied() {
                        events.push(Event::Ended { generation, ending: Ending::Exited(code), oom_killed: None });
                    }
                }
                Some(Step::Silent) => events.push(Event::Answered { generation: last, ago: Some(Duration::MAX) }),
                Some(Step::Reload) => events.push(Event::Reload),
                Some(Step::FailStart) => fail = true,
                Some(Step::Stop) => events.push(Event::Stop { signal: SIGTERM }),
                // It is over: everyone who does not end by himself is killed, and then the parent ends.
                None => {
                    fail = false;
                    events.push(Event::Stop { signal: SIGTERM });
                }
            }
        }
    }
}
