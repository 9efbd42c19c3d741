use super::*;

const PROCESS: u32 = 77;

fn person(name: &str) -> Person {
    let key = name.bytes().map(u64::from).sum();
    Person { key, session: Some(format!("sid-{name}")), identity: Some(Identity::named(name)), others: 0 }
}

fn line(name: &str, kind: ActivityKind, since_ms: u64) -> Line {
    let activity = Name { kind, namespace: "/".to_owned(), name: "fire".to_owned(), cut: false };
    Line { person: person(name), activity: Some(activity), since_ms }
}

fn thread(id: u64, now: Now) -> Thread {
    Thread {
        id,
        name: format!("worker-{id}"),
        lane: false,
        blocking: false,
        now,
        reading: None,
        last: Vec::new(),
    }
}

/// A thread at work for `name`, in one scope, since then.
fn at(id: u64, name: &str, since_ms: u64) -> Thread {
    let current = line(name, ActivityKind::Event, since_ms);
    thread(id, Now::Scope { outermost: current.clone(), current, depth: 1 })
}

fn record(crash: Option<Crash>, threads: Vec<Thread>) -> Record {
    Record { process: PROCESS, clock_ms: 10_000, answers: 1, crash, threads }
}

/// The thread aborts.
fn crash(thread: u64) -> Crash {
    Crash { thread, signal: 6, code: -6, address: 0, stack: 0x7000, sender: PROCESS }
}

fn by_signal(signal: &str) -> Exit {
    let mut exit = Exit::now(Duration::from_secs(60));
    exit.signal = Some(signal.to_owned());
    exit
}

fn wedged() -> Exit {
    wedged_for(Duration::from_secs(10))
}

fn wedged_for(silent: Duration) -> Exit {
    Exit { wedged: Some(silent), ..by_signal("SIGABRT") }
}

fn ids(death: &Death) -> Vec<&str> {
    death.culprits.iter().map(|culprit| culprit.id.as_str()).collect()
}

#[test]
fn the_thread_that_died_names_its_client_for_certain() {
    let mut dying = at(1, "eve", 9_000);
    dying.last = vec![line("eve", ActivityKind::Event, 9_000), line("old", ActivityKind::Event, 8_000)];
    let record = record(Some(crash(1)), vec![at(2, "bob", 0), dying]);
    let death = Death::new(by_signal("SIGABRT"), Some(&record));
    assert_eq!((death.manner, death.attribution), (Manner::Crash, Attribution::Exact));
    assert_eq!(death.thread.as_deref(), Some("worker-1"));
    let culprit = death.culprit().expect("it is certain");
    assert_eq!((culprit.id.as_str(), culprit.held_ms, culprit.others), ("sid-eve", 1_000, 0));
    assert_eq!(culprit.activity, Some(Activity::new(ActivityKind::Event, "/", "fire")));
    assert_eq!(death.last, ["event / fire of sid-eve", "event / fire of sid-old"]);
    assert_eq!(death.uptime_ms, 60_000);
}

#[test]
fn a_transports_own_code_is_told_as_such() {
    let current = line("eve", ActivityKind::Transport, 0);
    let scope = Now::Scope { outermost: current.clone(), current, depth: 1 };
    let death = Death::new(by_signal("SIGABRT"), Some(&record(Some(crash(1)), vec![thread(1, scope)])));
    assert_eq!((death.attribution, ids(&death)), (Attribution::Transport, vec!["sid-eve"]));
    let reading = Thread { reading: Some(person("bob")), ..thread(1, Now::Idle) };
    let death = Death::new(by_signal("SIGABRT"), Some(&record(Some(crash(1)), vec![reading])));
    assert_eq!((death.attribution, ids(&death)), (Attribution::Transport, vec!["sid-bob"]));
    assert_eq!(death.culprits[0].activity, Some(Activity::transport()));
    assert!(death.culprit().is_some(), "it is certain");
}

