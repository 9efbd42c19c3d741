//! Whoever takes stacks may be slow, late or broken: stalls are told all the same.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::{Client, eventually, in_child};
use parking_lot::Mutex;
use watertight::{CaptureSink, Fault, Incident, NameFrames, NoResponder, Stacks, run};

/// What a test has `capture` do.
type Capture = dyn Fn(u64) -> Option<NameFrames> + Send + Sync;

/// Knows threads by their number, in the order in which they come.
struct Scripted {
    threads: Arc<AtomicU64>,
    capture: Box<Capture>,
}

impl Stacks for Scripted {
    fn enrol(&self) -> u64 {
        self.threads.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn capture(&self, thread: u64) -> Option<NameFrames> {
        (self.capture)(thread)
    }
}

/// Installs with that; answers how many threads have been enrolled.
fn install(
    limit: Duration,
    capture: impl Fn(u64) -> Option<NameFrames> + Send + Sync + 'static,
) -> (CaptureSink, Arc<AtomicU64>) {
    let (sink, threads) = (CaptureSink::new(), Arc::default());
    let stacks = Scripted { threads: Arc::clone(&threads), capture: Box::new(capture) };
    let builder = common::builder().sink(sink.clone()).stacks(stacks);
    let builder = builder.stall_warn(Duration::from_millis(60)).stall_limit(limit);
    builder.install().expect("this process installs here only");
    (sink, threads)
}

/// Blocks a thread for `client` until there is an incident of it, and answers that.
fn stalled(sink: &CaptureSink, client: &Client) -> Arc<Incident> {
    let named = |incidents: &[Arc<Incident>]| incidents.iter().find(|i| client.is_named_by(i)).cloned();
    let work = || sink.wait_for(common::DEADLINE, named);
    run(client.scope("blocks"), None::<NoResponder>, work).expect("no panic")
}

fn told(sink: &CaptureSink, kind: &str) -> Vec<String> {
    sink.events().into_iter().filter(|event| event.starts_with(kind)).collect()
}

const LIMIT: Duration = Duration::from_millis(150);

/// Would reveal a stack that is named twice, or that only one of the two has.
#[test]
fn the_stall_and_its_incident_have_one_stack() {
    in_child("the_stall_and_its_incident_have_one_stack", &[], || {
        let named = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&named);
        let (sink, threads) = install(LIMIT, move |thread| {
            let count = Arc::clone(&count);
            Some(Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
                Some(format!("frames of {thread}"))
            }))
        });
        let incident = stalled(&sink, &Client::new());
        assert_eq!(incident.fault, Fault::Stall);
        assert_eq!(incident.backtrace.as_deref(), Some("frames of 1"));
        eventually("the stall is told", || !told(&sink, "Stalling").is_empty());
        assert!(told(&sink, "Stalling")[0].contains("frames of 1"));
        assert_eq!((named.load(Ordering::SeqCst), threads.load(Ordering::SeqCst)), (1, 1));
    });
}

/// Would reveal a stall that is lost with its stack, or a watchdog that is.
#[test]
fn who_takes_stacks_may_panic() {
    in_child("who_takes_stacks_may_panic", &[], || {
        let (sink, _) = install(LIMIT, |thread| match thread {
            1 => panic!("in capture"),
            _ => Some(Box::new(|| panic!("in naming"))),
        });
        for _ in 0..2 {
            let sink = sink.clone();
            let incident = thread::spawn(move || stalled(&sink, &Client::new())).join().expect("no panic");
            assert_eq!((incident.fault, incident.backtrace.as_deref()), (Fault::Stall, None));
        }
        eventually("both are told", || told(&sink, "Stalling").len() == 2);
    });
}

/// Would reveal the stack of what the thread does next, told as that of what it did.
#[test]
fn a_stack_that_comes_when_the_work_is_over_is_thrown_away() {
    in_child("a_stack_that_comes_when_the_work_is_over_is_thrown_away", &[], || {
        let (asked, is_asked) = mpsc::channel();
        let (over, is_over) = mpsc::channel();
        let (asked, is_over) = (Mutex::new(asked), Mutex::new(is_over));
        let (sink, _) = install(Duration::from_secs(60), move |_| {
            asked.lock().send(()).expect("the test waits");
            is_over.lock().recv_timeout(common::DEADLINE).expect("the work ends");
            Some(Box::new(|| Some("of something else".to_owned())))
        });
        let client = Client::new();
        let work = || is_asked.recv_timeout(common::DEADLINE);
        run(client.scope("ends"), None::<NoResponder>, work).expect("no panic").expect("it stalls");
        over.send(()).expect("the watchdog waits");
        eventually("its end is told", || !told(&sink, "StallEnded").is_empty());
        assert!(told(&sink, "Stalling")[0].contains("stack: None"), "{:?}", told(&sink, "Stalling"));
    });
}

/// Would reveal that a client is sealed only when the stack has a name, or that others wait for it.
#[test]
fn nobody_waits_for_the_names() {
    in_child("nobody_waits_for_the_names", &[], || {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (sink, _) = install(LIMIT, move |_| {
            let held = Arc::clone(&held);
            Some(Box::new(move || {
                let _ = held.lock().recv_timeout(common::DEADLINE);
                Some("at last".to_owned())
            }))
        });
        let client = Client::new();
        let sealed = || eventually("it is sealed", || client.part.is_closed());
        run(client.scope("blocks"), None::<NoResponder>, sealed).expect("no panic");
        let other = Client::new();
        let _ = run(other.scope("panics"), None::<NoResponder>, || -> () { panic!("meanwhile") });
        common::the_incident(&sink, "meanwhile");
        assert!(told(&sink, "Stalling").is_empty() && told(&sink, "StallEnded").is_empty());
        drop(release);
        eventually("then it is told, in its order", || !told(&sink, "StallEnded").is_empty());
        assert!(told(&sink, "Stalling")[0].contains("at last"));
    });
}
