//! Boundaries: code that runs inside a scope and whose panics stop here.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::deadline::Deadline;
use crate::fault::{Attribution, Fault, Outcome, Report};
use crate::scope::{self, Scope};
use crate::seal::Notice;

/// A panic, or work that ran past its deadline, that was stopped at a boundary. The fault has been reported; the payload is kept for those
/// who want to go on unwinding.
pub struct Caught(Box<dyn Any + Send>);

impl Caught {
    /// The panic's payload (a `&'static str` for a deadline), for [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let mut this = self;
        std::mem::replace(&mut this.0, Box::new(()))
    }
}

impl From<Box<dyn Any + Send>> for Caught {
    /// For its drop, which outlives a payload whose destructor panics.
    fn from(payload: Box<dyn Any + Send>) -> Self {
        Self(payload)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // A payload is the user's own type: its destructor may panic as well.
        let payload = std::mem::replace(&mut self.0, Box::new(()));
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
    }
}

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caught").field(&text_of(&*self.0)).finish()
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {}", text_of(&*self.0))
    }
}

impl std::error::Error for Caught {}

/// Runs code of others that must not take its caller down: neither by a panic, nor by a payload whose
/// destructor panics. The hook has seen both. `None` when `work` panicked.
#[inline]
pub fn quietly<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Caught).ok()
}

/// The text of a panic's payload, as far as it has one.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a payload that is not text)")
}

/// Runs `work` inside `scope`. A panic that unwinds out of it is reported as a fault of the scope's
/// compartment and answered as [`Caught`].
///
/// `responder` is called on the recovery thread when the verdict fails only this piece of work.
///
/// # Errors
///
/// [`Caught`], when `work` panicked.
#[inline]
pub fn run<R>(
    scope: Scope,
    responder: Option<impl FnOnce(&Notice) + Send + 'static>,
    work: impl FnOnce() -> R,
) -> Result<R, Caught> {
    let mut scope = Some(scope);
    let mut responder = responder;
    enter(&mut scope, &mut responder, work)
}

/// As [`run`], for work that is done piece by piece in one scope. The scope is lent for each piece and is there again after it:
/// with a clone for each, all would count up and down what the work of one compartment shares. Without a scope, `work` runs
/// outside of any.
///
/// # Errors
///
/// [`Caught`], when `work` panicked.
#[doc(hidden)]
#[inline]
pub fn run_lent<R>(scope: &mut Option<Scope>, work: impl FnOnce() -> R) -> Result<R, Caught> {
    enter(scope, &mut None::<NoResponder>, work)
}

/// Lends the scope to the thread while `work` runs.
#[inline]
fn enter<R, N: FnOnce(&Notice) + Send + 'static>(
    scope: &mut Option<Scope>,
    responder: &mut Option<N>,
    work: impl FnOnce() -> R,
) -> Result<R, Caught> {
    let outer = scope::enter(scope);
    let result = catch_unwind(AssertUnwindSafe(work));
    let seen = scope::leave(scope, outer);
    match result {
        Ok(result) => {
            if let Some(seen) = seen {
                settle(seen, false, responder);
            }
            Ok(result)
        }
        Err(payload) => Err(caught(payload, seen, scope.as_ref(), responder)),
    }
}

/// Drops what a future holds that has not come to its end: it may panic when it is dropped.
#[cold]
fn drop_in_scope<N: FnOnce(&Notice) + Send + 'static>(
    scope: &mut Option<Scope>,
    responder: &mut Option<N>,
    work: &mut dyn FnMut(),
) {
    let _reported = enter(scope, responder, work);
}

/// A panic has unwound to a boundary.
#[cold]
fn caught<N: FnOnce(&Notice) + Send + 'static>(
    payload: Box<dyn Any + Send>,
    seen: Option<Box<Report>>,
    scope: Option<&Scope>,
    responder: &mut Option<N>,
) -> Caught {
    if let Some(scope) = scope {
        // Before anybody else can be let in to try.
        scope.failed();
    }
    match seen {
        Some(seen) => settle(seen, true, responder),
        None => report_unseen(&*payload, scope, responder),
    }
    Caught(payload)
}

