use super::*;
use crate::moment::Moment;
use proptest::prelude::*;
use std::sync::Barrier;

fn who(number: u32) -> Identity {
    Identity::Named(format!("user:{number}"))
}

fn event(name: &'static str) -> Activity {
    Activity::new(ActivityKind::Event, "/", name)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Breakers and a clock that only the test moves.
struct Desk {
    breakers: Breakers,
    now: Instant,
}

impl Desk {
    fn new(settings: BreakerSettings) -> Self {
        assert_eq!(settings.check(), Ok(()));
        Self { breakers: Breakers::new(settings), now: Moment::now().instant }
    }

    /// With `chat` switched off, and its time over.
    fn half_open() -> Self {
        let mut desk = Self::new(BreakerSettings::new());
        desk.trip("chat");
        desk.pass(seconds(30));
        desk
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn fault(&self, name: &'static str, number: u32) -> Option<Tripped> {
        self.breakers.fault(&event(name), &who(number), self.now)
    }

    fn trip(&self, name: &'static str) {
        assert!((0..3).any(|number| self.fault(name, number).is_some()), "three are enough");
    }

    fn probe(&self, name: &'static str) -> Probe {
        match self.breakers.admit(&event(name), self.now) {
            Admission::Probe(probe) => probe,
            other => panic!("{other:?}"),
        }
    }

    fn passes(&self, name: &'static str) -> bool {
        matches!(self.breakers.admit(&event(name), self.now), Admission::Pass)
    }

    fn refused(&self, name: &'static str) -> Option<Duration> {
        match self.breakers.admit(&event(name), self.now) {
            Admission::Refused { retry_after } => Some(retry_after),
            _ => None,
        }
    }

    fn phases(&self) -> Vec<BreakerPhase> {
        self.breakers.states(self.now).into_iter().map(|state| state.phase).collect()
    }
}

#[test]
fn three_different_identities_trip_it() {
    let mut desk = Desk::new(BreakerSettings::new());
    for _ in 0..100 {
        assert_eq!(desk.fault("chat", 1), None, "one client switches nothing off");
    }
    assert_eq!(desk.fault("chat", 2), None);
    assert_eq!(desk.fault("move", 3), None, "another event");
    assert!(desk.passes("chat"));
    desk.pass(seconds(60));
    // The second one's fault is still within the window.
    assert_eq!(desk.fault("chat", 1), None);
    assert_eq!(desk.fault("chat", 3), Some(Tripped { open_for: seconds(30), identities: 3 }));
    assert_eq!(desk.refused("chat"), Some(seconds(30)));
    assert!(desk.passes("move"));
    desk.pass(seconds(29));
    assert_eq!(desk.refused("chat"), Some(seconds(1)));
}

#[test]
fn faults_outside_of_the_window_do_not_count() {
    let mut desk = Desk::new(BreakerSettings::new());
    for number in 0..10 {
        assert_eq!(desk.fault("chat", number), None);
        desk.pass(seconds(31));
    }
}

#[test]
fn one_at_a_time_may_try() {
    let desk = Desk::half_open();
    assert_eq!(desk.phases(), [BreakerPhase::HalfOpen]);
    let probe = desk.probe("chat");
    assert_eq!(desk.phases(), [BreakerPhase::Probing]);
    assert_eq!(desk.refused("chat"), Some(seconds(1)));
    drop(probe);
    drop(desk.probe("chat"));
}

#[test]
fn a_success_switches_it_on() {
    let desk = Desk::half_open();
    desk.probe("chat").succeed();
    assert!(desk.passes("chat"));
    assert_eq!(desk.phases(), []);
    assert_eq!(desk.breakers.0.off.load(Ordering::Relaxed), 0, "the quick answer is back");
    assert_eq!(desk.fault("chat", 9), None, "it starts from nothing");
    desk.trip("chat");
    assert_eq!(desk.refused("chat"), Some(seconds(30)), "and from the first duration");
}

#[test]
fn each_failure_doubles_up_to_the_cap() {
    let mut desk = Desk::half_open();
    for expected in [60, 120, 240, 480, 600, 600] {
        let tripped = desk.probe("chat").fail(desk.now).expect("it is off again");
        assert_eq!(tripped, Tripped { open_for: seconds(expected), identities: 1 });
        assert_eq!(desk.refused("chat"), Some(seconds(expected)));
        desk.pass(seconds(expected));
    }
}

/// The guard says `fail`, the recovery says `fault`, about one crash and in either order: it doubles once.
#[test]
fn one_crash_of_the_try_counts_once() {
    let desk = Desk::half_open();
    let probe = desk.probe("chat");
    assert_eq!(desk.fault("chat", 9).map(|tripped| tripped.open_for), Some(seconds(60)));
    assert_eq!(probe.fail(desk.now), None);
    assert_eq!(desk.refused("chat"), Some(seconds(60)));

    let desk = Desk::half_open();
    assert!(desk.probe("chat").fail(desk.now).is_some());
    assert_eq!(desk.fault("chat", 9), None);
    assert_eq!(desk.refused("chat"), Some(seconds(60)));

    // What fails while nobody tries had begun before.
    let desk = Desk::half_open();
    drop(desk.probe("chat"));
    assert_eq!(desk.fault("chat", 9), None);
}

#[test]
fn what_had_begun_before_changes_nothing() {
    let desk = Desk::new(BreakerSettings::new());
    desk.trip("chat");
    for number in 10..20 {
        assert_eq!(desk.fault("chat", number), None);
    }
    assert_eq!(desk.refused("chat"), Some(seconds(30)));
}

#[test]
fn an_old_try_decides_nothing() {
    let mut desk = Desk::half_open();
    let old = desk.probe("chat");
    assert!(desk.breakers.reset(&event("chat")));
    assert!(!desk.breakers.reset(&event("chat")));
    assert!(desk.passes("chat"));
    desk.trip("chat");
    desk.pass(seconds(30));
    let new = desk.probe("chat");
    old.succeed();
    assert_eq!(desk.phases(), [BreakerPhase::Probing]);
    new.succeed();
    assert_eq!(desk.phases(), []);
}

#[test]
fn a_reset_of_what_is_on_says_so() {
    let desk = Desk::new(BreakerSettings::new());
    desk.fault("chat", 1);
    assert!(!desk.breakers.reset(&event("chat")));
}

#[test]
fn what_must_always_run_has_no_breaker() {
    use ActivityKind::*;
    let desk = Desk::new(BreakerSettings::new().identities(2));
    for (kind, has) in [
        (Event, true),
        (Fallback, true),
        (Connect, true),
        (Middleware, true),
        (Disconnect, false),
        (Transport, false),
        (WebSocket, false),
        (Task, false),
    ] {
        let activity = Activity::new(kind, "/", "x");
        let tripped =
            (0..9).filter(|number| desk.breakers.fault(&activity, &who(*number), desk.now).is_some());
        assert_eq!(tripped.count(), usize::from(has), "{kind:?}");
    }
    let off = Desk::new(BreakerSettings::new().enabled(false));
    assert!((0..9).all(|number| off.fault("chat", number).is_none()));
}

#[test]
fn operators_see_what_is_off() {
    let desk = Desk::new(BreakerSettings::new());
    desk.trip("chat");
    let text = serde_json::to_string(&desk.breakers.states(desk.now)).expect("serialises");
    let activity = r#"{"kind":"event","namespace":"/","name":"chat"}"#;
    let rest = r#""phase":"open","retry_after_ms":30000,"open_for_ms":30000"#;
    assert_eq!(text, format!(r#"[{{"activity":{activity},{rest}}}]"#));
}

/// A fallback handler sees whatever names clients make up.
#[test]
fn made_up_names_are_forgotten_and_push_nothing_out() {
    let desk = Desk::new(BreakerSettings::new().capacity(100));
    desk.trip("chat");
    for number in 0..10_000 {
        let activity = Activity::new(ActivityKind::Fallback, "/", format!("made-up-{number}"));
        assert_eq!(desk.breakers.fault(&activity, &who(number), desk.now), None);
    }
    assert_eq!(desk.breakers.0.state.lock().ledger.len(), 100);
    assert!(desk.refused("chat").is_some());
}

#[test]
fn of_many_at_once_one_may_try() {
    const THREADS: usize = 8;
    for _ in 0..50 {
        let desk = Desk::half_open();
        let barrier = Barrier::new(THREADS);
        // Held until all have asked: a try that is dropped lets the next one in.
        let admissions: Vec<_> = std::thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                desk.breakers.admit(&event("chat"), desk.now)
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let probes = admissions.iter().filter(|admission| matches!(admission, Admission::Probe(_))).count();
        let passed = admissions.iter().filter(|admission| matches!(admission, Admission::Pass)).count();
        assert_eq!((probes, passed), (1, 0));
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fault { who: u32 },
    Admit,
    Succeed,
    Fail,
    Drop,
    Reset,
    Pass { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5u32).prop_map(|who| Step::Fault { who }),
        4 => Just(Step::Admit),
        1 => Just(Step::Succeed),
        1 => Just(Step::Fail),
        1 => Just(Step::Drop),
        1 => Just(Step::Reset),
        3 => (0..90u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    /// Whatever happens: while it is off nobody passes, at most one try is current, and the quick
    /// answer agrees with the listing.
    #[test]
    fn holds_its_promises(steps in prop::collection::vec(any_step(), 0..80)) {
        let mut desk = Desk::new(BreakerSettings::new());
        let mut probes: Vec<Probe> = Vec::new();
        let mut tried = desk.now;
        for step in steps {
            match step {
                Step::Fault { who } => drop(desk.fault("chat", who)),
                Step::Pass { seconds: length } => desk.pass(seconds(length)),
                Step::Reset => drop(desk.breakers.reset(&event("chat"))),
                Step::Admit => {
                    let phase = desk.phases().first().copied();
                    match (phase, desk.breakers.admit(&event("chat"), desk.now)) {
                        (None, Admission::Pass) => {}
                        (Some(BreakerPhase::HalfOpen), Admission::Probe(probe)) => {
                            tried = desk.now;
                            probes.push(probe);
                        }
                        // A try that takes too long is not waited for.
                        (Some(BreakerPhase::Probing), Admission::Probe(probe)) => {
                            prop_assert!(desk.now - tried >= seconds(30));
                            tried = desk.now;
                            probes.push(probe);
                        }
                        // One that nobody has tried for longer than the cap is forgotten.
                        (Some(BreakerPhase::HalfOpen), Admission::Pass) => prop_assert!(desk.phases().is_empty()),
                        (None | Some(BreakerPhase::HalfOpen), other) => {
                            prop_assert!(false, "{phase:?} {other:?}");
                        }
                        (_, Admission::Refused { retry_after }) => prop_assert!(!retry_after.is_zero()),
                        (_, other) => prop_assert!(false, "{phase:?} {other:?}"),
                    }
                }
                Step::Succeed => probes.pop().into_iter().for_each(Probe::succeed),
                Step::Fail => drop(probes.pop().map(|probe| probe.fail(desk.now))),
                Step::Drop => drop(probes.pop()),
            }
            let off = desk.breakers.0.off.load(Ordering::Relaxed);
            prop_assert_eq!(off, desk.phases().len());
            let state = desk.breakers.0.state.lock();
            let current = |probe: &&Probe| {
                state.ledger.get(&probe.activity).is_some_and(|track| track.tries(probe.number))
            };
            prop_assert!(probes.iter().filter(current).count() <= 1);
        }
    }
}
