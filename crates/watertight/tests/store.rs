//! What a store gets, and what is taken up from one that an earlier run has left.

mod common;

use std::time::Duration;

use common::{Client, builder, eventually, the_incident};
use watertight::{
    CaptureSink, Identity, MemoryStore, Moment, Quarantine, QuarantineSettings, RateSettings, Store as _,
    Verdict,
};

fn named(name: &str) -> Identity {
    Identity::Named(name.into())
}

#[test]
fn a_run_goes_on_where_the_one_before_ended() {
    let store = MemoryStore::default();
    // The run before.
    let before = Quarantine::new(QuarantineSettings::new());
    let now = Moment::now();
    before.add(&named("user:old"), Duration::from_secs(60), "by hand", None, now).expect("it is on");
    store.quarantined(&before.entry(&named("user:old"), now.instant).expect("it was added"));
    drop(before);

    let sink = CaptureSink::new();
    let watertight = builder()
        .sink(sink.clone())
        .store(store.clone())
        .quarantine(QuarantineSettings::new().strikes(1).base(Duration::from_secs(30)))
        .rates(RateSettings::new().messages_per_second(10).message_burst(5))
        .install()
        .expect("the first installation");
    let refused = |name: &str| {
        let client = Client::new();
        client.lease.identify(name);
        watertight.refuses(&client.lease).is_some()
    };
    assert!(refused("user:old") && !refused("user:new"));

    let offender = Client::new();
    offender.lease.identify("user:new");
    let scope = offender.scope("boom");
    assert!(watertight::run(scope, None::<watertight::NoResponder>, || panic!("one is enough")).is_err());
    let incident = the_incident(&sink, "one is enough");
    assert_eq!(incident.verdict, Verdict::Quarantine);
    assert!(refused("user:new"));
    eventually("the store has both", || {
        store.recent(99).iter().any(|kept| kept.id == incident.id)
            && store.quarantine().iter().any(|entry| entry.identity == named("user:new"))
    });

    assert!(watertight.lift(&named("user:old")) && !refused("user:old"));
    assert!(!store.quarantine().iter().any(|entry| entry.identity == named("user:old")));

    // Each compartment has rates of its own.
    let (one, other) = (Client::new(), Client::new());
    let admitted = (0..20).filter(|_| one.lease.admit(10).is_ok()).count();
    assert!((5..8).contains(&admitted), "{admitted}");
    assert!(other.lease.admit(10).is_ok());
}
