//! Handlers that run past their deadline, and panics of blocking work. One recovery for all tests of this file; each
//! knows its incidents by their client.

mod common;

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use common::{Client, eventually, flush, the_incident};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use watertight::{
    Activity, ActivityKind, Attribution, CaptureSink, Caught, Component, Fault, Guarded, Incident,
    NoResponder, Notice, Outcome, Scope, StandardPolicy, State, Verdict, blocking,
};

const LIMIT: Duration = Duration::from_millis(80);

fn sink() -> CaptureSink {
    static SINK: LazyLock<CaptureSink> = LazyLock::new(|| {
        let sink = CaptureSink::new();
        let policy = StandardPolicy::new()
            .deadline_of("/", "limited", LIMIT)
            .deadline_of("/", "forgiven", LIMIT)
            .fail_event("/", "forgiven");
        let builder = common::builder().policy(policy).sink(sink.clone()).storm_limit(1000);
        builder.install().expect("this binary installs here only");
        sink
    });
    SINK.clone()
}

/// A handler of `client` for `event`, with the deadline that the policy gives that.
fn handler<F: Future>(client: &Client, event: &'static str, work: F) -> Guarded<F> {
    handler_with(client, event, work, None::<NoResponder>)
}

fn handler_with<F: Future, N: FnOnce(&Notice) + Send + 'static>(
    client: &Client,
    event: &'static str,
    work: F,
    responder: Option<N>,
) -> Guarded<F, N> {
    let activity = Activity::new(ActivityKind::Event, "/", event);
    Guarded::new(Scope::for_handler(Arc::clone(&client.lease), activity), work, responder).as_handler()
}

/// The incidents of `client` once everything that was reported is there.
fn incidents(client: &Client) -> Vec<Arc<Incident>> {
    flush(&sink());
    sink().incidents().into_iter().filter(|incident| client.is_named_by(incident)).collect()
}

/// Its only incident, which comes soon.
fn incident_of(client: &Client) -> Arc<Incident> {
    let named = |incidents: &[Arc<Incident>]| incidents.iter().any(|i| client.is_named_by(i)).then_some(());
    sink().wait_for(common::DEADLINE, named);
    let mut incidents = incidents(client);
    assert_eq!(incidents.len(), 1, "one fault, one incident: {incidents:#?}");
    incidents.remove(0)
}

/// Notes in what scope it is dropped; panics then when it has a text to say.
struct Dropped {
    within: Arc<Mutex<Option<String>>>,
    panics: Option<&'static str>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        *self.within.lock() = Scope::current().map(|scope| scope.activity().name().to_owned());
        if let Some(text) = self.panics {
            panic!("{text}");
        }
    }
}

