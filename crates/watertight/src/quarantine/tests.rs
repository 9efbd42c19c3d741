use super::*;
use proptest::prelude::*;

fn named(number: u32) -> Identity {
    Identity::Named(format!("user:{number}"))
}

fn address() -> Identity {
    Identity::of_address([203, 0, 113, 7].into())
}

/// Two strikes, 10 s, doubling, and no jitter.
fn settings() -> QuarantineSettings {
    QuarantineSettings::new().jitter(0.0)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A quarantine and a clock that only the test moves.
struct Desk {
    quarantine: Quarantine,
    now: Moment,
}

impl Desk {
    fn new(settings: QuarantineSettings) -> Self {
        assert_eq!(settings.check(), Ok(()));
        Self { quarantine: Quarantine::with_seed(settings, 7), now: Moment::now() }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn strike(&self, identity: &Identity) -> Strike {
        self.quarantine.strike(identity, IncidentId::at(self.now.time), self.now, || false)
    }

    fn check(&self, identity: &Identity) -> Option<Held> {
        self.quarantine.check(identity, self.now.instant)
    }

    /// Strikes until it is held, and says for how many seconds.
    fn convict(&self, identity: &Identity) -> u64 {
        for _ in 0..10 {
            if let Strike::Quarantined(held) = self.strike(identity) {
                return held.retry_after.as_secs();
            }
        }
        panic!("ten faults are enough");
    }
}

#[test]
fn the_second_fault_quarantines() {
    let mut desk = Desk::new(settings());
    assert_eq!(desk.strike(&named(1)), Strike::Noted { count: 1 });
    assert_eq!(desk.check(&named(1)), None);
    desk.pass(seconds(60));
    let incident = IncidentId::new();
    let Strike::Quarantined(held) = desk.quarantine.strike(&named(1), incident, desk.now, || true) else {
        panic!("a name is one client, shared or not");
    };
    assert_eq!((held.retry_after, held.level, held.incident), (seconds(10), 1, incident));
    assert_eq!(held.until, desk.now.time + seconds(10));
    assert_eq!(desk.check(&named(1)), Some(held));
    assert_eq!(desk.check(&named(2)), None);

    desk.pass(seconds(4));
    assert_eq!(desk.check(&named(1)).map(|held| held.retry_after), Some(seconds(6)));
    desk.pass(seconds(6));
    assert_eq!(desk.check(&named(1)), None);
    assert_eq!(desk.quarantine.in_force.load(Ordering::Relaxed), 0, "the quick answer is back");
}

#[test]
fn faults_outside_of_the_window_do_not_count() {
    let mut desk = Desk::new(settings());
    for _ in 0..5 {
        assert_eq!(desk.strike(&named(1)), Strike::Noted { count: 1 });
        desk.pass(seconds(61));
    }
}

#[test]
fn each_repeat_doubles_up_to_the_cap() {
    let mut desk = Desk::new(settings().cap(seconds(60)));
    for expected in [10, 20, 40, 60, 60, 60] {
        assert_eq!(desk.convict(&named(1)), expected);
        desk.pass(seconds(61));
    }
    // The level does not go on beyond the cap, so forgiving does not take for ever.
    assert_eq!(desk.quarantine.top_level, 4);
    desk.pass(seconds(3 * 600));
    assert_eq!(desk.convict(&named(1)), 20);
}

#[test]
fn a_fault_during_a_quarantine_does_not_lengthen_it() {
    let mut desk = Desk::new(settings());
    assert_eq!(desk.convict(&named(1)), 10);
    desk.pass(seconds(3));
    let Strike::Quarantined(held) = desk.strike(&named(1)) else { panic!("it is quarantined") };
    assert_eq!((held.retry_after, held.level), (seconds(7), 1));
}

#[test]
fn good_conduct_lowers_the_level_and_a_fault_interrupts_it() {
    let mut desk = Desk::new(settings());
    for _ in 0..3 {
        desk.convict(&named(1));
        desk.pass(seconds(100));
    }
    // Level 3, of which 40 s were served and 60 s were good.
    desk.pass(seconds(539));
    assert_eq!(desk.strike(&named(1)), Strike::Noted { count: 1 });
    desk.pass(seconds(599));
    assert_eq!(desk.strike(&named(1)), Strike::Noted { count: 1 });
    assert_eq!(desk.convict(&named(1)), 80, "nothing was forgiven: no 10 minutes without a fault");
    desk.pass(seconds(80 + 2 * 600));
    assert_eq!(desk.convict(&named(1)), 40, "from 4 to 2, and up by one");
}

#[test]
fn an_address_in_good_company_is_never_quarantined() {
    let desk = Desk::new(settings().strikes(1));
    let strike = |shared: bool| desk.quarantine.strike(&address(), IncidentId::new(), desk.now, || shared);
    assert_eq!(strike(false), Strike::Noted { count: 1 }, "not for the first, whatever the setting");
    assert_eq!(strike(true), Strike::Shared);
    assert_eq!(desk.check(&address()), None);
    assert!(matches!(strike(false), Strike::Quarantined(_)), "alone, its faults count");
    assert!(matches!(desk.strike(&named(1)), Strike::Quarantined(_)), "a name needs only one here");
}

/// Asking walks the registry: it must not happen on the way of every fault, nor under the lock.
#[test]
fn company_is_asked_for_only_when_it_matters() {
    let desk = Desk::new(settings());
    let strike = |identity: &Identity, asked: &mut bool| {
        desk.quarantine.strike(identity, IncidentId::new(), desk.now, || {
            *asked = true;
            desk.check(identity).is_some()
        })
    };
    let mut asked = false;
    strike(&address(), &mut asked);
    strike(&named(1), &mut asked);
    strike(&named(1), &mut asked);
    assert!(!asked);
    assert!(matches!(strike(&address(), &mut asked), Strike::Quarantined(_)));
    assert!(asked);
}

#[test]
fn whoever_is_allowed_is_never_quarantined() {
    let allowed = "203.0.113.0/24".parse::<AllowEntry>().expect("any text is an entry");
    let desk = Desk::new(settings().allow(allowed).allow(named(1)));
    for identity in [address(), named(1)] {
        assert_eq!(desk.strike(&identity), Strike::Allowed);
        assert_eq!(desk.quarantine.add(&identity, seconds(9), "no", None, desk.now), None);
    }
    let ended = Desk::new(settings());
    ended.convict(&named(1));
    desk.quarantine.restore(ended.quarantine.entries(ended.now.instant), desk.now);
    assert_eq!(desk.check(&named(1)), None);
}

#[test]
fn off_is_off() {
    let desk = Desk::new(settings().enabled(false));
    assert_eq!(desk.strike(&named(1)), Strike::Off);
    assert_eq!(desk.quarantine.add(&named(1), seconds(9), "no", None, desk.now), None);
    let other = Desk::new(settings());
    other.convict(&named(1));
    desk.quarantine.restore(other.quarantine.entries(other.now.instant), desk.now);
    assert_eq!(desk.check(&named(1)), None);
}

#[test]
fn one_grave_fault_is_enough_to_hold() {
    let desk = Desk::new(settings());
    let hold =
        |shared: bool| desk.quarantine.hold(&address(), IncidentId::new(), "flooded", desk.now, || shared);
    assert_eq!(hold(true), Strike::Shared);
    assert!(matches!(hold(false), Strike::Quarantined(Held { level: 1, .. })));
    assert_eq!(desk.quarantine.entries(desk.now.instant)[0].reason, "flooded");
}

#[test]
fn an_operator_adds_and_lifts() {
    let mut desk = Desk::new(settings());
    let incident = IncidentId::new();
    let held = desk.quarantine.add(&named(1), seconds(5), "asked to", Some(incident), desk.now);
    let held = held.expect("it is quarantined");
    assert_eq!((held.retry_after, held.level, held.incident), (seconds(5), 0, incident));
    let entries = desk.quarantine.entries(desk.now.instant);
    assert_eq!((entries[0].reason.as_str(), entries[0].strikes), ("asked to", 0));
    assert_eq!(desk.quarantine.entry(&named(1), desk.now.instant).as_ref(), Some(&entries[0]));

    assert!(desk.quarantine.lift(&named(1), desk.now.instant));
    assert!(!desk.quarantine.lift(&named(1), desk.now.instant));
    assert_eq!(desk.check(&named(1)), None);

    desk.quarantine.add(&named(1), Duration::MAX, "for good", None, desk.now);
    assert_eq!(desk.check(&named(1)).map(|held| held.retry_after), Some(MAX_DURATION));
    desk.pass(MAX_DURATION);
    assert!(!desk.quarantine.lift(&named(1), desk.now.instant), "it had ended");
}

#[test]
fn lifting_forgives_everything() {
    let desk = Desk::new(settings());
    desk.convict(&named(1));
    desk.quarantine.lift(&named(1), desk.now.instant);
    assert_eq!(desk.strike(&named(1)), Strike::Noted { count: 1 });
    assert_eq!(desk.convict(&named(1)), 10);
}

#[test]
fn a_restart_forgives_nobody() {
    let mut before = Desk::new(settings());
    before.convict(&named(1));
    before.pass(seconds(61));
    before.convict(&named(1));
    before.convict(&address());
    let entries = before.quarantine.entries(before.now.instant);
    assert_eq!(entries.iter().map(|entry| &entry.identity).collect::<Vec<_>>(), [&address(), &named(1)]);

    let mut after = Desk::new(settings());
    after.now = before.now.after(seconds(12));
    after.quarantine.restore(entries, after.now);
    assert_eq!(after.check(&address()), None, "its time is over");
    let held = after.check(&named(1)).expect("it is still quarantined");
    let told = before.check(&named(1)).expect("as before");
    assert_eq!((held.retry_after, held.level, held.incident), (seconds(8), 2, told.incident));
    let entry = after.quarantine.entry(&named(1), after.now.instant).expect("as before");
    assert_eq!((entry.strikes, entry.reason.as_str()), (2, "2 faults within 60s"));
    assert_eq!(after.convict(&address()), 20, "its level is kept");

    let mut late = Desk::new(settings());
    late.now = before.now.after(seconds(600 + 20));
    late.quarantine.restore(before.quarantine.entries(before.now.instant), late.now);
    assert_eq!(late.convict(&named(1)), 20, "one level is forgiven");
    assert_eq!(late.convict(&address()), 10, "all is forgiven");
}

/// A store is written by another run, perhaps with other settings or another calendar.
#[test]
fn what_an_earlier_run_left_is_bounded() {
    let mut desk = Desk::new(settings());
    let entry = |who: u32, until: SystemTime| Entry {
        identity: named(who),
        until,
        level: u32::MAX,
        strikes: 2,
        reason: "é".repeat(1_000),
        incident: IncidentId::new(),
    };
    let forgiven = Entry { level: 1, ..entry(3, desk.now.time - seconds(600)) };
    let entries = [entry(1, desk.now.time + 9 * MAX_DURATION), entry(2, SystemTime::UNIX_EPOCH), forgiven];
    desk.quarantine.restore(entries, desk.now);

    let held = desk.check(&named(1)).expect("it is quarantined");
    assert_eq!((held.retry_after, held.level), (MAX_DURATION, desk.quarantine.top_level));
    let entry = desk.quarantine.entry(&named(1), desk.now.instant).expect("as before");
    assert!(entry.reason.len() <= 256);
    assert_eq!(desk.quarantine.state.lock().ledger.len(), 1, "nothing is kept of what is forgiven");
    desk.pass(MAX_DURATION);
    assert_eq!(desk.convict(&named(1)), 3_600);
}

/// In company it goes on for ever: what is kept of it must not.
#[test]
fn no_more_faults_are_kept_than_can_matter() {
    let desk = Desk::new(settings().strikes(3));
    let strike = || desk.quarantine.strike(&address(), IncidentId::new(), desk.now, || true);
    let answers: Vec<_> = (0..1_000).map(|_| strike()).collect();
    assert_eq!(answers.last(), Some(&Strike::Shared));
    let held = desk.quarantine.hold(&address(), IncidentId::new(), "", desk.now, || false);
    assert!(matches!(held, Strike::Quarantined(_)));
    assert_eq!(desk.quarantine.entries(desk.now.instant)[0].strikes, 3);
}

/// Whoever shuts clients out in one instant must not let them all back in one.
#[test]
fn jitter_spreads_the_ends_and_repeats_with_its_seed() {
    let ends = || -> Vec<u128> {
        let desk = Desk::new(QuarantineSettings::new().strikes(1));
        let ends = (0..50).map(|number| match desk.strike(&named(number)) {
            Strike::Quarantined(held) => held.retry_after.as_millis(),
            other => panic!("{other:?}"),
        });
        ends.collect()
    };
    let first = ends();
    assert!(first.iter().all(|end| (9_000..=11_000).contains(end)), "{first:?}");
    assert!(first.iter().max() > first.iter().min().map(|end| end + 1_000).as_ref(), "{first:?}");
    assert_eq!(first, ends());
}

/// Two connections of one address crash at once: that is one quarantine, not two.
#[test]
fn of_two_faults_at_once_one_quarantines() {
    let desk = Desk::new(settings());
    desk.strike(&address());
    let mut first = None;
    // While the one asks for company, the other is through.
    let second = desk.quarantine.strike(&address(), IncidentId::new(), desk.now, || {
        first = Some(desk.strike(&address()));
        false
    });
    assert!(matches!(second, Strike::Quarantined(Held { level: 1, .. })), "{second:?}");
    assert_eq!(Some(second), first);
}

/// The bound on the time leaves room for a busy machine, and none for a search through all records.
#[test]
fn a_million_identities_stay_within_the_capacity() {
    let identities = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut desk = Desk::new(settings().capacity(10_000));
    desk.convict(&named(u32::MAX));
    let started = Instant::now();
    for number in 0..identities {
        desk.strike(&named(number));
        desk.now = desk.now.after(Duration::from_micros(1));
    }
    let took = started.elapsed();
    assert_eq!(desk.quarantine.state.lock().ledger.len(), 10_000);
    assert!(desk.check(&named(u32::MAX)).is_some(), "strangers do not push a quarantine out");
    assert!(took < seconds(20), "took {took:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Strike { who: u32, shared: bool },
    Add { who: u32, seconds: u64 },
    Lift { who: u32 },
    Check { who: u32 },
    Pass { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u32, any::<bool>()).prop_map(|(who, shared)| Step::Strike { who, shared }),
        1 => (0..12u32, 0..100u64).prop_map(|(who, seconds)| Step::Add { who, seconds }),
        1 => (0..12u32).prop_map(|who| Step::Lift { who }),
        2 => (0..12u32).prop_map(|who| Step::Check { who }),
        2 => (0..80u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    /// Whatever happens: the bound holds, the listing agrees with the answers, nobody is pushed out of
    /// quarantine while someone is remembered who is not in it, and no address in company is in it.
    #[test]
    fn holds_its_promises(steps in prop::collection::vec(any_step(), 0..60), capacity in 1..6usize) {
        let mut desk = Desk::new(settings().capacity(capacity));
        // Even ones are names, odd ones are addresses.
        let identity = |who: u32| match who % 2 {
            0 => named(who),
            _ => Identity::of_address([192, 0, 2, u8::try_from(who).expect("at most 11")].into()),
        };
        for step in steps {
            let listed = |desk: &Desk| -> Vec<Identity> {
                desk.quarantine.entries(desk.now.instant).into_iter().map(|entry| entry.identity).collect()
            };
            let before = listed(&desk);
            let mut gone = None;
            match step {
                Step::Strike { who, shared } => {
                    let id = identity(who);
                    let answer = desk.quarantine.strike(&id, IncidentId::new(), desk.now, || shared);
                    let quarantined = matches!(answer, Strike::Quarantined(_));
                    prop_assert_eq!(quarantined, desk.check(&id).is_some());
                    if shared && who % 2 == 1 && !before.contains(&id) {
                        prop_assert!(!quarantined);
                    }
                }
                Step::Add { who, seconds: length } => {
                    let held = desk.quarantine.add(&identity(who), seconds(length), "", None, desk.now);
                    prop_assert_eq!(held, desk.check(&identity(who)));
                }
                Step::Lift { who } => {
                    let was = before.contains(&identity(who));
                    prop_assert_eq!(desk.quarantine.lift(&identity(who), desk.now.instant), was);
                    gone = Some(identity(who));
                }
                Step::Check { who } => {
                    prop_assert_eq!(desk.check(&identity(who)).is_some(), before.contains(&identity(who)));
                }
                Step::Pass { seconds: length } => {
                    desk.pass(seconds(length));
                    continue;
                }
            }
            let after = listed(&desk);
            let records = desk.quarantine.state.lock().ledger.len();
            prop_assert!(records <= capacity);
            for who in 0..12 {
                prop_assert_eq!(after.contains(&identity(who)), desk.check(&identity(who)).is_some());
            }
            let pushed_out = before.iter().any(|who| !after.contains(who) && gone.as_ref() != Some(who));
            if pushed_out {
                // All of the others are quarantined, but for the newcomer.
                prop_assert!(records == capacity && after.len() + 1 >= capacity, "{after:?}");
            }
        }
    }
}
