//! Whose panic was it? One recovery for all tests of this file; each knows its incidents by their text.

mod common;

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use common::{Client, eventually, flush};
use tokio::task::{JoinHandle, yield_now};
use watertight::{
    ActivityKind, Attribution, CaptureSink, Component, Guarded, Incident, Notice, Outcome, ScopeExt,
    StandardPolicy, State, Verdict, spawn,
};

/// Panics when dropped, once.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        let Self(text) = *self;
        panic!("{text}");
    }
}

fn sink() -> CaptureSink {
    static SINK: LazyLock<CaptureSink> = LazyLock::new(|| {
        let sink = CaptureSink::new();
        let policy = StandardPolicy::new().fail_event("/", "forgiven").fail_event_limit(2);
        let builder = common::builder().policy(policy).sink(sink.clone()).storm_limit(1000);
        builder.install().expect("this binary installs here only");
        sink
    });
    SINK.clone()
}

fn the_incident(text: &str) -> Arc<Incident> {
    common::the_incident(&sink(), text)
}

/// That `incident` names `client` exactly, and that it cost the client its connection.
fn assert_sealed_for(client: &Client, incident: &Incident) {
    assert!(client.is_named_by(incident), "{incident:#?}");
    assert_eq!((incident.attribution, incident.outcome), (Attribution::Exact, Outcome::Escaped));
    assert_eq!(incident.verdict, Verdict::Disconnect);
    assert_eq!(incident.component, Component::UserCode);
    assert!(incident.sealed_after.is_some());
    assert_eq!(client.part.told(), [incident.id]);
    assert_eq!(client.lease.state(), State::Sealed);
}

/// That it cost nobody anything.
fn assert_untouched(client: &Client) {
    assert!(client.lease.is_live() && client.part.told().is_empty() && !client.part.is_closed());
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    task.await.expect("the guard stops the panic, not the runtime")
}

/// Would reveal a scope that is not entered for the first poll.
#[tokio::test]
async fn before_the_first_await() {
    sink();
    let (client, bystander) = (Client::new(), Client::new());
    let work = async { panic!("before the first await") }.scoped(client.scope("early"));
    let caught: Result<(), _> = joined(tokio::spawn(work)).await;
    assert!(caught.expect_err("it panicked").to_string().contains("before the first await"));
    let incident = the_incident("before the first await");
    assert_sealed_for(&client, &incident);
    let activity = incident.activity.as_ref().expect("a scope has an activity");
    assert_eq!((activity.kind(), activity.namespace(), activity.name()), (ActivityKind::Event, "/", "early"));
    let location = incident.location.as_ref().expect("a panic has a location");
    assert!(location.to_string().starts_with("attribution.rs:"), "{location}");
    assert_untouched(&bystander);
}

/// Would reveal a scope that is lost when a future is polled again, by another thread or after others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_await() {
    sink();
    let (client, bystander) = (Client::new(), Client::new());
    let work = async {
        for _ in 0..100 {
            yield_now().await;
        }
        panic!("after a hundred awaits")
    };
    let others = async {
        for _ in 0..100 {
            yield_now().await;
        }
    };
    let others = tokio::spawn(others.scoped(bystander.scope("other")));
    let caught: Result<(), _> = joined(tokio::spawn(work.scoped(client.scope("late")))).await;
    caught.expect_err("it panicked");
    joined(others).await.expect("no panic");
    assert_sealed_for(&client, &the_incident("after a hundred awaits"));
    assert_untouched(&bystander);
}

/// Would reveal that the outer of two scopes pays for the inner one, or that a panic is counted twice.
#[tokio::test]
async fn the_inner_scope_is_named() {
    sink();
    let (outer, inner) = (Client::new(), Client::new());
    let scope = inner.scope("inner");
    let nested = async {
        let caught: Result<(), _> = async { panic!("in the inner scope") }.scoped(scope).await;
        caught.expect_err("it panicked");
        watertight::Scope::current().map(|scope| scope.activity().name().to_owned())
    };
    let back = joined(tokio::spawn(nested.scoped(outer.scope("outer")))).await.expect("the outer goes on");
    assert_eq!(back.as_deref(), Some("outer"));
    assert_sealed_for(&inner, &the_incident("in the inner scope"));
    assert_untouched(&outer);
}

