//! Scopes: "the code running now works for compartment C on activity A".

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::activity::Activity;
use crate::board::{Board, Entry, Slot};
use crate::breaker::Probe;
use crate::compartment::Compartment;
use crate::conduct::Misbehaviour;
use crate::fault::{Outcome, Report};
use crate::guard::{Caught, Guarded, NoResponder};
use crate::lanes::lanes;
use crate::stacks;

/// Says for whom code works. Cheap to clone; entering it costs two moves of a pointer.
#[derive(Clone)]
pub struct Scope(Arc<Parts>);

/// What every message asks for comes first: with many clients none of it is in the processor's cache.
#[repr(C)]
struct Parts {
    /// The compartment and the activity as the board knows them.
    entry: Entry,
    compartment: Arc<Compartment>,
    /// The work in it is the one try of an activity that was switched off.
    tries: Option<Box<Mutex<Option<Probe>>>>,
    deadline: Option<Duration>,
    activity: Activity,
}

/// What this thread knows about the code that runs on it. It has nothing to drop, so that it costs no look at whether it is
/// there, and is there for as long as its thread. What is left in it when the thread ends [`Claimed`] drops.
struct ThreadState {
    current: Cell<Option<ManuallyDrop<Scope>>>,
    /// A panic that the hook has seen in the current scope and nobody has decided on yet: it either
    /// unwinds out of a scope or is caught by the application before that.
    pending: Cell<Option<ManuallyDrop<Box<Report>>>>,
    place: Cell<Place>,
}

/// Where on the board a thread says what it works on.
#[derive(Clone, Copy)]
enum Place {
    /// It has not entered a scope yet.
    Unknown,
    At(Slot),
    /// Nowhere: the board is full, or the thread ends.
    Nowhere,
}

thread_local! {
    static THREAD: ThreadState = const {
        ThreadState { current: Cell::new(None), pending: Cell::new(None), place: Cell::new(Place::Unknown) }
    };

    /// Dropped when the thread ends.
    static CLAIMED: Claimed = const { Claimed(Cell::new(None)) };
}

/// The slot that is to be given back.
struct Claimed(Cell<Option<Slot>>);

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            let forgotten = THREAD.with(|thread| {
                thread.place.set(Place::Nowhere);
                let mut scope = None;
                thread.swap_current(&mut scope);
                (scope, thread.swap_pending(None))
            });
            slot.release();
            // Of guards that were leaked.
            drop(forgotten);
        }
    }
}

impl ThreadState {
    #[inline]
    fn swap_current(&self, scope: &mut Option<Scope>) {
        let before = self.current.replace(scope.take().map(ManuallyDrop::new));
        *scope = before.map(ManuallyDrop::into_inner);
    }

    #[inline]
    fn swap_pending(&self, pending: Option<Box<Report>>) -> Option<Box<Report>> {
        self.pending.replace(pending.map(ManuallyDrop::new)).map(ManuallyDrop::into_inner)
    }

    /// Says on the board that it has entered a scope. It is handed `pending` for its caller, who has nothing to keep then.
    #[inline(never)]
    fn enters(&self, entry: Entry, pending: Option<Box<Report>>) -> Option<Box<Report>> {
        if let Some(slot) = self.slot() {
            slot.enter(entry);
        }
        pending
    }

    /// Says on the board that it has left a scope. As above.
    #[inline(never)]
    fn leaves(&self, pending: Option<Box<Report>>) -> Option<Box<Report>> {
        let outer = self.current.take();
        let entry = outer.as_deref().map_or(Entry::IDLE, |scope| scope.0.entry);
        self.current.set(outer);
        if let Some(slot) = self.slot() {
            slot.leave(entry);
        }
        pending
    }

    /// Its place on the board.
    #[inline]
    fn slot(&self) -> Option<Slot> {
        match self.place.get() {
            Place::At(slot) => Some(slot),
            Place::Nowhere => None,
            Place::Unknown => self.find_place(),
        }
    }

    #[cold]
    fn find_place(&self) -> Option<Slot> {
        // Not while the thread ends: nobody would give the slot back.
        let slot = CLAIMED.try_with(|claimed| {
            let slot = Board::global().claim();
            claimed.0.set(slot);
            slot
        });
        let slot = slot.ok().flatten();
        if let Some(slot) = slot {
            slot.enrol(stacks::enrol());
        }
        self.place.set(slot.map_or(Place::Nowhere, Place::At));
        slot
    }
}

