//! Handlers on threads of their own. The lanes are the process's, and most tests hold some of their threads: each test is
//! a process of its own.

mod common;

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, eventually, in_child};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use watertight::{CaptureSink, Drain, Job, LaneSettings, Lanes, ScopeExt, Strand, StrandLimits, lanes};

const THREADS: usize = 2;
const SPARES: usize = 8;
/// How soon a job runs although threads are held: a few looks of the watchdog, and room for a busy machine.
const SOON: Duration = Duration::from_millis(250);

const NO_LIMITS: StrandLimits = StrandLimits { jobs: usize::MAX, weight: usize::MAX };

/// Installs lanes. Stalls are not what is tested here.
fn install() -> (&'static Lanes, CaptureSink) {
    let (sink, long) = (CaptureSink::new(), Duration::from_secs(60));
    let settings = LaneSettings::new().threads(THREADS).spares(SPARES);
    let builder = common::builder().sink(sink.clone()).stall_warn(long).stall_limit(long).lanes(settings);
    builder.install().expect("this process installs here only");
    (lanes().expect("they are on"), sink)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("tokio-io")
        .enable_all()
        .build()
        .expect("a runtime")
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Whether it is the name of a lane's own thread, and not of a runtime's.
fn is_lane(name: &str) -> bool {
    name.strip_prefix("lane-").is_some_and(|number| number.parse::<usize>().is_ok())
}

/// Handlers that hold their threads until this is dropped.
struct Blocked {
    begun: Arc<AtomicUsize>,
    wanted: usize,
    _client: Client,
    _release: mpsc::Sender<()>,
}

impl Blocked {
    /// Has `wanted` handlers block.
    fn new(lanes: &'static Lanes, wanted: usize) -> Self {
        let (client, begun) = (Client::new(), Arc::new(AtomicUsize::new(0)));
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for _ in 0..wanted {
            let (begun, held) = (Arc::clone(&begun), Arc::clone(&held));
            let work = async move {
                begun.fetch_add(1, Ordering::SeqCst);
                // The first waits for the channel, the others for the first.
                let _ = held.lock().recv_timeout(common::DEADLINE);
            };
            lanes.spawn(work.scoped(client.scope("blocks"))).detach();
        }
        Self { begun, wanted, _client: client, _release: release }
    }

    fn all_block(self) -> Self {
        eventually("all of them block", || self.begun() == self.wanted);
        self
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

/// Runs a job on the lanes; answers how long it took until it ran.
fn time_to_run(lanes: &'static Lanes) -> Duration {
    let (ran, has_run) = mpsc::channel();
    let submitted = Instant::now();
    lanes.spawn(async move { ran.send(Instant::now()).expect("the test waits") }).detach();
    has_run.recv_timeout(common::DEADLINE).expect("it runs") - submitted
}

/// One number of a strand's, that is noted when its turn comes.
struct Noted {
    number: u64,
    weight: usize,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes {
    numbers: Mutex<Vec<u64>>,
    busy: AtomicBool,
    overlapped: AtomicBool,
    threads: Mutex<HashSet<String>>,
}

impl Job for Noted {
    fn run(self) {
        let Self { number, weight: _, notes } = self;
        if notes.busy.swap(true, Ordering::SeqCst) {
            notes.overlapped.store(true, Ordering::SeqCst);
        }
        notes.numbers.lock().push(number);
        if number.is_multiple_of(1024) {
            notes.threads.lock().insert(thread_name());
        }
        notes.busy.store(false, Ordering::SeqCst);
    }

    fn weight(&self) -> usize {
        self.weight
    }
}

/// Would reveal handlers that run on the threads which do I/O.
#[test]
fn what_runs_on_the_lanes_is_off_the_threads_that_do_io() {
    in_child("what_runs_on_the_lanes_is_off_the_threads_that_do_io", &[], || {
        let (lanes, _) = install();
        let names = async {
            let before = thread_name();
            tokio::time::sleep(Duration::from_millis(5)).await;
            [before, thread_name()]
        };
        let names = runtime().block_on(lanes.spawn(names));
        assert!(names.iter().all(|name| is_lane(name)), "{names:?}");
        assert_eq!(lanes.threads(), THREADS);
    });
}

/// Would reveal that what a held thread took from the queue, or what is queued behind it, waits for it.
#[test]
fn with_all_first_threads_held_a_job_runs_soon() {
    in_child("with_all_first_threads_held_a_job_runs_soon", &[], || {
        let (lanes, _) = install();
        let _two = Blocked::new(lanes, THREADS).all_block();
        let took = time_to_run(lanes);
        assert!(took < SOON, "{took:?}");
        // Six at once, of which some wait for a spare thread to block.
        let _six = Blocked::new(lanes, 6);
        let took = time_to_run(lanes);
        assert!(took < SOON, "{took:?}");
        assert!(lanes.threads() <= THREADS + SPARES);
    });
}

/// Would reveal futures that belong to the thread which polled them first.
#[test]
fn a_future_that_waits_goes_on_while_all_first_threads_are_held() {
    in_child("a_future_that_waits_goes_on_while_all_first_threads_are_held", &[], || {
        let (lanes, _) = install();
        let ticks = Arc::new(AtomicUsize::new(0));
        let ticking = Arc::clone(&ticks);
        let client = Client::new();
        let work = async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticking.fetch_add(1, Ordering::SeqCst);
            }
        };
        lanes.spawn(work.scoped(client.scope("ticks"))).detach();
        eventually("it has begun", || ticks.load(Ordering::SeqCst) > 0);
        let _blocked = Blocked::new(lanes, THREADS).all_block();
        let (before, begun) = (ticks.load(Ordering::SeqCst), Instant::now());
        eventually("it goes on", || ticks.load(Ordering::SeqCst) >= before + 10);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}

/// Would reveal that spare threads grow without bound, or that jobs are lost when there are no more.
#[test]
fn beyond_the_bound_jobs_wait_and_then_run() {
    in_child("beyond_the_bound_jobs_wait_and_then_run", &[], || {
        let (lanes, _) = install();
        let bound = THREADS + SPARES;
        let blocked = Blocked::new(lanes, 2 * bound);
        eventually("every thread that there may be blocks", || blocked.begun() == bound);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            let count = async move { ran.fetch_add(1, Ordering::SeqCst) };
            lanes.spawn(count).detach();
        }
        // For many looks of the watchdog.
        thread::sleep(SOON);
        assert_eq!((lanes.threads(), blocked.begun(), ran.load(Ordering::SeqCst)), (bound, bound, 0));
        assert_eq!(lanes.waiting(), bound + 100);
        let begun = Arc::clone(&blocked.begun);
        drop(blocked);
        eventually("all of them run", || ran.load(Ordering::SeqCst) == 100);
        assert_eq!((begun.load(Ordering::SeqCst), lanes.threads()), (2 * bound, bound));
    });
}

/// Would reveal spare threads that stay for ever, or first threads that go with them. Takes the ten seconds that a spare
/// thread is kept.
#[test]
fn spare_threads_retire() {
    in_child("spare_threads_retire", &[], || {
        let (lanes, _) = install();
        let blocked = Blocked::new(lanes, 6).all_block();
        eventually("as many are free as should be", || lanes.threads() == 6 + THREADS);
        drop(blocked);
        let released = Instant::now();
        eventually("they retire", || lanes.threads() == THREADS);
        assert!(released.elapsed() > Duration::from_secs(9), "they are kept for a while");
        // Nobody retires any more, and those who are left work.
        thread::sleep(SOON);
        assert_eq!(lanes.threads(), THREADS);
        assert!(time_to_run(lanes) < SOON);
    });
}

/// Would reveal a strand that two threads drain at once, that loses jobs, or that runs them in another order.
#[test]
fn a_strand_keeps_its_order_under_contention() {
    const PUSHERS: u64 = 8;
    const EACH: u64 = 12_500;
    in_child("a_strand_keeps_its_order_under_contention", &[], || {
        let (lanes, _) = install();
        let notes = Arc::new(Notes::default());
        let strand = Strand::new(lanes, NO_LIMITS);
        thread::scope(|threads| {
            for pusher in 0..PUSHERS {
                let (strand, notes) = (&strand, &notes);
                threads.spawn(move || {
                    for n in 0..EACH {
                        let job = Noted { number: pusher * EACH + n, weight: 0, notes: Arc::clone(notes) };
                        assert!(strand.push(job).is_ok(), "nothing is limited");
                    }
                });
            }
        });
        eventually("it is done", || strand.is_idle());
        let numbers = notes.numbers.lock();
        assert_eq!(numbers.len() as u64, PUSHERS * EACH, "every job once");
        let mut next: Vec<u64> = (0..PUSHERS).map(|pusher| pusher * EACH).collect();
        for number in &*numbers {
            let of_pusher = &mut next[(number / EACH) as usize];
            assert_eq!(number, of_pusher, "in the order that its pusher pushed it");
            *of_pusher += 1;
        }
        assert!(!notes.overlapped.load(Ordering::SeqCst), "one at a time");
        assert!(notes.threads.lock().iter().all(|name| is_lane(name)));
    });
}

/// Would reveal limits that lose something, that stay reached, or that hold for what must not be lost.
#[test]
fn the_limits_of_a_strand_refuse_and_lose_nothing_else() {
    in_child("the_limits_of_a_strand_refuse_and_lose_nothing_else", &[], || {
        let (lanes, _) = install();
        let notes = Arc::new(Notes::default());
        let noted = |number, weight| Noted { number, weight, notes: Arc::clone(&notes) };
        // No thread is free, so that nothing of it runs yet.
        let blocked = Blocked::new(lanes, THREADS + SPARES).all_block();
        let strand = Strand::new(lanes, StrandLimits { jobs: 4, weight: 100 });
        let refused = |job: Noted| {
            let number = job.number;
            let back = strand.push(job).expect_err("the limit is reached");
            assert_eq!(back.number, number, "the job itself comes back");
        };
        let heavy = Strand::new(lanes, StrandLimits { jobs: 4, weight: 100 });
        assert!(heavy.push(noted(0, 200)).is_ok(), "one always finds room, however heavy");
        assert!(heavy.push(noted(100, 1)).is_err());
        assert!(!heavy.is_idle());
        for number in 1..4 {
            assert!(strand.push(noted(number, 30)).is_ok());
        }
        refused(noted(101, 11));
        assert!(strand.push(noted(4, 10)).is_ok(), "exactly as much as may");
        refused(noted(102, 0));
        strand.push_anyway(noted(5, 1000));
        refused(noted(103, 0));
        drop(blocked);
        eventually("it is done", || strand.is_idle());
        eventually("both are", || heavy.is_idle());
        let mut numbers = notes.numbers.lock().clone();
        numbers.retain(|number| *number != 0);
        assert_eq!(numbers, [1, 2, 3, 4, 5], "all others, in their order");
        let _blocked = Blocked::new(lanes, THREADS + SPARES).all_block();
        for number in [6, 7] {
            assert!(strand.push(noted(number, 50)).is_ok(), "there is room again");
        }
        refused(noted(104, 1));
    });
}

/// Would reveal that panics which no guard stops cost threads, until there are none.
#[test]
fn a_panic_costs_no_thread() {
    struct Panics;
    impl Job for Panics {
        fn run(self) {
            panic!("a job of a strand");
        }
    }
    impl Drain for Panics {
        fn drain(self: Arc<Self>) {
            panic!("a drain");
        }
    }
    in_child("a_panic_costs_no_thread", &[], || {
        let (lanes, _) = install();
        let strand = Strand::new(lanes, NO_LIMITS);
        for _ in 0..10 {
            strand.push_anyway(Panics);
            lanes.drain(Arc::new(Panics));
            lanes.spawn(async { panic!("a future") }).detach();
        }
        eventually("all is done", || strand.is_idle() && lanes.waiting() == 0);
        assert!(time_to_run(lanes) < SOON);
        let panics = || watertight::installed().expect("by `install`").stats().panics;
        eventually("each has panicked", || panics() == 30);
        // None has ended, and none was replaced: both of the first ones answer, at once.
        let meet = Arc::new(std::sync::Barrier::new(THREADS));
        let names: Vec<_> = (0..THREADS)
            .map(|_| {
                let meet = Arc::clone(&meet);
                lanes.spawn(async move {
                    meet.wait();
                    thread_name()
                })
            })
            .collect();
        let runtime = runtime();
        let mut names: Vec<String> = names.into_iter().map(|name| runtime.block_on(name)).collect();
        names.sort();
        assert_eq!(names, ["lane-1", "lane-2"]);
        assert_eq!(lanes.threads(), THREADS);
    });
}

/// Would reveal children that run elsewhere, that lose their client, or that cannot be stopped.
#[test]
fn a_child_of_a_handler_runs_on_the_lanes_and_can_be_aborted() {
    struct Cancelled(Option<oneshot::Sender<String>>);
    impl Drop for Cancelled {
        fn drop(&mut self) {
            let within = watertight::Scope::current().map(|scope| scope.activity().name().to_owned());
            let _ = self.0.take().expect("dropped once").send(within.unwrap_or_default());
        }
    }
    in_child("a_child_of_a_handler_runs_on_the_lanes_and_can_be_aborted", &[], || {
        let (lanes, sink) = install();
        let client = Client::new();
        let (cancelled, within) = oneshot::channel();
        let handler = async move {
            let name = watertight::spawn(async { thread_name() }).await.expect("the child is done");
            assert!(is_lane(&name), "{name}");
            let (begun, has_begun) = oneshot::channel();
            let child = watertight::spawn(async move {
                let _cancelled = Cancelled(Some(cancelled));
                begun.send(()).expect("its parent waits");
                pending::<()>().await;
            });
            has_begun.await.expect("it begins");
            child.abort();
            assert!(child.await.expect_err("aborted").is_cancelled());
            let panics = watertight::spawn(async { panic!("in a child") }).await;
            let panics: Result<(), _> = panics;
            assert!(panics.expect_err("it panicked").is_panic());
        };
        let runtime = runtime();
        runtime.block_on(lanes.spawn(handler.scoped(client.scope("parent")))).expect("no panic");
        let within = runtime.block_on(async { tokio::time::timeout(common::DEADLINE, within).await });
        let within = within.expect("the child is stopped").expect("it is dropped");
        assert_eq!(within, "parent", "dropped in its scope");
        assert!(client.is_named_by(&common::the_incident(&sink, "in a child")));
        // From I/O threads as well.
        let scoped = async { watertight::spawn(async { thread_name() }).await.expect("no panic") };
        let name = runtime.block_on(runtime.spawn(scoped.scoped(Client::new().scope("io"))));
        assert!(is_lane(&name.expect("no panic").expect("no panic")));
    });
}

/// Would reveal handlers that panic because there is no runtime around them.
#[test]
fn tokio_works_on_the_lanes() {
    in_child("tokio_works_on_the_lanes", &[], || {
        let (lanes, _) = install();
        let work = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let child = tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                thread_name()
            });
            let child = child.await.expect("no panic");
            let blocking = tokio::task::spawn_blocking(|| 1).await.expect("no panic");
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            let address = listener.local_addr().expect("it is bound");
            let (client, server) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            (child, blocking, client.is_ok() && server.is_ok())
        };
        // Waited for without any runtime.
        let (done, result) = mpsc::channel();
        lanes.spawn(async move { done.send(work.await).expect("the test waits") }).detach();
        let (child, blocking, connected) = result.recv_timeout(common::DEADLINE).expect("it is done");
        assert_eq!((child.as_str(), blocking, connected), ("lane-children", 1, true));
    });
}
