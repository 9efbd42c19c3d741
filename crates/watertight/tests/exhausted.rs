//! Whether anything is left to run handlers on.

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Client, builder, eventually, in_child};
use tokio::runtime::{Builder, Runtime};
use watertight::{LaneSettings, Watertight, lanes};

const WARN: Duration = Duration::from_millis(20);

/// Work that holds its thread until the sender is dropped.
fn held(client: &Client) -> (mpsc::Sender<()>, impl FnOnce() + Send + use<>) {
    let (release, released) = mpsc::channel();
    let scope = client.scope("block");
    (release, move || {
        let _entered = scope.enter();
        // An error is what it waits for.
        let _ = released.recv();
    })
}

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).build().expect("a runtime")
}

fn install(builder: watertight::Builder) -> Watertight {
    builder.stall_warn(WARN).stall_limit(Duration::from_secs(600)).install().expect("installed once")
}

#[test]
fn without_lanes_when_as_many_are_held_as_the_runtime_has_workers() {
    in_child("without_lanes_when_as_many_are_held_as_the_runtime_has_workers", &[], || {
        let watertight = install(builder());
        let (client, runtime, larger) = (Client::new(), runtime(2), runtime(3));
        let (_first, work) = held(&client);
        runtime.spawn(async { work() });
        eventually("one is held", || watertight.stalls().len() == 1);
        let _on = runtime.enter();
        assert!(!watertight.is_exhausted(), "one of two is free");
        let (second, work) = held(&client);
        runtime.spawn(async { work() });
        eventually("both are held", || watertight.is_exhausted());
        assert!(watertight.stalls().iter().all(|stall| !stall.lane));
        {
            let _on = larger.enter();
            assert!(!watertight.is_exhausted(), "another runtime has more");
        }
        drop(second);
        eventually("one is free again", || !watertight.is_exhausted());
    });
}

#[test]
fn with_lanes_when_all_that_may_be_started_are_held() {
    in_child("with_lanes_when_all_that_may_be_started_are_held", &[], || {
        let watertight = install(builder().lanes(LaneSettings::new().threads(1).spares(1)));
        let (client, lanes) = (Client::new(), lanes().expect("they are on"));
        // A thread that is not a lane's does not count.
        let (_other, work) = held(&client);
        std::thread::spawn(work);
        let (_first, work) = held(&client);
        lanes.spawn(async { work() }).detach();
        eventually("both are held", || watertight.stalls().len() == 2);
        assert!(!watertight.is_exhausted(), "there is a spare");
        let (second, work) = held(&client);
        lanes.spawn(async { work() }).detach();
        eventually("the spare is held as well", || watertight.is_exhausted());
        drop(second);
        eventually("it is free again", || !watertight.is_exhausted());
    });
}