/// Would reveal that a panic is taken for a caught one because its unwinding drops work of another scope.
#[tokio::test]
async fn unwinding_through_a_nested_scope_is_the_outer_ones() {
    sink();
    let (outer, inner) = (Client::new(), Client::new());
    let scope = inner.scope("inner");
    let work = async {
        let mut child = pin!(pending::<()>().scoped(scope));
        let polled = child.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        // Unwinding drops the child, which enters its scope to do so.
        panic!("beside a child in another scope")
    };
    let caught: Result<(), _> = joined(tokio::spawn(work.scoped(outer.scope("outer")))).await;
    caught.expect_err("it panicked");
    assert_sealed_for(&outer, &the_incident("beside a child in another scope"));
    assert_untouched(&inner);
}

/// The same with a guard that a destructor enters while it is unwinding.
#[test]
fn unwinding_through_an_entered_scope_is_the_outer_ones() {
    struct Enters(Client);
    impl Drop for Enters {
        fn drop(&mut self) {
            drop(self.0.scope("destructor").enter());
        }
    }
    sink();
    let outer = Client::new();
    let work = || {
        let _enters = Enters(Client::new());
        panic!("above a destructor in another scope")
    };
    let caught: Result<(), _> = watertight::run(outer.scope("outer"), None::<watertight::NoResponder>, work);
    caught.expect_err("it panicked");
    assert_sealed_for(&outer, &the_incident("above a destructor in another scope"));
}

/// Would reveal a child task that loses its scope, or a handle that no longer says that the task panicked.
#[tokio::test]
async fn a_spawned_child_belongs_to_its_parent() {
    sink();
    let client = Client::new();
    let parent = async {
        spawn(async {
            yield_now().await;
            spawn(async { panic!("in a grandchild") }).await
        })
        .await
    };
    let child =
        joined(tokio::spawn(parent.scoped(client.scope("parent")))).await.expect("the parent goes on");
    let grandchild: Result<(), _> = child.expect("the child goes on");
    let error = grandchild.expect_err("the grandchild panicked");
    assert!(error.is_panic());
    let payload = error.into_panic();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"in a grandchild"));
    let incident = the_incident("in a grandchild");
    assert_sealed_for(&client, &incident);
    assert_eq!(incident.activity.as_ref().map(|activity| activity.name()), Some("parent"));
}

/// Would reveal that cancelled work is dropped outside of its scope.
#[tokio::test]
async fn a_destructor_during_cancellation() {
    sink();
    let client = Client::new();
    let (ready, armed) = tokio::sync::oneshot::channel();
    let work = async move {
        let _bomb = Bomb("while being cancelled");
        ready.send(()).expect("the test waits");
        pending::<()>().await;
    };
    let task = tokio::spawn(work.scoped(client.scope("cancelled")));
    armed.await.expect("it was polled");
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    assert_sealed_for(&client, &the_incident("while being cancelled"));
}

/// Would reveal that an application is punished for a panic that it handled.
#[tokio::test]
async fn what_the_application_catches_is_recorded_only() {
    sink();
    let client = Client::new();
    let work = async {
        catch_unwind(|| panic!("handled by the application")).expect_err("it panicked");
        yield_now().await;
        "went on"
    };
    assert_eq!(
        joined(tokio::spawn(work.scoped(client.scope("careful")))).await.expect("no panic"),
        "went on"
    );
    let incident = the_incident("handled by the application");
    assert!(client.is_named_by(&incident));
    assert_eq!((incident.outcome, incident.verdict), (Outcome::Caught, Verdict::Ignore));
    assert_eq!(incident.sealed_after, None);
    assert_untouched(&client);
}

