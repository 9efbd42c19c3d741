use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::*;
use crate::activity::ActivityKind;
use crate::breaker::{Admission, BreakerSettings, Breakers};
use crate::conduct::ConductSettings;
use crate::conduct::Memory;
use crate::death::{Exit, Manner};
use crate::fault::SeenLocations;
use crate::incident::IncidentId;
use crate::inner::Counters;
use crate::mailbox::Mailbox;
use crate::policy::StandardPolicy;
use crate::quarantine::{Entry, Quarantine, QuarantineSettings};
use crate::settings::Settings;
use crate::store::Store;

const MINUTE: Duration = Duration::from_mins(1);

/// What an earlier run has left.
#[derive(Clone, Default)]
struct Deaths {
    deaths: Arc<Mutex<Vec<(Death, bool)>>>,
    kept: Arc<Mutex<Vec<Entry>>>,
}

impl Store for Deaths {
    fn incident(&self, _: &Arc<Incident>) {}

    fn recent(&self, _: usize) -> Vec<Arc<Incident>> {
        Vec::new()
    }

    fn quarantined(&self, entry: &Entry) {
        self.kept.lock().push(entry.clone());
    }

    fn lifted(&self, _: &Identity) {}

    fn quarantine(&self) -> Vec<Entry> {
        Vec::new()
    }

    fn deaths(&self) -> Vec<(Death, bool)> {
        self.deaths.lock().clone()
    }
}

/// A run that begins now, with these deaths before it, the oldest first, each so long ago and told or not.
struct Run {
    inner: Inner,
    store: Deaths,
    now: Moment,
}

fn run(deaths: Vec<(Death, bool)>) -> Run {
    let store = Deaths { deaths: Arc::new(Mutex::new(deaths)), kept: Arc::default() };
    let (commands, _) = mpsc::unbounded_channel();
    let inner = Inner {
        settings: Settings::default(),
        policy: Box::new(StandardPolicy::default()),
        sinks: Vec::new(),
        mailbox: Mailbox::new(),
        quarantine: Quarantine::with_seed(QuarantineSettings::new(), 1),
        breakers: Breakers::new(BreakerSettings::new()),
        store: Some(Box::new(store.clone())),
        conduct: Arc::new(ConductSettings::default()),
        commands,
        seen: SeenLocations::new(),
        counters: Counters::default(),
        recovering: AtomicBool::new(false),
        stalls: Mutex::new(Vec::new()),
        memory: Memory::new(),
    };
    Run { inner, store, now: Moment::now() }
}

impl Run {
    fn concludes(&self) -> Vec<Aftermath> {
        self.inner.draw_conclusions(self.now)
    }

    fn refuses(&self, identity: &Identity) -> bool {
        self.inner.quarantine.check(identity, self.now.instant).is_some()
    }

    /// How long nobody may do it; 0 when one may try.
    fn off_for(&self, activity: &Activity) -> Option<Duration> {
        match self.inner.breakers.admit(activity, self.now.instant) {
            Admission::Pass => None,
            Admission::Probe(_) => Some(Duration::ZERO),
            Admission::Refused { retry_after } => Some(retry_after),
        }
    }
}

fn fire() -> Activity {
    Activity::new(ActivityKind::Event, "/", "fire")
}

fn culprit(identity: Option<Identity>) -> Culprit {
    let id = identity.as_ref().map_or_else(|| "connection-1".to_owned(), |who| format!("sid-{who}"));
    Culprit { id, identity, others: 0, activity: Some(fire()), thread: "worker".to_owned(), held_ms: 0 }
}

fn named(name: &str) -> Culprit {
    culprit(Some(Identity::named(name)))
}

fn address() -> Identity {
    Identity::of_address(IpAddr::from([203, 0, 113, 7]))
}

fn death(ago: Duration, attribution: Attribution, culprits: Vec<Culprit>) -> Death {
    let mut exit = Exit::now(Duration::from_secs(60));
    exit.time -= ago;
    exit.signal = Some("SIGKILL".to_owned());
    let mut death = Death::new(exit, None);
    assert_eq!(death.manner, Manner::Killed);
    (death.attribution, death.culprits) = (attribution, culprits);
    death
}

fn exact(ago: Duration, culprit: Culprit) -> Death {
    death(ago, Attribution::Exact, vec![culprit])
}

fn suspect(ago: Duration, culprits: Vec<Culprit>) -> Death {
    death(ago, Attribution::Suspect, culprits)
}

#[test]
fn the_culprit_is_refused_and_remembered() {
    let eve = Identity::named("user:eve");
    let run = run(vec![(exact(Duration::ZERO, named("user:eve")), false)]);
    let told = run.concludes();
    assert!(run.refuses(&eve));
    assert_eq!(run.store.kept.lock().iter().map(|entry| &entry.identity).collect::<Vec<_>>(), [&eve]);
    let [Aftermath { incident, held, tripped }] = &told[..] else { panic!("one death") };
    assert_eq!((incident.fault, incident.attribution), (Fault::Abort, Attribution::Exact));
    assert_eq!(incident.verdict, Verdict::Quarantine);
    assert_eq!(incident.offender.as_ref().and_then(|who| who.identity.clone()), Some(eve.clone()));
    assert_eq!((&held[0].0, held[0].1.incident), (&eve, incident.id));
    assert!(tripped.is_empty() && run.off_for(&fire()).is_none(), "one death is one client's");
    assert_eq!(run.inner.counters.quarantined.get(), 1);
}

