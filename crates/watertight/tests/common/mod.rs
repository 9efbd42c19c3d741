//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use watertight::{
    Activity, ActivityKind, CaptureSink, CloseMode, Incident, IncidentId, Lease, Notice, Registry, Scope,
    Seal, Told,
};

/// How long anything may take before a test gives up: far beyond what it needs on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const CHILD: &str = "WATERTIGHT_TEST_CHILD";

/// Runs `body` in a process of its own: the panic hook is process-wide and is installed once. In the
/// parent it answers what the child wrote; in the child, `None`.
pub(crate) fn in_child(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) -> Option<Written> {
    if std::env::var_os(CHILD).is_some() {
        body();
        return None;
    }
    let executable = std::env::current_exe().expect("a test knows its executable");
    let output = Command::new(executable)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("the child starts");
    let written = Written {
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(output.status.success(), "the child failed: {}\n{}\n{}", output.status, written.out, written.err);
    assert!(written.out.contains("1 passed"), "no test is called {test}:\n{}", written.out);
    Some(written)
}

/// What a child process wrote.
pub(crate) struct Written {
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A builder whose hook still lets a failing test say why. What panics on a runtime's threads, or on the
/// recovery's, is expected.
#[expect(clippy::disallowed_methods, reason = "the hook that was there before is chained")]
pub(crate) fn builder() -> watertight::Builder {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let expected = |name: &str| name.starts_with("tokio") || name.starts_with("watertight");
        if std::thread::current().name().is_some_and(|name| !expected(name)) {
            default(info);
        }
    }));
    watertight::Watertight::builder().previous_hook(watertight::PreviousHook::Chain)
}

/// Waits until `done`, looking every millisecond.
pub(crate) fn eventually(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A part of a compartment that records what is done to it.
#[derive(Default)]
pub(crate) struct Part {
    told: Mutex<Vec<Notice>>,
    gone: AtomicBool,
    panics: bool,
}

impl Part {
    /// A part that panics whenever it is called, and is gone once it was closed all the same.
    pub(crate) fn panicking() -> Arc<Self> {
        Arc::new(Self { panics: true, ..Self::default() })
    }

    /// The notices it was given.
    pub(crate) fn told(&self) -> Vec<IncidentId> {
        self.told.lock().iter().map(|notice| notice.id).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Seal for Part {
    fn tell(&self, notice: &Notice) -> Told {
        assert!(!self.panics, "a part that panics when told");
        self.told.lock().push(notice.clone());
        Told::NoChannel
    }

    fn close(&self, _mode: CloseMode) {
        self.gone.store(true, Ordering::Release);
        assert!(!self.panics, "a part that panics when closed");
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// A compartment as a client's connection would have it.
pub(crate) struct Client {
    pub(crate) lease: Lease,
    pub(crate) part: Arc<Part>,
}

impl Client {
    pub(crate) fn new() -> Self {
        let (lease, part) = (Registry::global().open(None), Arc::new(Part::default()));
        lease.attach(&part);
        Self { lease, part }
    }

    /// A scope of its compartment for an event of namespace `/`.
    pub(crate) fn scope(&self, event: impl Into<String>) -> Scope {
        Scope::new(Arc::clone(&self.lease), Activity::new(ActivityKind::Event, "/", event.into()))
    }

    /// Whether `incident` names it.
    pub(crate) fn is_named_by(&self, incident: &Incident) -> bool {
        incident.offender.as_ref().is_some_and(|offender| offender.id == self.lease.id())
    }
}

/// The one incident whose message contains `text`. A second one fails the test: one fault is one incident.
pub(crate) fn the_incident(sink: &CaptureSink, text: &str) -> Arc<Incident> {
    let found = |incidents: &[Arc<Incident>]| -> Vec<Arc<Incident>> {
        incidents.iter().filter(|incident| incident.message.contains(text)).cloned().collect()
    };
    sink.wait_for(DEADLINE, |incidents| (!found(incidents).is_empty()).then_some(()));
    flush(sink);
    let mut incidents = found(&sink.incidents());
    assert_eq!(incidents.len(), 1, "one fault, one incident: {incidents:#?}");
    incidents.remove(0)
}

/// Waits until everything that was reported before has been handled: the queue keeps its order.
pub(crate) fn flush(sink: &CaptureSink) {
    let mark = format!("mark {}", IncidentId::new());
    let fault = watertight::Report::new(
        watertight::Fault::Panic,
        watertight::Attribution::Unattributed,
        None,
        None,
        mark.clone(),
    );
    watertight::submit(Box::new(fault));
    sink.wait_for(DEADLINE, |incidents| {
        incidents.iter().any(|incident| incident.message == mark).then_some(())
    });
}