/// Would reveal that two panics of one poll are mixed up.
#[tokio::test]
async fn caught_once_and_then_escaped() {
    sink();
    let client = Client::new();
    let work = async {
        catch_unwind(|| panic!("the one that was caught")).expect_err("it panicked");
        panic!("the one that was not")
    };
    let caught: Result<(), _> = joined(tokio::spawn(work.scoped(client.scope("twice")))).await;
    caught.expect_err("it panicked");
    assert_eq!(the_incident("the one that was caught").outcome, Outcome::Caught);
    assert_sealed_for(&client, &the_incident("the one that was not"));
}

/// Would reveal guessing: nobody may pay for work that nobody in particular asked for.
#[tokio::test]
async fn background_tasks_are_nobodys() {
    sink();
    let client = Client::new();
    let parent = async {
        let task: JoinHandle<()> = tokio::spawn(async { panic!("in a background task") });
        task.await
    };
    let joined =
        joined(tokio::spawn(parent.scoped(client.scope("spawns")))).await.expect("the parent goes on");
    assert!(joined.expect_err("the task panicked").is_panic());
    let incident = the_incident("in a background task");
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Unattributed, Verdict::Ignore));
    assert!(incident.offender.is_none() && incident.activity.is_none());
    assert_untouched(&client);
}

/// Would reveal a hook that works in runtimes only.
#[test]
fn plain_threads_are_nobodys() {
    sink();
    let thread = std::thread::Builder::new().name("accountant".into());
    let thread = thread.spawn(|| panic!("in a plain thread")).expect("it starts");
    thread.join().expect_err("it panicked");
    let incident = the_incident("in a plain thread");
    assert_eq!(incident.attribution, Attribution::Unattributed);
    assert_eq!(incident.thread.as_deref(), Some("accountant"));
}

/// Would reveal that a guard in a plain thread settles its panic as a caught one.
#[test]
fn a_thread_in_a_scope_is_its_clients() {
    sink();
    let client = Client::new();
    let scope = client.scope("blocking");
    let thread = std::thread::spawn(move || {
        let _entered = scope.enter();
        panic!("in a thread that entered")
    });
    let joined: Result<(), _> = thread.join();
    joined.expect_err("it panicked");
    assert_sealed_for(&client, &the_incident("in a thread that entered"));
}

/// Would reveal that a payload is expected to be text.
#[tokio::test]
async fn a_payload_that_is_not_text() {
    sink();
    let client = Client::new();
    let work = async { panic_any(0xBAD_u32) };
    let caught: Result<(), _> = joined(tokio::spawn(work.scoped(client.scope("odd")))).await;
    assert_eq!(caught.expect_err("it panicked").into_payload().downcast_ref(), Some(&0xBAD_u32));
    let find = |incidents: &[Arc<Incident>]| incidents.iter().find(|i| client.is_named_by(i)).cloned();
    let incident = sink().wait_for(common::DEADLINE, find);
    assert_eq!(incident.message, "(a payload that is not text)");
    assert_sealed_for(&client, &incident);
}

/// Would reveal that the destructor of a payload takes the runtime's thread, or the guard's caller, down.
#[tokio::test]
async fn a_payload_whose_destructor_panics() {
    sink();
    let client = Client::new();
    let work = async { panic_any(Bomb("dropping the payload")) };
    let caught: Result<(), _> = joined(tokio::spawn(work.scoped(client.scope("worse")))).await;
    drop(caught.expect_err("it panicked"));
    let named = |incidents: &[Arc<Incident>]| incidents.iter().find(|i| client.is_named_by(i)).cloned();
    assert_sealed_for(&client, &sink().wait_for(common::DEADLINE, named));
    assert_eq!(the_incident("dropping the payload").attribution, Attribution::Unattributed);
}

