//! Work that blocks, on threads where it may.

use std::panic::resume_unwind;

use tokio::sync::Semaphore;

use crate::guard::{Carried, carry};
use crate::install::installed;
use crate::scope::{self, Scope};

/// How many pieces of blocking work run at once, unless set: enough for a disk and a database, few enough to bound the
/// memory of their stacks.
pub(crate) const DEFAULT_THREADS: usize = 32;

static PERMITS: std::sync::LazyLock<Semaphore> = std::sync::LazyLock::new(|| {
    Semaphore::new(installed().map_or(DEFAULT_THREADS, |watertight| watertight.blocking_threads()))
});

/// Runs `work`, which may block or compute for long, on a thread for such work and answers its result. The work runs in
/// the scope of the calling code: a panic of it is a panic of the handler that waits for it, and is no stall.
///
/// At most [`blocking_threads`](crate::Builder::blocking_threads) pieces run at once in the process; others wait for their
/// turn. Cancelling the future, as a deadline does, does not stop work that has begun.
///
/// # Panics
///
/// With the panic of `work`, and outside of a tokio runtime.
pub async fn blocking<F, R>(work: F) -> R
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    // Never closed.
    let permit = PERMITS.acquire().await.ok();
    let scope = Scope::current();
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        scope::unwatched(|| carry(scope, work))
    });
    match done.await {
        Ok(Ok(result)) => result,
        Ok(Err(carried)) => Carried::unpack(carried),
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            // The runtime is being shut down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}
