//! The tokio runtimes that work for compartments, and how one is nudged.
//!
//! A thread that blocks often holds the runtime's I/O driver without polling it, and no other thread is woken to take
//! it over: one handler that blocks for three seconds freezes every socket although another thread is idle. A task
//! spawned from outside wakes a parked thread, which takes the driver when it parks again.

use std::collections::HashMap;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::task::JoinHandle;

use crate::lanes::lanes;

static RUNTIMES: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// How many nudges may be unanswered before only every [`SPARINGLY`]th is sent: every thread is held then, and there is
/// nobody to wake.
const UNANSWERED: usize = 8;
const SPARINGLY: u32 = 16;
/// Every how many looks a runtime is nudged without a reason.
const SELDOM: u32 = 512;

struct Watched {
    handle: Handle,
    metrics: RuntimeMetrics,
    /// How often each worker had parked and unparked at the last look; even while it works.
    turns: Vec<u64>,
    nudges: Vec<JoinHandle<()>>,
    looks: u32,
}

/// Watches a runtime from now on, until it is shut down.
pub(crate) fn watch(handle: &Handle) {
    let mut runtimes = RUNTIMES.lock();
    if runtimes.iter().all(|watched| watched.handle.id() != handle.id()) {
        let metrics = handle.metrics();
        let turns = vec![0; metrics.num_workers()];
        runtimes.push(Watched { handle: handle.clone(), metrics, turns, nudges: Vec::new(), looks: 0 });
    }
}

/// Nudges the runtimes that have a worker which has not parked since the last look; all of them when some thread is
/// known to be `overdue`.
pub(crate) fn nudge(overdue: bool) {
    let mut runtimes = RUNTIMES.lock();
    runtimes.retain_mut(|runtime| {
        let busy = runtime.has_not_parked();
        // Now and then any: whether it is still there.
        if overdue || busy || runtime.is_due() { runtime.nudge() } else { true }
    });
}

impl Watched {
    /// Whether some worker has been at work since the last look without a pause.
    fn has_not_parked(&mut self) -> bool {
        let mut found = false;
        for (worker, before) in self.turns.iter_mut().enumerate() {
            let now = self.metrics.worker_park_unpark_count(worker);
            found |= now == *before && now.is_multiple_of(2);
            *before = now;
        }
        found
    }

    fn is_due(&mut self) -> bool {
        self.looks = self.looks.wrapping_add(1);
        self.looks.is_multiple_of(SELDOM)
    }

    /// `false` when the runtime has been shut down.
    fn nudge(&mut self) -> bool {
        let mut alive = true;
        self.nudges.retain_mut(|nudge| match nudge.now_or_never() {
            None => true,
            Some(answer) => {
                alive &= answer.is_ok();
                false
            }
        });
        self.looks = self.looks.wrapping_add(1);
        if alive && (self.nudges.len() < UNANSWERED || self.looks.is_multiple_of(SPARINGLY)) {
            self.nudges.truncate(UNANSWERED);
            self.nudges.push(self.handle.spawn(async {}));
        }
        alive
    }
}

/// Asks the runtimes and the lanes whether they still do any work.
#[derive(Default)]
pub(crate) struct Probes {
    /// One for each runtime, and one for the lanes.
    asked: HashMap<Asked, JoinHandle<()>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Asked {
    Runtime(tokio::runtime::Id),
    Lanes,
}

impl Probes {
    /// Whether everything that was asked before has answered. Asks again what has.
    pub(crate) fn are_answered(&mut self) -> bool {
        self.asked.retain(|_, probe| !probe.is_finished());
        let all = self.asked.is_empty();
        let handles: Vec<_> = RUNTIMES.lock().iter().map(|watched| watched.handle.clone()).collect();
        for handle in handles {
            self.asked.entry(Asked::Runtime(handle.id())).or_insert_with(|| handle.spawn(async {}));
        }
        if let Some(lanes) = lanes() {
            let on_lanes = || {
                let probe = lanes.spawn(async {});
                // On the runtime of the recovery, whose thread this is.
                tokio::spawn(probe)
            };
            self.asked.entry(Asked::Lanes).or_insert_with(on_lanes);
        }
        all
    }
}

/// Says whether every worker of a runtime has run out of work since it was made: whatever was woken before has been
/// polled by then, however busy the runtime is.
pub(crate) struct Lull {
    metrics: RuntimeMetrics,
    before: Vec<u64>,
}

impl Lull {
    pub(crate) fn since_now(handle: &Handle) -> Self {
        let metrics = handle.metrics();
        let before =
            (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect();
        Self { metrics, before }
    }

    /// A worker is parked while its count is odd; one that has parked and works again has counted at least two further.
    pub(crate) fn has_been(&self) -> bool {
        self.before.iter().enumerate().all(|(worker, before)| {
            let now = self.metrics.worker_park_unpark_count(worker);
            !now.is_multiple_of(2) || now >= before + 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    fn is_watched(handle: &Handle) -> bool {
        RUNTIMES.lock().iter().any(|watched| watched.handle.id() == handle.id())
    }

    #[test]
    fn a_runtime_is_watched_once_and_until_its_end() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let handle = runtime.handle().clone();
        watch(&handle);
        watch(&handle);
        assert_eq!(RUNTIMES.lock().iter().filter(|watched| watched.handle.id() == handle.id()).count(), 1);
        nudge(true);
        assert!(is_watched(&handle));
        drop(runtime);
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_watched(&handle) && Instant::now() < deadline {
            nudge(true);
            std::thread::yield_now();
        }
        assert!(!is_watched(&handle));
    }

    #[test]
    fn a_runtime_that_is_held_is_not_buried_in_nudges() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (release, held) = mpsc::channel::<()>();
        let (started, starting) = mpsc::channel();
        runtime.spawn(async move {
            started.send(()).expect("somebody waits");
            let _released = held.recv();
        });
        starting.recv().expect("it starts");
        watch(runtime.handle());
        for _ in 0..10_000 {
            nudge(true);
        }
        let id = runtime.handle().id();
        let unanswered =
            RUNTIMES.lock().iter().find(|watched| watched.handle.id() == id).map(|w| w.nudges.len());
        assert_eq!(unanswered, Some(UNANSWERED + 1));
        drop(release);
    }

    #[test]
    fn busy_is_who_works_and_idle_who_waits() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let metrics = runtime.handle().metrics();
        let mut watched = Watched {
            handle: runtime.handle().clone(),
            turns: vec![0; metrics.num_workers()],
            metrics,
            nudges: Vec::new(),
            looks: 0,
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        // It parks when it has found nothing to do.
        while watched.has_not_parked() || watched.has_not_parked() {
            assert!(Instant::now() < deadline, "an idle worker counts as busy");
            std::thread::yield_now();
        }
        let lull = Lull::since_now(runtime.handle());
        assert!(lull.has_been(), "nothing is going on");
        let (release, held) = mpsc::channel::<()>();
        let (started, starting) = mpsc::channel();
        runtime.spawn(async move {
            started.send(()).expect("somebody waits");
            let _released = held.recv();
        });
        starting.recv().expect("it starts");
        watched.has_not_parked();
        assert!(watched.has_not_parked(), "a worker that is held counts as idle");
        let lull = Lull::since_now(runtime.handle());
        assert!(!lull.has_been(), "it still works");
        drop(release);
        while !lull.has_been() {
            assert!(Instant::now() < deadline, "it has run out of work");
            std::thread::yield_now();
        }
    }
}