/// Would reveal a hook or a scope that touches thread-local storage which is gone, which aborts the process, or that has
/// forgotten by then whose work it is.
#[test]
fn while_a_thread_is_torn_down() {
    struct Late(Option<Client>, &'static str);
    impl Drop for Late {
        fn drop(&mut self) {
            let Self(client, text) = self;
            let client = client.take().expect("dropped once");
            // Nothing may unwind out of such a destructor.
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _entered = client.scope("teardown").enter();
                panic!("{text}");
            }));
            drop(unwound.expect_err("it panicked"));
        }
    }
    thread_local! {
        static FIRST: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
        static LAST: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
    }
    sink();
    // What was touched first is dropped last: after the thread's place on the board was given back.
    let thread = std::thread::spawn(|| {
        FIRST.with(|first| first.set(Late(Some(Client::new()), "after the place is gone")).ok());
        drop(Client::new().scope("in between").enter());
        LAST.with(|last| last.set(Late(Some(Client::new()), "before the place is gone")).ok());
    });
    thread.join().expect("teardown does not panic");
    let (before, after) = (the_incident("before the place is gone"), the_incident("after the place is gone"));
    for incident in [before, after] {
        assert_eq!((incident.attribution, incident.outcome), (Attribution::Exact, Outcome::Escaped));
    }
}

/// Would reveal that a second fault of a compartment that is closing is punished, or tells the client twice.
#[tokio::test]
async fn one_seal_per_compartment() {
    sink();
    let client = Client::new();
    let boom = |text: &'static str| async move { panic!("{text}") }.scoped(client.scope("again"));
    let first: Result<(), _> = joined(tokio::spawn(boom("the first of two faults"))).await;
    let second: Result<(), _> = joined(tokio::spawn(boom("the second of two faults"))).await;
    assert!(first.is_err() && second.is_err());
    assert_sealed_for(&client, &the_incident("the first of two faults"));
    assert_eq!(the_incident("the second of two faults").verdict, Verdict::Ignore);
    assert_eq!((client.lease.faults(), client.part.told().len()), (2, 1));
}

/// Would reveal a verdict that is not executed: the responder answers the event and the client stays, until
/// it has failed too often.
#[tokio::test]
async fn fail_event_fails_the_event_only() {
    sink();
    let client = Client::new();
    let answers: Arc<Mutex<Vec<Notice>>> = Arc::default();
    for (round, text) in
        ["forgiven once", "forgiven twice", "not forgiven a third time"].into_iter().enumerate()
    {
        let answered = Arc::clone(&answers);
        let answer = move |notice: &Notice| answered.lock().expect("no panic").push(notice.clone());
        let work = async move { panic!("{text}") };
        let caught: Result<(), _> =
            joined(tokio::spawn(Guarded::new(client.scope("forgiven"), work, Some(answer)))).await;
        caught.expect_err("it panicked");
        let incident = the_incident(text);
        let answered: Vec<_> = answers.lock().expect("no panic").iter().map(|notice| notice.id).collect();
        if round < 2 {
            assert_eq!(incident.verdict, Verdict::FailEvent);
            assert_eq!(answered.last(), Some(&incident.id));
            assert_untouched(&client);
        } else {
            assert_sealed_for(&client, &incident);
        }
        assert_eq!(answered.len(), 2.min(round + 1));
    }
    assert_eq!(client.lease.failed_events(), 2);
}

/// Would reveal a compartment that stays known, or is forgotten while it lives.
#[test]
fn the_registry_forgets_what_was_sealed() {
    sink();
    let (client, bystander) = (Client::new(), Client::new());
    let known = |client: &Client| watertight::Registry::global().by_id(&client.lease.id()).is_some();
    assert!(known(&client) && known(&bystander));
    let work = || panic!("so that it is forgotten");
    let caught: Result<(), _> =
        watertight::run(client.scope("leaves"), None::<watertight::NoResponder>, work);
    caught.expect_err("it panicked");
    eventually("forgotten", || !known(&client));
    flush(&sink());
    assert!(known(&bystander));
}