/// Says on the board that the calling thread is one of the lanes'.
pub(crate) fn lane_thread() {
    // A full board only leaves it unwatched.
    if let Some(slot) = THREAD.with(ThreadState::slot) {
        slot.set_lane();
    }
}

/// Runs `work` with the calling thread not watched: it may take as long as it likes.
pub(crate) fn unwatched<R>(work: impl FnOnce() -> R) -> R {
    let slot = THREAD.with(ThreadState::slot);
    let before = slot.map(|slot| slot.set_unwatched(true));
    let result = work();
    if let (Some(slot), Some(before)) = (slot, before) {
        slot.set_unwatched(before);
    }
    result
}

/// Notes on the board that the calling thread has read bytes of this compartment's client, which it is about to make
/// sense of outside of any scope; 0 when it has done so.
#[inline]
pub(crate) fn reads(compartment: u64) {
    if let Some(slot) = THREAD.with(ThreadState::slot) {
        slot.reads(compartment);
    }
}

impl Scope {
    /// A scope for `compartment` and `activity`.
    #[must_use]
    pub fn new(compartment: Arc<Compartment>, activity: Activity) -> Self {
        let entry = Entry { compartment: compartment.key(), activity: activity.number() };
        Self(Arc::new(Parts { compartment, activity, entry, deadline: None, tries: None }))
    }

    /// A scope for a handler: with the deadline that the installed policy gives `activity`.
    #[must_use]
    pub fn for_handler(compartment: Arc<Compartment>, activity: Activity) -> Self {
        let entry = Entry { compartment: compartment.key(), activity: activity.number() };
        let deadline = crate::installed().and_then(|watertight| {
            // The policy may be the application's own: what it does is done for this client.
            let _entered = Self::new(Arc::clone(&compartment), activity.clone()).enter();
            watertight.deadline(&activity)
        });
        Self(Arc::new(Parts { compartment, activity, entry, deadline, tries: None }))
    }

    /// The same scope with a deadline, whatever the policy says.
    #[cfg(test)]
    pub(crate) fn due_after(&self, limit: Duration) -> Self {
        let Parts { compartment, activity, entry, .. } = &*self.0;
        let (compartment, activity) = (Arc::clone(compartment), activity.clone());
        Self(Arc::new(Parts { compartment, activity, entry: *entry, deadline: Some(limit), tries: None }))
    }

    /// The same scope for the one try of its activity, which was switched off. When the handler is done without a fault
    /// the activity is on again; when it was not called at all, somebody else may try.
    #[must_use]
    pub fn trying(&self, probe: Probe) -> Self {
        let Parts { compartment, activity, entry, deadline, tries: _ } = &*self.0;
        Self(Arc::new(Parts {
            compartment: Arc::clone(compartment),
            activity: activity.clone(),
            entry: *entry,
            deadline: *deadline,
            tries: Some(Box::new(Mutex::new(Some(probe)))),
        }))
    }

    /// The handler has failed: what it tried stays off, for longer.
    #[inline]
    pub(crate) fn failed(&self) {
        if let Some(tries) = &self.0.tries
            && let Some(probe) = tries.lock().take()
        {
            // The recovery tells that it is off, when it judges the fault.
            let _ = probe.fail(std::time::Instant::now());
        }
    }

    /// The handler is done without a fault.
    #[inline]
    pub(crate) fn succeeded(&self) {
        if let Some(tries) = &self.0.tries
            && let Some(probe) = tries.lock().take()
        {
            probe.succeed();
        }
    }