#[test]
fn a_thread_that_was_writing_accuses_nobody() {
    let torn = Thread { reading: Some(person("bob")), ..thread(1, Now::Torn) };
    let death = Death::new(by_signal("SIGABRT"), Some(&record(Some(crash(1)), vec![torn, at(2, "eve", 0)])));
    assert_eq!((death.attribution, ids(&death)), (Attribution::Unattributed, vec![]));
    assert_eq!(death.thread.as_deref(), Some("worker-1"));
}

#[test]
fn a_thread_that_nobody_knows_accuses_nobody() {
    let record = record(Some(crash(9)), vec![at(1, "eve", 0)]);
    let death = Death::new(by_signal("SIGABRT"), Some(&record));
    assert_eq!((death.manner, death.attribution), (Manner::Crash, Attribution::Unattributed));
    assert_eq!((ids(&death), &death.thread), (vec![], &None));
}

#[test]
fn a_stack_overflow_is_one() {
    let crash = Crash { signal: 11, code: 2, address: 0x6ff0, sender: 0, ..crash(1) };
    let death = Death::new(by_signal("SIGSEGV"), Some(&record(Some(crash), vec![at(1, "eve", 0)])));
    assert_eq!((death.manner, ids(&death)), (Manner::StackOverflow, vec!["sid-eve"]));
}

/// A signal from elsewhere hits any thread: also one from outside of the container, whose sender nobody knows.
#[test]
fn a_signal_from_elsewhere_makes_suspects_only() {
    for sender in [PROCESS + 1, 0] {
        let crash = Crash { code: 0, sender, ..crash(1) };
        let record = record(Some(crash), vec![at(1, "eve", 9_990), at(2, "bob", 5_000)]);
        let death = Death::new(by_signal("SIGABRT"), Some(&record));
        assert_eq!((death.manner, death.attribution), (Manner::Killed, Attribution::Suspect));
        assert_eq!(ids(&death), ["sid-bob", "sid-eve"], "the longest first");
        assert_eq!((death.crash, death.culprit()), (None, None));
    }
}

#[test]
fn memory_that_ran_short_is_told_from_a_kill() {
    let record = record(None, vec![at(1, "eve", 0), thread(2, Now::Idle), thread(3, Now::Torn)]);
    for (out_of_memory, manner) in
        [(Some(true), Manner::OutOfMemory), (Some(false), Manner::Killed), (None, Manner::Killed)]
    {
        let death = Death::new(Exit { out_of_memory, ..by_signal("SIGKILL") }, Some(&record));
        assert_eq!((death.manner, death.attribution), (manner, Attribution::Suspect));
        assert_eq!(ids(&death), ["sid-eve"]);
    }
}

/// The event that ends the process may do so before its connection's reader has left.
#[test]
fn whoever_is_read_while_at_an_event_is_one_suspect() {
    let reading = |id, name| Thread { reading: Some(person(name)), ..thread(id, Now::Idle) };
    let threads = vec![reading(1, "eve"), at(2, "eve", 10_000), reading(3, "bob")];
    let death = Death::new(by_signal("SIGKILL"), Some(&record(None, threads)));
    assert_eq!(ids(&death), ["sid-eve", "sid-bob"]);
    assert_eq!(death.culprits[0].activity, Some(Activity::new(ActivityKind::Event, "/", "fire")));
    assert_eq!(death.culprits[1].activity, Some(Activity::transport()));
}

/// The limit may be shorter than what holds up a server for long: somebody has still held it up for the whole of it.
#[test]
fn whoever_holds_up_a_server_for_a_short_time_is_suspect() {
    let record = record(None, vec![at(1, "eve", 9_500), at(2, "bob", 9_900)]);
    let death = Death::new(wedged_for(Duration::from_millis(500)), Some(&record));
    assert_eq!((death.attribution, ids(&death)), (Attribution::Suspect, vec!["sid-eve"]));
    assert_eq!(Death::new(wedged(), Some(&record)).attribution, Attribution::Unattributed);
}

