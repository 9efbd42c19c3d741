//! Lanes: threads for the application's code, apart from those that do I/O.
//!
//! What runs there are jobs (a handler's extractors and its synchronous body) and futures (what the handler returns). All
//! lane threads take from one queue and no thread owns anything that it has not begun, so that whatever a held thread
//! leaves behind goes on with the next free one. When too few threads are free the watchdog starts spare ones.
//!
//! Children that handlers spawn with plain `tokio::spawn`, and their timers, live on a tokio runtime that is the lanes' own.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_task::Runnable;
/// A future that runs on the lanes. Dropping it cancels the future; [`detach`](async_task::Task::detach) lets it go on.
pub use async_task::Task as LaneTask;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};

use crate::guard::quietly;
use crate::rare::RARE;
use crate::{runtimes, scope};

/// How long a spare thread has to be needed no more until it ends: storms come in gusts.
const IDLE: Duration = Duration::from_secs(10);

static LANES: OnceLock<Lanes> = OnceLock::new();

/// How many threads the lanes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneSettings {
    /// Threads that are kept free of blocking handlers. 1 to 1,024; default: one for each processor.
    pub threads: usize,
    /// How many spare threads may be started while others are held. 0 to 4,096, default 64.
    pub spares: usize,
}

impl Default for LaneSettings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: threads.min(1024), spares: 64 }
    }
}

impl LaneSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many threads are kept free.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how many spare threads there may be.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }
}

/// Work for the lanes that comes piece by piece and in order, such as the events of one socket.
pub trait Drain: Send + Sync + 'static {
    /// Does what there is to do, on a lane thread. Must see to it that it is not called twice at once.
    fn drain(self: Arc<Self>);
}

enum Job {
    Poll(Runnable),
    Drain(Arc<dyn Drain>),
    /// For whichever thread takes it: end.
    Retire,
}

/// The lanes of this process. See [`lanes`].
pub struct Lanes {
    settings: LaneSettings,
    queue: Sender<Job>,
    jobs: Receiver<Job>,
    /// Never dropped: what handlers spawned lives on it.
    context: Handle,
    threads: AtomicUsize,
    crew: Mutex<Crew>,
}

/// What the watchdog remembers of the threads.
struct Crew {
    started: usize,
    /// Since when there have been more free threads than are wanted.
    idle_since: Option<Instant>,
}

/// The lanes, when they are on.
#[must_use]
#[inline]
pub fn lanes() -> Option<&'static Lanes> {
    if RARE.lanes.is_none() { None } else { LANES.get() }
}

/// Starts the lanes, once in a process.
pub(crate) fn start(settings: LaneSettings) -> std::io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().thread_name("lane-children").enable_all().build()?;
    let (queue, jobs) = crossbeam_channel::unbounded();
    let context = keep(runtime);
    runtimes::watch_children(&context);
    let crew = Mutex::new(Crew { started: 0, idle_since: None });
    RARE.lanes.add_one();
    let lanes =
        LANES.get_or_init(|| Lanes { settings, queue, jobs, context, threads: AtomicUsize::new(0), crew });
    for _ in 0..settings.threads {
        lanes.start_thread()?;
    }
    Ok(())
}

/// Keeps a runtime for the rest of the process's life.
fn keep(runtime: Runtime) -> Handle {
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    handle
}

impl Lanes {
    /// Runs a future on the lanes.
    pub fn spawn<F>(&'static self, future: F) -> LaneTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (runnable, task) = self.task(future);
        runnable.schedule();
        task
    }

    /// Runs a future on the lanes, as far as it gets at once here and now. For a lane thread, which has just called what
    /// made the future: a handler that does not wait costs no way through the queue.
    pub fn start<F>(&'static self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (runnable, task) = self.task(future);
        task.detach();
        runnable.run();
    }

    /// The future in a box of its own: the code of a task is then compiled once for all handlers, and not for each of them,
    /// which was a quarter of what a server with many handlers took to build. `cargo xtask bench --only lanes` does not see the
    /// box.
    fn task<F>(&'static self, future: F) -> (Runnable, LaneTask<F::Output>)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future: Pin<Box<dyn Future<Output = F::Output> + Send>> = Box::pin(future);
        async_task::spawn(future, self.schedule())
    }

    /// Apart from [`task`](Self::task), whose closures are another type for each future.
    fn schedule(&'static self) -> impl Fn(Runnable) + Send + Sync + 'static {
        |runnable| self.push(Job::Poll(runnable))
    }

    /// Has a lane thread drain `work`.
    pub fn drain(&self, work: Arc<dyn Drain>) {
        self.push(Job::Drain(work));
    }

    fn push(&self, job: Job) {
        // Never refused: the queue has no bound, and its other end is a field of the same struct.
        let _ = self.queue.send(job);
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    /// How many jobs nobody has begun.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Whether every thread that there may be is held.
    pub(crate) fn is_exhausted(&self, held: usize) -> bool {
        held >= self.settings.threads + self.settings.spares
    }

    /// Sees to it that as many threads are free as there should be, as far as the bound goes. `held` do not come back
    /// to the queue. For the watchdog.
    pub(crate) fn balance(&'static self, held: usize, now: Instant) {
        let threads = self.threads();
        let free = threads.saturating_sub(held);
        let LaneSettings { threads: wanted, spares } = self.settings;
        let room = (wanted + spares).saturating_sub(threads);
        for _ in 0..wanted.saturating_sub(free).min(room) {
            if let Err(error) = self.start_thread() {
                tracing::error!(target: "watertight", %error, "a spare lane thread does not start");
                break;
            }
        }
        let mut crew = self.crew.lock();
        if free <= wanted {
            crew.idle_since = None;
        } else if now.duration_since(*crew.idle_since.get_or_insert(now)) >= IDLE {
            crew.idle_since = None;
            for _ in wanted..free {
                self.push(Job::Retire);
            }
        }
    }

    fn start_thread(&'static self) -> std::io::Result<()> {
        let number = {
            let mut crew = self.crew.lock();
            crew.started += 1;
            crew.started
        };
        // Counted before it runs: the watchdog must not start another one for the same need.
        self.threads.fetch_add(1, Ordering::Relaxed);
        let started = std::thread::Builder::new().name(format!("lane-{number}")).spawn(|| {
            scope::lane_thread();
            let _context = self.context.enter();
            self.work();
            self.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
        started.map(drop)
    }

    fn work(&self) {
        for job in &self.jobs {
            match job {
                // Whatever is run there is guarded; should something else panic, that costs no thread.
                Job::Poll(runnable) => {
                    quietly(|| runnable.run());
                }
                Job::Drain(work) => {
                    quietly(|| work.drain());
                }
                Job::Retire => return,
            }
        }
    }
}