#[test]
fn a_death_that_was_told_is_not_told_again() {
    let run = run(vec![(exact(Duration::ZERO, named("user:eve")), true)]);
    assert!(run.concludes().is_empty());
    assert!(!run.refuses(&Identity::named("user:eve")), "an operator may have lifted it since");
}

#[test]
fn an_address_that_others_use_is_not_refused() {
    for (others, refused) in [(0, true), (1, false)] {
        let run = run(vec![(exact(Duration::ZERO, Culprit { others, ..culprit(Some(address())) }), false)]);
        let told = run.concludes();
        assert_eq!(run.refuses(&address()), refused, "{others} others");
        let incident = &told[0].incident;
        assert_eq!(incident.verdict == Verdict::Quarantine, refused);
        assert!(incident.offender.is_some(), "it is told all the same");
    }
}

#[test]
fn somebody_with_a_name_is_refused_wherever_that_is() {
    let run = run(vec![(exact(Duration::ZERO, Culprit { others: 3, ..named("user:eve") }), false)]);
    run.concludes();
    assert!(run.refuses(&Identity::named("user:eve")));
}

#[test]
fn only_a_suspect_of_two_deaths_is_refused() {
    let first = suspect(MINUTE, vec![named("user:a"), named("user:eve"), named("user:b")]);
    let second = suspect(Duration::ZERO, vec![named("user:c"), named("user:eve")]);
    let once = run(vec![(first.clone(), false)]);
    let told = once.concludes();
    assert!(["user:a", "user:eve"].iter().all(|name| !once.refuses(&Identity::named(*name))));
    assert!(told[0].incident.offender.is_none() && told[0].incident.attribution == Attribution::Suspect);
    let twice = run(vec![(first, true), (second, false)]);
    let told = twice.concludes();
    let refused = |name: &str| twice.refuses(&Identity::named(name));
    assert!(refused("user:eve"));
    assert!(!["user:a", "user:b", "user:c"].iter().any(|name| refused(name)));
    assert_eq!(told.len(), 1, "the other one has been told");
    assert_eq!(told[0].incident.offender.as_ref().map(|who| &*who.id), Some("sid-user:eve"));
}

/// On several threads, or over several connections: it is refused once.
#[test]
fn who_is_suspect_several_times_over_is_refused_once() {
    let all = || vec![named("user:eve"), Culprit { activity: None, ..named("user:eve") }];
    let run = run(vec![(suspect(MINUTE, all()), true), (suspect(Duration::ZERO, all()), false)]);
    let told = run.concludes();
    assert_eq!((told[0].held.len(), run.inner.counters.quarantined.get()), (1, 1));
}

#[test]
fn an_address_that_others_use_is_no_suspect_of_two_deaths() {
    for (then, now, refused) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
        let at = |others| vec![Culprit { others, ..culprit(Some(address())) }];
        let run = run(vec![(suspect(MINUTE, at(then)), true), (suspect(Duration::ZERO, at(now)), false)]);
        run.concludes();
        assert_eq!(run.refuses(&address()), refused, "{then} others then, {now} now");
    }
}

#[test]
fn nobody_is_suspect_for_having_no_name() {
    let unknown = || vec![culprit(None)];
    let run = run(vec![(suspect(MINUTE, unknown()), true), (suspect(Duration::ZERO, unknown()), false)]);
    assert!(run.concludes()[0].held.is_empty());
}

#[test]
fn after_an_hour_a_death_speaks_against_nobody() {
    let eve = Identity::named("user:eve");
    for (minutes, refused) in [(59, true), (61, false)] {
        let then = MINUTE * minutes;
        let twice = run(vec![
            (suspect(then, vec![named("user:eve")]), true),
            (suspect(Duration::ZERO, vec![named("user:eve")]), false),
        ]);
        twice.concludes();
        assert_eq!(twice.refuses(&eve), refused, "suspect {minutes} min ago");
        let late = run(vec![(exact(then, named("user:eve")), false)]);
        assert_eq!(late.concludes().len(), 1, "it is told, however late");
        assert_eq!(late.refuses(&eve), refused, "culprit {minutes} min ago");
    }
}

/// The calendar was set back between two deaths, or after them.
#[test]
fn a_calendar_that_was_set_back_forgives_nobody() {
    let (mut first, second) =
        (suspect(Duration::ZERO, vec![named("user:eve")]), suspect(Duration::ZERO, vec![named("user:eve")]));
    first.time += MINUTE * 5;
    let run = run(vec![(first, true), (second, false)]);
    run.concludes();
    assert!(run.refuses(&Identity::named("user:eve")));
    assert!(run.off_for(&fire()).is_some_and(|rest| rest <= Duration::from_secs(30)));
}

