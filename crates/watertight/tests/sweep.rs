//! What the recovery does when something does not go as it should: a part that refuses to go, and a compartment that
//! lost its transport and was ended by nobody.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use common::{DEADLINE, eventually};
use watertight::{CaptureSink, CloseMode, Incident, Registry, Scope, Seal, SealMode, State};

/// A part that goes when it has been asked to leave often enough.
#[derive(Default)]
struct Stubborn {
    asked: AtomicU32,
    needs: u32,
}

impl Seal for Stubborn {
    fn serves(&self) -> bool {
        !self.is_gone()
    }

    fn leave(&self, _: SealMode) {
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    fn is_gone(&self) -> bool {
        self.asked.load(Ordering::SeqCst) >= self.needs
    }
}

#[derive(Default)]
struct Connection {
    gone: AtomicBool,
}

impl Seal for Connection {
    fn is_transport(&self) -> bool {
        true
    }

    fn close(&self, _: CloseMode) {
        self.gone.store(true, Ordering::SeqCst);
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// One test, one process: the order of the two is part of it.
#[test]
fn nothing_is_given_up_and_orphans_are_found() {
    let sink = CaptureSink::new();
    common::builder()
        .sink(sink.clone())
        .sweep_interval(Duration::from_millis(20))
        .disconnect_cleanup(Duration::ZERO)
        .install()
        .expect("the first installation");
    let has_event = |text: &str, id: &str| {
        sink.events().iter().any(|event| event.starts_with(text) && event.contains(id))
    };

    // Before any incident there is no recovery mode, and nobody looks for orphans.
    let orphan = Registry::global().open(None);
    let (transport, socket) =
        (Arc::new(Connection::default()), Arc::new(Stubborn { needs: 1, ..Stubborn::default() }));
    orphan.attach(&transport);
    orphan.attach(&socket);
    transport.close(CloseMode::Forced);
    // One that has left every namespace as well is nobody's orphan: it ends by itself.
    let ended = Registry::global().open(None);
    let (last, left) = (Arc::new(Connection::default()), Arc::new(Stubborn::default()));
    ended.attach(&last);
    ended.attach(&left);
    last.close(CloseMode::Forced);

    // Far more pushes than fit into the bounds of a seal: it is told as overdue, and goes on all the same.
    let stuck = Registry::global().open(None);
    let part = Arc::new(Stubborn { needs: 100, ..Stubborn::default() });
    stuck.attach(&part);
    let activity = watertight::Activity::new(watertight::ActivityKind::Task, "", "stuck");
    let scope = Scope::new(Arc::clone(&stuck), activity);
    let _ = watertight::run(scope, None::<watertight::NoResponder>, || -> () {
        panic!("sealed with difficulty")
    });
    let named =
        |incidents: &[Arc<Incident>]| incidents.iter().find(|incident| incident.offender.is_some()).cloned();
    let incident = sink.wait_for(DEADLINE, named);
    assert_eq!(incident.sealed_after, None, "it is not sealed yet");
    eventually("the overdue seal is told", || has_event("SealOverdue", &stuck.id()));
    assert_eq!(stuck.state(), State::Sealing, "and it is not said to be done");
    assert!(Registry::global().by_id(&stuck.id()).is_some(), "nor forgotten");
    eventually("it is sealed in the end", || stuck.state() == State::Sealed);
    eventually("and that is told", || has_event("Sealed", &stuck.id()));
    assert!(Registry::global().by_id(&stuck.id()).is_none());

    // Recovery mode is on since then: the orphan is found and ended. One that lives is let be.
    let living = Registry::global().open(None);
    let (connection, alive) =
        (Arc::new(Connection::default()), Arc::new(Stubborn { needs: 1, ..Stubborn::default() }));
    living.attach(&connection);
    living.attach(&alive);
    eventually("the orphan is sealed", || orphan.state() == State::Sealed);
    assert!(has_event("Sealing", &orphan.id()));
    assert_eq!(living.state(), State::Live);
    assert_eq!(ended.state(), State::Live);
}
