//! Sinks, policies, parts and responders are other people's code on the recovery thread. Whatever they do, the
//! recovery goes on.

mod common;

use std::sync::{Arc, LazyLock};

use common::{Client, Part};
use tokio::sync::{Mutex, MutexGuard};
use watertight::{
    CaptureSink, Case, Event, Guarded, Incident, Notice, Policy, ScopeExt, Sink, StandardPolicy, State,
    Verdict, Watertight,
};

/// Panics on every call, with a payload that panics once more when it is dropped.
struct Failing;

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload of a failing sink");
    }
}

impl Sink for Failing {
    fn incident(&self, _incident: &Arc<Incident>) {
        std::panic::panic_any(Payload);
    }

    fn event(&self, _event: &Event<'_>) {
        panic!("a failing sink");
    }
}

struct FailingPolicy;

impl Policy for FailingPolicy {
    fn judge(&self, case: &Case<'_>) -> Verdict {
        if case.message.contains("policy") {
            std::panic::panic_any(Payload);
        }
        if case.message.contains("insists") {
            return Verdict::Disconnect;
        }
        if case.message.contains("forgiven") {
            return Verdict::FailEvent;
        }
        StandardPolicy::new().judge(case)
    }
}

/// The sinks before and after the failing one, and the one recovery of this binary. One test at a time: they
/// count.
async fn setting() -> (&'static Setting, MutexGuard<'static, ()>) {
    static SETTING: LazyLock<Setting> = LazyLock::new(|| {
        let (before, after) = (CaptureSink::new(), CaptureSink::new());
        let builder = common::builder().policy(FailingPolicy).storm_limit(1000);
        let builder = builder.sink(before.clone()).sink(Failing).sink(after.clone());
        let watertight = builder.install().expect("this binary installs here only");
        Setting { watertight, before, after }
    });
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    (&SETTING, alone)
}

struct Setting {
    watertight: Watertight,
    before: CaptureSink,
    after: CaptureSink,
}

impl Setting {
    /// The incident as both working sinks got it.
    fn the_incident(&self, text: &str) -> Arc<Incident> {
        let before = common::the_incident(&self.before, text);
        let after = common::the_incident(&self.after, text);
        assert!(Arc::ptr_eq(&before, &after), "both sinks get the same");
        before
    }
}

async fn panics_for(client: &Client, text: &'static str) {
    let work = async move { panic!("{text}") };
    let caught: Result<(), _> = tokio::spawn(work.scoped(client.scope("event"))).await.expect("guarded");
    caught.expect_err("it panicked");
}

/// Would reveal a sink that keeps later ones from being told, takes the recovery thread down, or is told of its
/// own panics for ever.
#[tokio::test]
async fn a_sink_that_panics_harms_nobody() {
    let (setting, _alone) = setting().await;
    let counted = setting.watertight.stats();
    for round in ["first time", "second time"] {
        let client = Client::new();
        panics_for(&client, round).await;
        let incident = setting.the_incident(round);
        assert!(client.is_named_by(&incident));
        assert_eq!((incident.verdict, client.lease.state()), (Verdict::Disconnect, State::Sealed));
        let id = format!("{:?}", incident.id);
        for events in [setting.before.events(), setting.after.events()] {
            let of_incident: Vec<_> = events.iter().filter(|event| event.contains(&id)).collect();
            let kinds = of_incident.iter().map(|event| event.split(['(', ' ']).next().unwrap_or_default());
            assert_eq!(kinds.collect::<Vec<_>>(), ["Fault", "Sealing", "Sealed"], "{of_incident:#?}");
        }
    }
    let stats = setting.watertight.stats();
    assert_eq!(stats.panics, counted.panics + 2, "the sink's own panics are not incidents");
    // Three events and the incident, whose payload panics once more, for each of two; marks come on top.
    assert!(stats.recovery_panics >= counted.recovery_panics + 10, "{stats:?}");
    assert!(stats.incidents < counted.incidents + 10, "{stats:?}");
}

/// Would reveal a fault that goes unpunished because the policy failed.
#[tokio::test]
async fn a_policy_that_panics_is_replaced_by_the_default() {
    let (setting, _alone) = setting().await;
    let counted = setting.watertight.stats().recovery_panics;
    let client = Client::new();
    panics_for(&client, "the policy fails").await;
    let incident = setting.the_incident("the policy fails");
    assert_eq!((incident.verdict, client.lease.state()), (Verdict::Disconnect, State::Sealed));
    assert!(setting.watertight.stats().recovery_panics > counted);
}

/// Would reveal a policy that is obeyed where it asks for the impossible: to disconnect nobody, or somebody twice.
#[tokio::test]
async fn a_policy_that_insists_seals_once() {
    let (setting, _alone) = setting().await;
    let client = Client::new();
    panics_for(&client, "it insists at first").await;
    let incident = setting.the_incident("it insists at first");
    assert_eq!(incident.verdict, Verdict::Disconnect);
    panics_for(&client, "it insists again").await;
    assert_eq!(setting.the_incident("it insists again").verdict, Verdict::Ignore);
    assert_eq!(client.part.told(), [incident.id]);
    let nobodys: tokio::task::JoinHandle<()> = tokio::spawn(async { panic!("it insists on nobody") });
    nobodys.await.expect_err("it panicked");
    assert_eq!(setting.the_incident("it insists on nobody").verdict, Verdict::Ignore);
}

/// Would reveal a part that keeps the others of its compartment from being closed.
#[tokio::test]
async fn a_part_that_panics_does_not_save_the_others() {
    let (setting, _alone) = setting().await;
    let client = Client::new();
    let (failing, last) = (Part::panicking(), Arc::new(Part::default()));
    client.lease.attach(&failing);
    client.lease.attach(&last);
    panics_for(&client, "with a failing part").await;
    let incident = setting.the_incident("with a failing part");
    assert_eq!((client.part.told(), last.told()), (vec![incident.id], vec![incident.id]));
    assert!(client.part.is_closed() && failing.is_closed() && last.is_closed());
    assert_eq!(client.lease.state(), State::Sealed);
}

/// Would reveal a responder that takes the recovery thread down, when it is called or when it is dropped.
#[tokio::test]
async fn a_responder_that_panics_harms_nobody() {
    let (setting, _alone) = setting().await;
    let responds_badly = async |text: &'static str| {
        let client = Client::new();
        let held = Payload;
        let answer = move |_: &Notice| drop(held);
        let work = async move { panic!("{text}") };
        let guarded = Guarded::new(client.scope("event"), work, Some(answer));
        let caught: Result<(), _> = tokio::spawn(guarded).await.expect("guarded");
        caught.expect_err("it panicked");
        (setting.the_incident(text).verdict, client.lease.state())
    };
    assert_eq!(responds_badly("forgiven, but the answer fails").await, (Verdict::FailEvent, State::Live));
    assert_eq!(responds_badly("and nobody answers").await, (Verdict::Disconnect, State::Sealed));
    // The recovery still works.
    panics_for(&Client::new(), "after the answer failed").await;
    setting.the_incident("after the answer failed");
}