/// Two deaths in one piece of work switch it off, whoever it was; each further one doubles that.
#[test]
fn the_work_that_was_deadly_twice_is_off_for_longer_each_time() {
    let mut deaths = vec![(exact(MINUTE * 3, named("user:0")), true)];
    for (number, seconds) in [(1, 30), (2, 60), (3, 120)] {
        deaths.push((exact(Duration::ZERO, named(&format!("user:{number}"))), false));
        let run = run(deaths.clone());
        let told = run.concludes();
        let tripped = told.last().and_then(|last| last.tripped.first().cloned());
        let length = Duration::from_secs(seconds);
        assert_eq!(tripped.map(|(on, tripped)| (on, tripped.open_for)), Some((fire(), length)));
        let rest = run.off_for(&fire()).expect("it is off");
        assert!(rest <= length && rest > length - Duration::from_secs(10), "{rest:?}");
        deaths.iter_mut().for_each(|(death, told)| {
            death.time -= Duration::from_secs(20);
            *told = true;
        });
    }
}

/// What is left of it survives a restart, and what is not left does not come back.
#[test]
fn what_is_off_stays_off_over_a_restart_until_its_time_is_over() {
    let deaths = |ago: Duration| {
        let first = exact(ago + MINUTE, named("user:1"));
        vec![(first, true), (exact(ago, named("user:2")), true)]
    };
    let after = |seconds: u64| {
        let run = run(deaths(Duration::from_secs(seconds)));
        assert!(run.concludes().is_empty(), "all was told");
        run.off_for(&fire())
    };
    let rest = after(10).expect("it is off");
    assert!(rest <= Duration::from_secs(20) && rest > Duration::from_secs(10), "{rest:?}");
    assert_eq!(after(31), Some(Duration::ZERO), "one may try");
    assert_eq!(after(11 * 60), None, "nobody wanted it for so long that it is forgotten");
    assert_eq!(after(3 * 60 * 60 * 24), None);
}

#[test]
fn deaths_of_different_work_switch_off_nothing() {
    let other = Activity::new(ActivityKind::Event, "/", "other");
    let first = exact(MINUTE, Culprit { activity: Some(other.clone()), ..named("user:1") });
    let run = run(vec![(first, true), (exact(Duration::ZERO, named("user:4")), false)]);
    run.concludes();
    assert_eq!((run.off_for(&fire()), run.off_for(&other)), (None, None));
}

/// Others are at work when somebody kills the process: what was so every time is switched off, and not what was so by chance.
#[test]
fn of_many_suspects_the_work_that_was_there_every_time_is_switched_off() {
    let at = |name: &'static str| Culprit {
        activity: Some(Activity::new(ActivityKind::Event, "/", name)),
        ..named("user:many")
    };
    let is_off =
        |run: &Run, name: &'static str| run.off_for(&Activity::new(ActivityKind::Event, "/", name)).is_some();
    let kill = |names: &[&'static str]| suspect(Duration::ZERO, names.iter().map(|name| at(name)).collect());
    let after = |deaths: &[&[&'static str]]| {
        let run = run(deaths.iter().map(|names| (kill(names), false)).collect());
        run.concludes();
        run
    };
    let two = after(&[&["kill", "echo"], &["chat", "kill"]]);
    assert!(is_off(&two, "kill") && !is_off(&two, "echo") && !is_off(&two, "chat"));
    let unclear = after(&[&["kill", "echo"], &["echo", "kill"]]);
    assert!(!is_off(&unclear, "kill") && !is_off(&unclear, "echo"), "it may be either");
    let clear = after(&[&["kill", "echo"], &["echo", "kill"], &["kill"]]);
    assert!(is_off(&clear, "kill") && !is_off(&clear, "echo"));
    let thrice = after(&[&["kill", "echo"], &["echo", "kill"], &["kill", "echo"]]);
    assert!(is_off(&thrice, "kill") && is_off(&thrice, "echo"), "it has to end");
}

/// A first death is a fault in its work like any other: with those of others it switches it off.
#[test]
fn a_first_death_counts_as_a_fault_of_its_work() {
    let run = run(vec![(exact(Duration::from_secs(5), named("user:1")), false)]);
    run.concludes();
    let fault = |name: &str| run.inner.breakers.fault(&fire(), &Identity::named(name), Instant::now());
    assert!(fault("user:2").is_none());
    assert!(fault("user:3").is_some(), "three different clients");
}

#[test]
fn a_death_that_nobody_knows_of_is_told_as_nobodys() {
    let run = run(vec![(death(Duration::ZERO, Attribution::Unattributed, vec![]), false)]);
    let told = run.concludes();
    let incident = &told[0].incident;
    assert!(incident.offender.is_none() && incident.attribution == Attribution::Unattributed);
    let names_it = |death: &Arc<Death>| death.id == incident.id;
    assert!(incident.death.as_ref().is_some_and(names_it) && incident.id != IncidentId::new());
}
