//! A stall says where its thread is.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use watertight::{
    Activity, ActivityKind, CaptureSink, Fault, NoResponder, Registry, Scope, ScopeExt, Watertight,
};
use watertight_recorder::ThreadStacks;

const DEADLINE: Duration = Duration::from_secs(20);

#[inline(never)]
fn reads_the_whole_table(until: Instant) {
    while black_box(Instant::now()) < until {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Would reveal a stack that is lost on its way, or that is another thread's: for the body of a handler, and for a future on
/// a runtime.
#[test]
fn a_stall_and_its_incident_say_where_the_thread_is() {
    let sink = CaptureSink::new();
    Watertight::builder()
        .sink(sink.clone())
        .stall_warn(Duration::from_millis(60))
        .stall_limit(Duration::from_millis(150))
        .stacks(ThreadStacks::new().expect("this is Linux"))
        .install()
        .expect("this process installs here only");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let until = Instant::now() + Duration::from_secs(1);
    let client = || Registry::global().open(None);
    let (body, future) = (client(), client());
    let scope = |client: &watertight::Lease, name: &'static str| {
        Scope::new(Arc::clone(client), Activity::new(ActivityKind::Event, "/", name))
    };
    let work = async move { reads_the_whole_table(until) };
    let task = runtime.spawn(work.scoped(scope(&future, "future")));
    let work = || reads_the_whole_table(until);
    watertight::run(scope(&body, "body"), None::<NoResponder>, work).expect("no panic");
    runtime.block_on(task).expect("no panic").expect("no panic");
    for event in ["body", "future"] {
        let stack = sink.wait_for(DEADLINE, |incidents| {
            let of = |name: Option<&Activity>| name.is_some_and(|activity| activity.name() == event);
            let found = incidents.iter().find(|incident| of(incident.activity.as_ref()))?;
            assert_eq!(found.fault, Fault::Stall);
            found.backtrace.clone()
        });
        assert!(stack.contains("reads_the_whole_table"), "{stack}");
        assert!(!stack.contains("tokio::runtime::"), "only the application's: {stack}");
        let named =
            |text: &String| text.starts_with("Stalling") && text.contains(&format!("event / {event}"));
        let told = sink.events().into_iter().find(named).expect("it was told");
        assert!(told.contains("reads_the_whole_table"), "{told}");
    }
}