/// Would reveal a deadline that does not cancel, cancels late or outside of the scope, or that names nothing.
#[tokio::test]
async fn a_handler_that_takes_too_long_is_cancelled_at_its_next_await() {
    sink();
    let (client, bystander) = (Client::new(), Client::new());
    let within = Arc::new(Mutex::new(None));
    let held = Dropped { within: Arc::clone(&within), panics: None };
    let begun = Instant::now();
    let work = async move {
        let _held = held;
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let caught: Result<(), Caught> = handler(&client, "limited", work).await;
    let took = begun.elapsed();
    assert_eq!(caught.expect_err("cancelled").to_string(), "stopped: ran past its deadline");
    assert!(took >= LIMIT, "not before: {took:?}");
    assert_eq!(within.lock().as_deref(), Some("limited"), "what it held is dropped already, in its scope");

    let incident = incident_of(&client);
    assert_eq!((incident.fault, incident.attribution), (Fault::Deadline, Attribution::Exact));
    assert_eq!((incident.outcome, incident.verdict), (Outcome::Escaped, Verdict::Disconnect));
    assert!(incident.message.contains("80 ms"), "{}", incident.message);
    let activity = incident.activity.as_ref().expect("a scope has an activity");
    assert_eq!((activity.namespace(), activity.name()), ("/", "limited"));
    assert_eq!((client.lease.state(), client.part.told()), (State::Sealed, vec![incident.id]));
    assert!(bystander.lease.is_live() && incidents(&bystander).is_empty());
}

/// Would reveal a deadline that is counted anew for each poll, or that only another wake-up notices.
#[tokio::test]
async fn one_that_is_never_woken_is_cancelled_as_well() {
    sink();
    let client = Client::new();
    let caught: Result<(), Caught> =
        tokio::time::timeout(common::DEADLINE, handler(&client, "limited", pending()))
            .await
            .expect("in time");
    caught.expect_err("cancelled");
    assert_eq!(incident_of(&client).fault, Fault::Deadline);
}

/// Would reveal a panic of a destructor that is nobody's, or that takes the task with it.
#[tokio::test]
async fn a_destructor_that_panics_then_is_its_clients() {
    sink();
    let client = Client::new();
    let within = Arc::new(Mutex::new(None));
    let bomb = Dropped { within, panics: Some("dropped past its deadline") };
    let work = async move {
        let _bomb = bomb;
        pending::<()>().await;
    };
    let caught = tokio::spawn(handler(&client, "limited", work)).await.expect("the guard stops the panic");
    caught.expect_err("cancelled");
    let panic = the_incident(&sink(), "dropped past its deadline");
    assert!(client.is_named_by(&panic));
    assert_eq!((panic.fault, panic.attribution), (Fault::Panic, Attribution::Exact));
    let faults: Vec<_> = incidents(&client).iter().map(|incident| incident.fault).collect();
    assert_eq!(faults.len(), 2, "the deadline and the panic: {faults:?}");
    assert!(faults.contains(&Fault::Deadline));
}

/// Would reveal a deadline that costs the client its connection although the policy says otherwise, or that leaves the
/// event without an answer.
#[tokio::test]
async fn fail_event_answers_the_event_only() {
    sink();
    let client = Client::new();
    let (answer, answered) = oneshot::channel();
    let responder = move |notice: &Notice| answer.send(notice.clone()).expect("the test waits");
    let guarded = handler_with(&client, "forgiven", pending::<()>(), Some(responder));
    guarded.await.expect_err("cancelled");
    let notice = answered.await.expect("the responder is called");
    let incident = incident_of(&client);
    assert_eq!((incident.fault, incident.verdict), (Fault::Deadline, Verdict::FailEvent));
    assert_eq!((notice.id, notice.code), (incident.id, "deadline"));
    assert!(client.lease.is_live() && client.part.told().is_empty());
}

/// Would reveal a deadline for those that have none.
#[tokio::test]
async fn without_a_deadline_it_runs_for_as_long_as_it_likes() {
    sink();
    let client = Client::new();
    let work = async {
        tokio::time::sleep(5 * LIMIT).await;
        "done"
    };
    assert_eq!(handler(&client, "unlimited", work).await.expect("no deadline"), "done");
    assert!(incidents(&client).is_empty() && client.lease.is_live());
}

/// Would reveal that a deadline runs on after the work is done.
#[tokio::test]
async fn what_is_done_in_time_is_let_be() {
    sink();
    let client = Client::new();
    let work = async {
        tokio::time::sleep(LIMIT / 8).await;
        "done"
    };
    assert_eq!(handler(&client, "limited", work).await.expect("in time"), "done");
    tokio::time::sleep(2 * LIMIT).await;
    assert!(incidents(&client).is_empty() && client.lease.is_live());
}

/// Would reveal a deadline that is kept by a runtime which ends before the handler does: its timers panic then.
#[test]
fn the_end_of_a_server_is_no_fault() {
    sink();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (servers, handlers) = (runtime().expect("a runtime"), runtime().expect("a runtime"));
    let client = servers.block_on(async { Client::new() });
    let mut guarded = Box::pin(handler(&client, "limited", pending::<()>()));
    let waits = handlers.block_on(poll_fn(|cx| Poll::Ready(guarded.as_mut().poll(cx).is_pending())));
    assert!(waits, "and its deadline with it");
    drop(servers);
    handlers.block_on(guarded).expect_err("cancelled, and nothing panics");
    assert_eq!(incident_of(&client).fault, Fault::Deadline);
}

/// Would reveal a panic that is counted in both threads, or whose location is that of the handler.
#[tokio::test]
async fn a_panic_of_blocking_work_is_one_incident_of_the_handler_that_waits() {
    sink();
    let client = Client::new();
    let line = line!() + 1;
    let work = async { blocking(|| -> () { panic!("in blocking work") }).await };
    let caught = handler(&client, "unlimited", work).await;
    assert_eq!(caught.expect_err("it goes on in the handler").to_string(), "stopped: in blocking work");
    let incident = the_incident(&sink(), "in blocking work");
    assert!(client.is_named_by(&incident));
    assert_eq!((incident.attribution, incident.outcome), (Attribution::Exact, Outcome::Escaped));
    assert_eq!((incident.verdict, &incident.component), (Verdict::Disconnect, &Component::UserCode));
    let location = incident.location.as_ref().expect("a panic has a location").to_string();
    assert!(location.starts_with(&format!("deadlines.rs:{line}")), "{location}");
    assert_eq!((incidents(&client).len(), client.lease.state()), (1, State::Sealed));
}

/// Would reveal a panic that nobody hears of because nobody waits for it any more, or one that counts twice.
#[tokio::test]
async fn a_panic_of_blocking_work_that_nobody_waits_for_is_one_incident() {
    sink();
    let client = Client::new();
    let (begun, has_begun) = oneshot::channel();
    let (release, held) = mpsc::channel();
    let work = blocking(move || -> () {
        begun.send(()).expect("the test waits");
        let _ = held.recv_timeout(common::DEADLINE);
        panic!("after its handler was cancelled")
    });
    let task = tokio::spawn(handler(&client, "unlimited", work));
    has_begun.await.expect("it begins");
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    release.send(()).expect("it waits for this");
    let incident = tokio::task::spawn_blocking(|| the_incident(&sink(), "after its handler was cancelled"));
    let incident = incident.await.expect("no panic");
    assert!(client.is_named_by(&incident));
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Exact, Verdict::Disconnect));
    assert_eq!(incidents(&client).len(), 1);
}

/// Would reveal that work which cannot be stopped is waited for all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_does_not_wait_for_blocking_work() {
    sink();
    let client = Client::new();
    let done = Arc::new(AtomicBool::new(false));
    let (release, held) = mpsc::channel();
    let ends = Arc::clone(&done);
    let work = blocking(move || {
        let _ = held.recv_timeout(common::DEADLINE);
        ends.store(true, Ordering::SeqCst);
    });
    handler(&client, "limited", work).await.expect_err("cancelled");
    assert!(!done.load(Ordering::SeqCst), "it has not been waited for");
    assert_eq!(incident_of(&client).fault, Fault::Deadline);
    release.send(()).expect("it waits for this");
    eventually("it goes on to its end", || done.load(Ordering::SeqCst));
}