    /// How long a handler in this scope may run, if that is limited.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<Duration> {
        self.0.deadline
    }

    /// The scope that the calling code runs in. `None` outside of any.
    #[must_use]
    #[inline]
    pub fn current() -> Option<Self> {
        THREAD.with(|thread| {
            let current = thread.current.take();
            let scope = current.as_deref().cloned();
            thread.current.set(current);
            scope
        })
    }

    /// The compartment that the code works for.
    #[must_use]
    #[inline]
    pub fn compartment(&self) -> &Arc<Compartment> {
        &self.0.compartment
    }

    /// What it works on.
    #[must_use]
    #[inline]
    pub fn activity(&self) -> &Activity {
        &self.0.activity
    }

    /// Enters the scope on this thread until the guard is dropped; the one before is then back.
    /// Scopes nest. For futures use [`ScopeExt::scoped`]: a guard must not live across an `.await`,
    /// and the compiler sees to it, since it cannot be sent to another thread.
    #[must_use = "the scope is left when the guard is dropped"]
    pub fn enter(&self) -> Entered {
        let mut scope = Some(self.clone());
        let pending = enter(&mut scope);
        Entered { outer: scope, pending, was_panicking: std::thread::panicking(), _not_send: PhantomData }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("compartment", &self.0.compartment.id())
            .field("activity", &self.0.activity)
            .finish()
    }
}

/// Leaves the scope when dropped. See [`Scope::enter`].
pub struct Entered {
    outer: Option<Scope>,
    pending: Option<Box<Report>>,
    /// Entered by a destructor during unwinding: that panic comes from the code around.
    was_panicking: bool,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let escapes = std::thread::panicking() && !self.was_panicking;
        if let Some(report) = leave(&mut self.outer, self.pending.take()) {
            submit(report, if escapes { Outcome::Escaped } else { Outcome::Caught });
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("previous", &self.outer).finish_non_exhaustive()
    }
}

/// Makes `scope` the current one, and puts the one before into its place, until [`leave`] is given both. Answers a panic in
/// that one that nobody has decided on, which is put aside: destructors enter scopes while the code around unwinds, and its
/// panic is for its own boundary to decide.
pub(crate) fn enter(scope: &mut Option<Scope>) -> Option<Box<Report>> {
    THREAD.with(|thread| {
        let entry = scope.as_ref().map_or(Entry::IDLE, |scope| scope.0.entry);
        thread.swap_current(scope);
        let pending = thread.swap_pending(None);
        match thread.place.get() {
            Place::At(slot) if slot.enters_quickly(entry) => pending,
            _ => thread.enters(entry, pending),
        }
    })
}

/// Makes `outer` current again, which [`enter`] put into the place of the scope that is left and which changes places with it
/// now, and the panic that was put aside. Answers one in the scope that is left.
pub(crate) fn leave(outer: &mut Option<Scope>, pending: Option<Box<Report>>) -> Option<Box<Report>> {
    THREAD.with(|thread| {
        thread.swap_current(outer);
        let pending = thread.swap_pending(pending);
        match thread.place.get() {
            Place::At(slot) if slot.leaves_quickly() => pending,
            _ => thread.leaves(pending),
        }
    })
}

/// Keeps a panic that the hook saw until its scope is left. One that is already waiting did not
/// unwind to a boundary: the application caught it.
pub(crate) fn set_pending(report: Box<Report>) {
    if let Some(earlier) = THREAD.with(|thread| thread.swap_pending(Some(report))) {
        submit(earlier, Outcome::Caught);
    }
}

fn submit(mut report: Box<Report>, outcome: Outcome) {
    report.outcome = outcome;
    crate::submit(report);
}

/// Counts a misbehaviour against the client that the calling code works for; does nothing outside of any scope. Handlers
/// call it for what only they can judge, such as [`Misbehaviour::HandlerError`] when a request makes no sense.
pub fn misbehaved(kind: Misbehaviour) {
    if let Some(scope) = Scope::current() {
        scope.compartment().misbehaves(kind);
    }
}

/// Carries scopes into futures.
pub trait ScopeExt: Future + Sized {
    /// Runs the future inside `scope`: it is entered on every poll and left on every return. A panic
    /// that unwinds out of it is a fault of the scope's compartment and arrives as [`Caught`](crate::Caught).
    fn scoped(self, scope: Scope) -> Guarded<Self> {
        Guarded::new(scope, self, None::<NoResponder>)
    }
}

impl<F: Future> ScopeExt for F {}