/// A panic on its way from one thread to another: nobody has decided on it yet.
pub(crate) struct Carried {
    payload: Option<Box<dyn Any + Send>>,
    seen: Option<Box<Report>>,
}

/// Runs `work` inside `scope` for a boundary in another thread, which is given the panic to go on with.
pub(crate) fn carry<R>(mut scope: Option<Scope>, work: impl FnOnce() -> R) -> Result<R, Carried> {
    let outer = scope::enter(&mut scope);
    let result = catch_unwind(AssertUnwindSafe(work));
    let seen = scope::leave(&mut scope, outer);
    match result {
        Ok(result) => {
            if let Some(seen) = seen {
                settle(seen, false, &mut None::<NoResponder>);
            }
            Ok(result)
        }
        Err(payload) => Err(Carried { payload: Some(payload), seen }),
    }
}

impl Carried {
    /// Goes on unwinding here, as if the panic had happened on this thread.
    pub(crate) fn unpack(mut self) -> ! {
        if let Some(seen) = self.seen.take() {
            scope::set_pending(seen);
        }
        resume_unwind(self.payload.take().unwrap_or_else(|| Box::new(())))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Nobody waited for it any more.
        if let Some(seen) = self.seen.take() {
            settle(seen, true, &mut None::<NoResponder>);
        }
        drop(self.payload.take().map(Caught));
    }
}

#[cold]
fn settle<N: FnOnce(&Notice) + Send + 'static>(
    mut seen: Box<Report>,
    escaped: bool,
    responder: &mut Option<N>,
) {
    if escaped {
        seen.outcome = Outcome::Escaped;
        seen.responder = responder.take().map(|responder| Box::new(responder) as _);
    } else {
        seen.outcome = Outcome::Caught;
    }
    crate::submit(seen);
}

/// A panic that no hook has seen: one that was resumed, or ours is not installed.
#[cold]
fn report_unseen<N: FnOnce(&Notice) + Send + 'static>(
    payload: &(dyn Any + Send),
    scope: Option<&Scope>,
    responder: &mut Option<N>,
) {
    let Some(scope) = scope else { return };
    let mut report = Report::new(
        Fault::Panic,
        Attribution::Exact,
        Some(scope.compartment().clone()),
        Some(scope.activity().clone()),
        text_of(payload),
    );
    report.responder = responder.take().map(|responder| Box::new(responder) as _);
    crate::submit(Box::new(report));
}

#[cold]
fn report_deadline<N: FnOnce(&Notice) + Send + 'static>(
    scope: &Scope,
    limit: Duration,
    responder: &mut Option<N>,
) {
    scope.failed();
    let message = format!("was still running after {} ms and was cancelled", limit.as_millis());
    let (compartment, activity) = (Arc::clone(scope.compartment()), scope.activity().clone());
    let mut report =
        Report::new(Fault::Deadline, Attribution::Exact, Some(compartment), Some(activity), message);
    report.responder = responder.take().map(|responder| Box::new(responder) as _);
    crate::submit(Box::new(report));
}

/// The responder of work that nobody waits for.
pub type NoResponder = fn(&Notice);

pin_project! {
    /// A future that runs inside a scope and whose panics stop here. See [`ScopeExt::scoped`](crate::ScopeExt::scoped).
    #[must_use = "futures do nothing unless polled"]
    pub struct Guarded<F, N = NoResponder>
    where
        N: FnOnce(&Notice),
        N: Send,
        N: 'static,
    {
        scope: Option<Scope>,
        responder: Option<N>,
        // To be kept by the handler that its scope is for: the scope ends with it.
        deadline: Deadline,
        #[pin]
        future: Option<F>,
    }

    impl<F, N> PinnedDrop for Guarded<F, N>
    where
        N: FnOnce(&Notice),
        N: Send,
        N: 'static,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() && this.scope.is_some() {
                // Cancelled: what the future holds is dropped in its scope, and may panic there.
                drop_in_scope(this.scope, this.responder, &mut || this.future.set(None));
            }
        }
    }
}

