//! Thousands of clients panic at once, on a few threads, among others that do not.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE};
use tokio::sync::Barrier;
use tokio::task::yield_now;
use watertight::{
    Attribution, CaptureSink, Outcome, Registry, Scope, ScopeExt, State, Stats, Verdict, Watertight,
};

const CLIENTS: usize = 5_000;
const BYSTANDERS: usize = 200;

/// Would reveal a scope that leaks from one task into the next on the same thread, a panic that is nobody's or
/// lost, a notice given twice, never, or to the wrong client, and whatever is not forgotten afterwards.
#[test]
fn each_of_thousands_is_named() {
    let sink = CaptureSink::new();
    let watertight = common::builder().sink(sink.clone()).install().expect("this binary installs here only");
    for threads in [2, 8] {
        let before = watertight.stats();
        let known = sink.incidents().len();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let started = Instant::now();
        let (clients, bystanders) = runtime.block_on(all_panic_at_once());
        let panicked = started.elapsed();
        let incidents = sink.wait_for(DEADLINE, |incidents| {
            (incidents.len() >= known + CLIENTS).then(|| incidents[known..].to_vec())
        });
        println!(
            "{CLIENTS} clients on {threads} threads: panicked in {panicked:?}, all sealed after {:?}",
            started.elapsed()
        );
        common::flush(&sink);
        assert_eq!(sink.incidents().len(), known + CLIENTS + 1, "one incident each, and the mark");

        let by_id: HashMap<String, &Client> =
            clients.iter().map(|client| (client.lease.id(), client)).collect();
        assert_eq!(by_id.len(), CLIENTS);
        for incident in &incidents {
            let offender = incident.offender.as_ref().expect("somebody's");
            assert_eq!(incident.message, format!("panic of {}", offender.id), "the one whose code it was");
            assert_eq!(incident.activity.as_ref().map(|activity| activity.name()), Some(&*offender.id));
            assert_eq!((incident.attribution, incident.outcome), (Attribution::Exact, Outcome::Escaped));
            assert_eq!(incident.verdict, Verdict::Disconnect);
            let client = by_id.get(&offender.id).expect("one of ours");
            assert_eq!(client.part.told(), [incident.id], "told once, of this incident");
            assert!(client.part.is_closed() && client.lease.state() == State::Sealed);
            assert_eq!(client.lease.faults(), 1);
        }
        for bystander in &bystanders {
            assert!(bystander.lease.is_live() && bystander.part.told().is_empty());
        }
        assert_eq!(Registry::global().len(), BYSTANDERS, "the sealed are forgotten though their leases live");
        drop(bystanders);
        assert!(Registry::global().is_empty());
        assert_eq!(counted(&before, &watertight), (CLIENTS as u64, CLIENTS as u64, 0, 0));
    }
}

/// Panics, sealed, overdue and lost since `before`.
fn counted(before: &Stats, watertight: &Watertight) -> (u64, u64, u64, u64) {
    let now = watertight.stats();
    let sealed = now.sealed - before.sealed;
    (now.panics - before.panics, sealed, now.overdue - before.overdue, now.lost - before.lost)
}

/// Lets all clients loose in the same moment; each is polled a few times, between others, before it panics.
async fn all_panic_at_once() -> (Vec<Client>, Vec<Client>) {
    let ready = Arc::new(Barrier::new(CLIENTS));
    let (clients, bystanders): (Vec<_>, Vec<_>) =
        ((0..CLIENTS).map(|_| Client::new()).collect(), (0..BYSTANDERS).map(|_| Client::new()).collect());
    let work = |(number, client): (usize, &Client)| {
        let (ready, id) = (Arc::clone(&ready), client.lease.id());
        let work = async move {
            ready.wait().await;
            for _ in 0..number % 7 {
                yield_now().await;
            }
            panic!("panic of {id}")
        };
        tokio::spawn(work.scoped(client.scope(client.lease.id())))
    };
    let tasks: Vec<_> = clients.iter().enumerate().map(work).collect();
    let others: Vec<_> = bystanders
        .iter()
        .map(|other| tokio::spawn(watch(Some(other.lease.key())).scoped(other.scope(""))))
        .collect();
    let background: Vec<_> = (0..BYSTANDERS).map(|_| tokio::spawn(watch(None))).collect();
    for task in tasks {
        let caught: Result<(), _> = task.await.expect("the guard stops the panic");
        caught.expect_err("it panicked");
    }
    for other in others {
        other.await.expect("no panic").expect("always in its own scope");
    }
    for task in background {
        task.await.expect("never in anybody's scope");
    }
    (clients, bystanders)
}

/// Looks for 200 ms, after each of many awaits, whether it still works for the same compartment, or for none.
async fn watch(compartment: Option<u64>) {
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        assert_eq!(Scope::current().map(|scope| scope.compartment().key()), compartment);
        yield_now().await;
    }
}
