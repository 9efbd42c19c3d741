//! Faults that end the process, or every thread of it.

use serde::Serialize;
use tokio::runtime::Handle;
use watertight::{Scope, ScopeExt as _};
use watertight_socketioxide::extract::{AckSender, SocketRef};

/// More lane threads than are started by default, with every spare.
const LANE_BLOCKERS: usize = 256;

#[derive(Serialize)]
struct Refusal {
    error: &'static str,
}

/// `io` is the runtime that does the I/O.
pub(super) fn register(socket: &SocketRef, io: Option<&Handle>) {
    socket.on("abort", async || watertight_faults::abort());
    socket.on("overflow", async || watertight_faults::overflow_stack());
    socket.on("segv", async || watertight_faults::segfault());
    socket.on("double_panic", async || watertight_faults::double_panic());
    socket.on("kill", async || watertight_faults::kill());
    socket.on("oom", async |ack: AckSender| {
        if watertight_faults::has_memory_limit() {
            watertight_faults::exhaust_memory();
        }
        // It would be the machine that suffers.
        ack.send(&Refusal { error: "the server has no limit of memory" }).ok();
    });
    let io = io.cloned();
    socket.on("wedge", async move || {
        let own = Handle::current();
        wedge(io.as_ref().unwrap_or(&own));
        block().await;
    });
}

/// Holds every thread that does I/O, and every one that runs handlers.
fn wedge(io: &Handle) {
    let Some(scope) = Scope::current() else { return };
    for _ in 0..2 * io.metrics().num_workers() {
        // Not on the lanes, where handlers' children go.
        io.spawn(block().scoped(scope.clone()));
    }
    if watertight::lanes().is_some() {
        for _ in 0..LANE_BLOCKERS {
            watertight::spawn(block());
        }
    }
}

/// Never gives its thread back.
async fn block() {
    loop {
        std::thread::park();
    }
}