impl<F, N> Guarded<F, N>
where
    N: FnOnce(&Notice) + Send + 'static,
{
    /// Runs `future` inside `scope`. `responder` is called on the recovery thread when the verdict on
    /// a fault fails only this piece of work.
    #[inline]
    pub fn new(scope: Scope, future: F, responder: Option<N>) -> Self {
        Self { scope: Some(scope), responder, deadline: Deadline::default(), future: Some(future) }
    }

    /// Marks the future as the handler that its scope is for, and cancels it when it still runs after the time that the scope's [deadline](Scope::deadline) gives it, if
    /// any: that is a [`Fault::Deadline`] of the scope's compartment.
    #[inline]
    pub fn as_handler(mut self) -> Self {
        self.deadline = Deadline::kept();
        self
    }

    /// Runs `future` inside the scope that the calling code runs in, and within that scope's deadline.
    ///
    /// # Errors
    ///
    /// The future itself, outside of any scope.
    #[inline]
    pub fn in_current_scope(future: F, responder: Option<N>) -> Result<Self, F> {
        match Scope::current() {
            Some(scope) => Ok(Self::new(scope, future, responder).as_handler()),
            None => Err(future),
        }
    }
}

impl<F, N> Future for Guarded<F, N>
where
    F: Future,
    N: FnOnce(&Notice) + Send + 'static,
{
    type Output = Result<F::Output, Caught>;

    /// # Panics
    ///
    /// When polled again after it answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let is_handler = this.deadline.is_kept();
        let limit = this.scope.as_ref().filter(|_| is_handler).and_then(Scope::deadline);
        let due = limit.and_then(|limit| this.deadline.begin(limit));
        let polled = enter(this.scope, this.responder, || {
            let future = this.future.as_mut().as_pin_mut().expect("polled after it answered");
            let polled = future.poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        });
        let caught = match polled {
            Ok(Poll::Ready(output)) => {
                if let (true, Some(scope)) = (is_handler, &this.scope) {
                    scope.succeeded();
                }
                return Poll::Ready(Ok(output));
            }
            Ok(Poll::Pending) => {
                let (Some(limit), Some(scope)) = (limit, &this.scope) else { return Poll::Pending };
                ready!(this.deadline.poll_passed(due, cx));
                report_deadline(scope, limit, this.responder);
                Caught(Box::new("ran past its deadline"))
            }
            Err(caught) => caught,
        };
        drop_in_scope(this.scope, this.responder, &mut || this.future.set(None));
        Poll::Ready(Err(caught))
    }
}

impl<F, N> fmt::Debug for Guarded<F, N>
where
    N: FnOnce(&Notice) + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::Activity;
    use crate::compartment::Compartment;

    /// Polls a handler once; answers whether it needed a timer for its deadline.
    async fn needs_a_timer(work: impl Future<Output = ()>) -> bool {
        let scope = Scope::new(Compartment::new(None, None), Activity::transport());
        let scope = scope.due_after(Duration::from_secs(60));
        let mut guarded = Box::pin(Guarded::new(scope, work, None::<NoResponder>).as_handler());
        std::future::poll_fn(|cx| Poll::Ready(guarded.as_mut().poll(cx).is_ready())).await;
        guarded.as_mut().project().deadline.has_timer()
    }

    #[tokio::test]
    async fn work_that_is_done_at_its_first_poll_needs_no_timer() {
        assert!(!needs_a_timer(async {}).await);
        assert!(needs_a_timer(std::future::pending()).await);
    }
}