/// Like [`tokio::spawn`], and the new task works for the compartment that the calling code works for.
///
/// A panic of the task is a fault of that compartment; the handle answers it as a panic all the same.
/// Outside of any scope this is `tokio::spawn`.
///
/// # Panics
///
/// Outside of a tokio runtime, as `tokio::spawn` does.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Scope::current() {
        None => tokio::spawn(future),
        Some(scope) => {
            let guarded = future.scoped(scope);
            match lanes() {
                // The handle is tokio's: its task waits for the one on the lanes, and cancels that when aborted.
                Some(lanes) => {
                    let task = lanes.spawn(guarded);
                    tokio::spawn(async move { unguarded(task.await) })
                }
                None => tokio::spawn(async move { unguarded(guarded.await) }),
            }
        }
    }
}

fn unguarded<T>(result: Result<T, Caught>) -> T {
    match result {
        Ok(output) => output,
        // Does not call the hook again: the fault has been reported.
        Err(caught) => std::panic::resume_unwind(caught.into_payload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::ActivityKind;
    use proptest::prelude::*;

    fn scope(name: u32) -> Scope {
        let activity = Activity::new(ActivityKind::Task, "", name.to_string());
        Scope::new(Compartment::new(None, None), activity)
    }

    fn current() -> Option<String> {
        Scope::current().map(|scope| scope.activity().name().to_owned())
    }

    #[test]
    fn another_thread_has_its_own() {
        let _entered = scope(1).enter();
        std::thread::spawn(|| assert_eq!(current(), None)).join().expect("no panic there");
        assert_eq!(current().as_deref(), Some("1"));
    }

    #[test]
    fn survives_thread_teardown() {
        struct AsksInDrop;
        impl Drop for AsksInDrop {
            fn drop(&mut self) {
                // The thread's slot may have been given back: entering must not write there then.
                assert_eq!(current(), None);
                assert!(THREAD.with(|thread| matches!(thread.place.get(), Place::Nowhere)));
                let _entered = scope(7).enter();
                assert_eq!(current().as_deref(), Some("7"));
            }
        }
        thread_local!(static LATE: AsksInDrop = const { AsksInDrop });
        std::thread::spawn(|| {
            LATE.with(|_| ());
            drop(scope(1).enter());
        })
        .join()
        .expect("teardown does not panic");
    }

    /// Would reveal that whoever leaks a guard keeps its client's compartment for ever.
    #[test]
    fn a_guard_that_was_leaked_ends_with_its_thread() {
        let client = Compartment::new(None, None);
        let of_it = Scope::new(Arc::clone(&client), Activity::new(ActivityKind::Task, "", "leaked"));
        std::thread::spawn(move || std::mem::forget(of_it.enter())).join().expect("no panic there");
        assert_eq!(Arc::strong_count(&client), 1);
    }

    /// A little program of nested scopes, run for real and against a plain vector as the model.
    #[derive(Debug, Clone)]
    enum Step {
        Enter(u32, Vec<Step>),
        Panic(u32, Vec<Step>),
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let leaf = Just(Step::Look).boxed();
        let step = leaf.prop_recursive(4, 24, 4, |inner| {
            let steps = prop::collection::vec(inner, 0..4);
            prop_oneof![
                Just(Step::Look),
                (0..99u32, steps.clone()).prop_map(|(name, steps)| Step::Enter(name, steps)),
                (0..99u32, steps).prop_map(|(name, steps)| Step::Panic(name, steps)),
            ]
        });
        prop::collection::vec(step, 0..4)
    }

    fn run(steps: &[Step], model: &mut Vec<u32>) {
        for step in steps {
            match step {
                Step::Look => {}
                Step::Enter(name, inner) => {
                    let _entered = scope(*name).enter();
                    model.push(*name);
                    run(inner, model);
                    model.pop();
                }
                Step::Panic(name, inner) => {
                    let depth = model.len();
                    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let _entered = scope(*name).enter();
                        model.push(*name);
                        run(inner, model);
                        std::panic::resume_unwind(Box::new(()));
                    }));
                    assert!(unwound.is_err());
                    model.truncate(depth);
                }
            }
            assert_eq!(current(), model.last().map(ToString::to_string));
        }
    }

    proptest! {
        #[test]
        fn nests_like_a_stack_also_when_unwinding(program in steps()) {
            let mut model = Vec::new();
            run(&program, &mut model);
            prop_assert_eq!(current(), None);
        }
    }
}
