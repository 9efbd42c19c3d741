//! Work that does not come back to its executor: told while it still blocks, and by name. One recovery for all tests of
//! this file; each knows its stalls by their client.

mod common;

use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, eventually, flush};
use watertight::{
    ActivityKind, Attribution, CaptureSink, Fault, Incident, NoResponder, ScopeExt, Stall, State, Verdict,
    Watertight, run,
};

const WARN: Duration = Duration::from_millis(60);
const LIMIT: Duration = Duration::from_millis(150);

fn sink() -> CaptureSink {
    static SINK: LazyLock<CaptureSink> = LazyLock::new(|| {
        let sink = CaptureSink::new();
        let builder = common::builder().sink(sink.clone()).stall_warn(WARN).stall_limit(LIMIT);
        builder.install().expect("this binary installs here only");
        sink
    });
    SINK.clone()
}

fn watertight() -> &'static Watertight {
    watertight::installed().expect("by `sink`")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio-worker")
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Holds the calling thread until it is let go, or for far longer than anything here takes.
fn hold(held: &mpsc::Receiver<()>) {
    let _ = held.recv_timeout(common::DEADLINE);
}

/// What is stalling for `client` right now.
fn stall_of(client: &Client) -> Option<Stall> {
    watertight().stalls().into_iter().find(|stall| stall.socket() == client.lease.id())
}

/// The events of the kind `kind` that name `id`, as text.
fn events(kind: &str, id: &str) -> Vec<String> {
    let named = format!("id: {id:?}");
    sink().events().into_iter().filter(|event| event.starts_with(kind) && event.contains(&named)).collect()
}

/// The incidents of `client`.
fn incidents(client: &Client) -> Vec<Arc<Incident>> {
    sink().incidents().into_iter().filter(|incident| client.is_named_by(incident)).collect()
}

/// Waits until a stall of `client` is an incident, which it has to be while `held` still holds; answers it.
fn sealed_while_it_blocks(client: &Client, event: &str, thread: &str) -> Arc<Incident> {
    let id = client.lease.id();
    eventually("the stall is told", || !events("Stalling", &id).is_empty());
    let told = events("Stalling", &id).remove(0);
    assert!(told.contains(&format!("event / {event}")) && told.contains(thread), "{told}");
    eventually("the stall is an incident", || !incidents(client).is_empty());
    let incident = incidents(client).remove(0);
    assert_eq!((incident.fault, incident.attribution), (Fault::Stall, Attribution::Exact));
    assert_eq!(incident.verdict, Verdict::Disconnect);
    assert_eq!(incident.thread.as_deref(), Some(thread));
    assert!(incident.message.contains(thread), "{}", incident.message);
    let activity = incident.activity.as_ref().expect("a scope has an activity");
    assert_eq!((activity.kind(), activity.name()), (ActivityKind::Event, event));
    assert_eq!((client.lease.state(), client.part.told()), (State::Sealed, vec![incident.id]));
    assert!(events("StallEnded", &id).is_empty(), "it has not ended");
    incident
}

/// That `client` has had no stall at all.
fn assert_no_stall(client: &Client) {
    flush(&sink());
    assert_eq!(events("Stalling", &client.lease.id()), Vec::<String>::new());
    assert!(incidents(client).is_empty() && client.lease.is_live());
}

/// Would reveal a watchdog that reports a stall only when it is over, or that cannot name it.
#[test]
fn a_future_that_blocks_is_told_and_sealed_while_it_blocks() {
    sink();
    let (client, bystander, runtime) = (Client::new(), Client::new(), runtime());
    let (release, held) = mpsc::channel();
    let work = async move {
        tokio::task::yield_now().await;
        hold(&held);
    };
    let begun = Instant::now();
    let task = runtime.spawn(work.scoped(client.scope("blocks")));
    eventually("it is listed", || stall_of(&client).is_some());
    assert!(begun.elapsed() >= WARN, "not before the limit: {:?}", begun.elapsed());
    let stall = stall_of(&client).expect("it blocks until it is released");
    assert_eq!((stall.working_on().as_str(), stall.thread.as_str()), ("event / blocks", "tokio-worker"));
    assert!(stall.held >= WARN && stall.held <= begun.elapsed(), "{:?}", stall.held);
    assert!(stall.compartment.is_some_and(|compartment| compartment.key() == client.lease.key()));

    sealed_while_it_blocks(&client, "blocks", "tokio-worker");
    assert!(begun.elapsed() >= LIMIT, "not before the limit: {:?}", begun.elapsed());
    // For many more looks.
    eventually("it is listed all the time", || {
        stall_of(&client).expect("it still blocks").held >= LIMIT + Duration::from_millis(100)
    });

    release.send(()).expect("it waits for this");
    runtime.block_on(task).expect("no panic").expect("the work itself goes on to its end");
    let id = client.lease.id();
    eventually("its end is told", || !events("StallEnded", &id).is_empty());
    eventually("it is listed no more", || stall_of(&client).is_none());
    flush(&sink());
    let told = |kind| events(kind, &id).len();
    assert_eq!((told("Stalling"), told("StallEnded"), incidents(&client).len()), (1, 1, 1));
    assert_no_stall(&bystander);
}