#[test]
fn who_holds_threads_is_suspect_when_nothing_answers() {
    let nested = Now::Scope {
        current: line("inner", ActivityKind::Event, 9_900),
        outermost: line("outer", ActivityKind::Event, 2_000),
        depth: 2,
    };
    let job = Thread { blocking: true, ..at(5, "job", 0) };
    let threads =
        vec![at(1, "short", 9_001), at(2, "second", 9_000), at(3, "eve", 1_000), thread(4, nested), job];
    // The parent's signal marks whichever thread it hits.
    let record = record(Some(crash(1)), threads);
    let death = Death::new(wedged(), Some(&record));
    assert_eq!((death.manner, death.attribution), (Manner::Wedged, Attribution::Suspect));
    assert_eq!(ids(&death), ["sid-eve", "sid-inner", "sid-second"]);
    let held: Vec<_> = death.culprits.iter().map(|culprit| culprit.held_ms).collect();
    assert_eq!(held, [9_000, 8_000, 1_000]);
    assert_eq!(death.crash, None);
}

/// A client that holds every thread is one, and the only one.
#[test]
fn who_is_at_the_same_on_many_threads_is_one_suspect() {
    let threads = (0..8).map(|id| at(id, "eve", 1_000 * id)).collect();
    let death = Death::new(wedged(), Some(&record(None, threads)));
    let [culprit] = &death.culprits[..] else { panic!("{:#?}", death.culprits) };
    assert_eq!((culprit.id.as_str(), culprit.held_ms), ("sid-eve", 10_000));
    assert_eq!(death.culprit(), None, "it is a suspect all the same");
}

#[test]
fn there_is_an_end_to_suspects() {
    let threads = (0..100).map(|id| at(id, &format!("user:{id}"), 10_000 - id)).collect();
    let death = Death::new(by_signal("SIGKILL"), Some(&record(None, threads)));
    assert_eq!(death.culprits.len(), MAX_SUSPECTS);
    assert_eq!(ids(&death)[0], "sid-user:99", "those stay who were at it longest");
    assert!(death.to_string().ends_with("64 connections were at work"), "{death}");
}

#[test]
fn who_ends_with_an_exit_code_did_not_crash() {
    let record = record(Some(crash(1)), vec![at(1, "eve", 0)]);
    let mut exit = Exit::now(Duration::ZERO);
    exit.code = Some(1);
    let death = Death::new(exit, Some(&record));
    assert_eq!((death.manner, death.exit_code), (Manner::Exited, Some(1)));
    assert_eq!((death.attribution, ids(&death)), (Attribution::Suspect, vec!["sid-eve"]));
}

#[test]
fn without_a_record_nobody_is_accused() {
    let death = Death::new(by_signal("SIGKILL"), None);
    assert_eq!((death.manner, death.attribution), (Manner::Killed, Attribution::Unattributed));
    assert!(death.to_string().ends_with("nobody's work is known to have been the reason"), "{death}");
}

/// A part of a name may be another's: nothing is switched off for it.
#[test]
fn a_name_that_was_cut_is_no_activity() {
    let mut dying = at(1, "eve", 0);
    let Now::Scope { current, .. } = &mut dying.now else { unreachable!() };
    current.activity.as_mut().expect("it has one").cut = true;
    let death = Death::new(by_signal("SIGABRT"), Some(&record(Some(crash(1)), vec![dying])));
    assert_eq!((ids(&death), &death.culprits[0].activity), (vec!["sid-eve"], &None));
}

#[test]
fn comes_back_as_it_was() {
    let record = record(Some(crash(1)), vec![at(1, "eve", 0)]);
    let death = Death::new(by_signal("SIGABRT"), Some(&record));
    let text = serde_json::to_string(&death).expect("serialises");
    let back: Death = serde_json::from_str(&text).expect("reads back");
    // Stored in milliseconds.
    assert_eq!(Death { time: death.time, ..back.clone() }, death);
    assert!(death.time.duration_since(back.time).is_ok_and(|lost| lost < Duration::from_millis(1)));
}
