//! The panic hook: records who, what and where, and gets out of the way.
//!
//! It runs in the thread that panics, possibly with any of the application's locks held. So it waits for no lock
//! of ours, names no frames, prints nothing and never panics. Taking frames, once for each location, takes the
//! standard library's backtrace lock, which only somebody who prints a backtrace of his own can hold for long. What it recorded waits in
//! the thread when the code is in a scope (the panic may still be caught) and else goes to the
//! recovery thread's queue.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;

use crate::activity::Activity;
use crate::conduct::Standing;
use crate::fault::{Attribution, Fault, Frames, Location, Origin, Outcome, Report};
use crate::guard::{Caught, text_of};
use crate::inner::Inner;
use crate::scope::{self, Scope};
use crate::settings::PreviousHook;
use crate::transport::Transport;

thread_local! {
    /// Set on the recovery thread: a panic there is a bug of a sink or a policy and must not come back
    /// to the same sink for ever, unless it calls a client's own code.
    static IS_RECOVERY: Cell<bool> = const { Cell::new(false) };
    /// Set there while it calls a client's own code: whoever calls it knows whose a panic is.
    static CALLS_CLIENTS_CODE: Cell<bool> = const { Cell::new(false) };
    /// The last panic of that code.
    static CLIENTS_PANIC: Cell<Option<Box<Origin>>> = const { Cell::new(None) };
}

/// Marks the calling thread as the recovery thread.
pub(crate) fn mark_recovery_thread() {
    IS_RECOVERY.with(|flag| flag.set(true));
}

/// Whether the calling thread is the recovery thread.
pub(crate) fn is_recovery_thread() -> bool {
    IS_RECOVERY.try_with(Cell::get).unwrap_or(false)
}

/// Calls a client's own code on the recovery thread. Its panic is counted and described as one anywhere else, and answered to
/// be reported.
pub(crate) fn call_clients_code<R>(code: impl FnOnce() -> R) -> Result<R, Box<Origin>> {
    CALLS_CLIENTS_CODE.set(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    CALLS_CLIENTS_CODE.set(false);
    let seen = CLIENTS_PANIC.take();
    result.map_err(|payload| {
        let unseen = || Box::new(Origin::now(text_of(&*payload)));
        let origin = seen.unwrap_or_else(unseen);
        drop(Caught::from(payload));
        origin
    })
}

/// Installs the hook for the rest of the process's life.
#[expect(clippy::disallowed_methods, reason = "this is the one place that installs a panic hook")]
pub(crate) fn install(inner: Arc<Inner>) {
    let previous = std::panic::take_hook();
    let chain = inner.settings.previous_hook == PreviousHook::Chain;
    std::panic::set_hook(Box::new(move |info| {
        record(&inner, info);
        if chain {
            previous(info);
        }
    }));
}

fn record(inner: &Inner, info: &PanicHookInfo<'_>) {
    if is_recovery_thread() {
        if CALLS_CLIENTS_CODE.try_with(Cell::get).unwrap_or(false) {
            inner.counters.panics.add();
            let origin = Box::new(describe(inner, info));
            let _ = CLIENTS_PANIC.try_with(|panic| panic.set(Some(origin)));
        } else {
            inner.counters.recovery_panics.add();
        }
        return;
    }
    inner.counters.panics.add();
    let report = Box::new(report(describe(inner, info)));
    if report.attribution == Attribution::Exact {
        scope::set_pending(report);
    } else {
        inner.submit(report);
    }
}

fn describe(inner: &Inner, info: &PanicHookInfo<'_>) -> Origin {
    let mut origin = Origin::now(info.payload_as_str().unwrap_or("(a payload that is not text)"));
    if let Some(at) = info.location() {
        origin.location = Some(Location::new(at.file(), at.line(), at.column()));
        // The frames of one location are taken once. If somebody is naming frames this very moment, the
        // location stays unseen for the next panic there.
        if inner.seen.is_unseen(at.file(), at.line(), at.column())
            && let Some(frames) = Frames::try_capture()
            && inner.seen.insert(at.file(), at.line(), at.column())
        {
            origin.frames = Some(frames);
        }
    }
    origin
}

fn report(origin: Origin) -> Report {
    let (attribution, compartment, activity) = attribute();
    Report {
        fault: Fault::Panic,
        attribution,
        compartment,
        activity,
        outcome: Outcome::Escaped,
        origin,
        responder: None,
        standing: Standing::Fine,
    }
}

/// Whose code this thread runs right now.
fn attribute() -> (Attribution, Option<Arc<crate::Compartment>>, Option<Activity>) {
    if let Some(scope) = Scope::current() {
        return (Attribution::Exact, Some(scope.compartment().clone()), Some(scope.activity().clone()));
    }
    let transport = tokio::task::try_id().and_then(Transport::of_task);
    match transport.as_deref().and_then(Transport::compartment) {
        Some(lease) => (Attribution::Transport, Some(Arc::clone(lease)), Some(Activity::transport())),
        None => (Attribution::Unattributed, None, None),
    }
}