/// The same for what is no future.
#[test]
fn a_synchronous_body_that_blocks_is_told_and_sealed_while_it_blocks() {
    sink();
    let client = Client::new();
    let (release, held) = mpsc::channel();
    let scope = client.scope("body");
    let thread = thread::Builder::new().name("tokio-like".into());
    let thread = thread.spawn(move || run(scope, None::<NoResponder>, || hold(&held))).expect("it starts");
    sealed_while_it_blocks(&client, "body", "tokio-like");
    release.send(()).expect("it waits for this");
    thread.join().expect("no panic").expect("no panic");
    eventually("its end is told", || !events("StallEnded", &client.lease.id()).is_empty());
}

/// Would reveal an incident for what ends in time.
#[test]
fn between_the_limits_it_is_told_and_nothing_else() {
    sink();
    let in_time = || {
        let client = Client::new();
        let until_told = || eventually("it is listed", || stall_of(&client).is_some());
        run(client.scope("slow"), None::<NoResponder>, until_told).expect("no panic");
        let id = client.lease.id();
        eventually("its end is told", || !events("StallEnded", &id).is_empty());
        flush(&sink());
        assert_eq!((events("Stalling", &id).len(), events("StallEnded", &id).len()), (1, 1));
        client.lease.is_live() && incidents(&client).is_empty()
    };
    // On a busy machine the test itself may be too late for the second limit.
    assert!((0..20).any(|_| in_time()), "told only when it was too late");
}

/// Would reveal that the outer of two scopes is sealed for what the inner one does.
#[test]
fn of_nested_scopes_the_inner_one_is_named() {
    sink();
    let (outer, inner) = (Client::new(), Client::new());
    let (release, held) = mpsc::channel();
    let (outside, inside) = (outer.scope("outer"), inner.scope("inner"));
    let nested = move || run(inside, None::<NoResponder>, || hold(&held));
    let thread = thread::Builder::new().name("tokio-nested".into());
    let thread = thread.spawn(move || run(outside, None::<NoResponder>, nested)).expect("it starts");
    sealed_while_it_blocks(&inner, "inner", "tokio-nested");
    release.send(()).expect("it waits for this");
    thread.join().expect("no panic").expect("no panic").expect("no panic");
    assert_no_stall(&outer);
}

/// Would reveal guessing: one who does a little for each of many others holds the thread, and not whoever of them
/// happens to be at it when the watchdog looks.
#[test]
fn of_many_short_nested_scopes_none_is_named() {
    sink();
    let outer = Client::new();
    let others: Vec<_> = (0..50).map(|_| Client::new()).collect();
    let work = || {
        for other in others.iter().cycle() {
            let short = || thread::sleep(Duration::from_millis(1));
            run(other.scope("short"), None::<NoResponder>, short).expect("no panic");
            if !incidents(&outer).is_empty() || others.iter().any(|other| !incidents(other).is_empty()) {
                break;
            }
        }
    };
    run(outer.scope("each of them"), None::<NoResponder>, work).expect("no panic");
    let incident = incidents(&outer).first().cloned().expect("it is the outer one's");
    assert_eq!(incident.fault, Fault::Stall);
    assert_eq!(incident.activity.as_ref().map(|activity| activity.name()), Some("each of them"));
    others.iter().for_each(assert_no_stall);
}

/// Would reveal that the time since the beginning counts, and not the time since the last return.
#[test]
fn a_long_future_that_awaits_never_stalls() {
    sink();
    let (client, runtime) = (Client::new(), runtime());
    let work = async {
        let begun = Instant::now();
        while begun.elapsed() < 4 * LIMIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
            tokio::task::yield_now().await;
        }
    };
    runtime
        .block_on(runtime.spawn(work.scoped(client.scope("patient"))))
        .expect("no panic")
        .expect("no panic");
    assert_no_stall(&client);
}

/// Would reveal that work which may block is watched all the same.
#[test]
fn blocking_work_is_no_stall() {
    sink();
    let (client, runtime) = (Client::new(), runtime());
    let work = async {
        let same = watertight::blocking(|| {
            thread::sleep(Duration::from_millis(400));
            watertight::Scope::current().map(|scope| scope.activity().name().to_owned())
        });
        same.await
    };
    let named = runtime.block_on(runtime.spawn(work.scoped(client.scope("reads a file"))));
    assert_eq!(named.expect("no panic").expect("no panic").as_deref(), Some("reads a file"));
    assert_no_stall(&client);
}

/// Would reveal a stall that is lost, or blamed on whoever is there, when its client has left.
#[test]
fn a_stall_of_one_who_has_left_is_recorded() {
    sink();
    let client = Client::new();
    let (release, held) = mpsc::channel();
    let (scope, part) = (client.scope("left behind"), Arc::clone(&client.part));
    let thread = thread::Builder::new().name("tokio-left".into());
    let thread = thread.spawn(move || run(scope, None::<NoResponder>, || hold(&held))).expect("it starts");
    drop(client);
    let named = |incidents: &[Arc<Incident>]| {
        incidents.iter().find(|incident| incident.thread.as_deref() == Some("tokio-left")).cloned()
    };
    let incident = sink().wait_for(common::DEADLINE, named);
    assert_eq!((incident.fault, incident.attribution), (Fault::Stall, Attribution::Unattributed));
    assert_eq!((incident.verdict, incident.offender.is_none()), (Verdict::Ignore, true));
    assert_eq!(incident.activity.as_ref().map(|activity| activity.name()), Some("left behind"));
    assert!(part.told().is_empty() && !part.is_closed(), "nobody is sealed for it");
    release.send(()).expect("it waits for this");
    thread.join().expect("no panic").expect("no panic");
}
