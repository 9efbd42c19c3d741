//! The lab: namespaces of real faults, for drills. Only there when the server is started with `--lab`.
//!
//! Any client can cause these faults, and that is the point: each must cost that client alone.

mod deaths;
mod faults;
mod room;
mod stats;

use std::future::Ready;

use tokio::runtime::Handle;
use watertight_faults::{TransportFaults, panic_now};
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::extract::SocketRef;
use watertight_socketioxide::handler::ConnectHandler as _;

/// The namespace of the drills.
pub const NAMESPACE: &str = "/lab";

/// Opens the lab's namespaces. `faults` is what the server's listener and requests ask whether to fail.
pub fn open(io: &SocketIo, faults: &TransportFaults) {
    let faults = faults.clone();
    // Handlers may have threads of their own; these do the I/O.
    let threads = Handle::try_current().ok();
    io.ns(NAMESPACE, async move |socket: SocketRef| {
        room::register(&socket);
        stats::register(&socket);
        faults::register(&socket, &faults);
        deaths::register(&socket, threads.as_ref());
    });
    io.ns("/lab_bad_connect", async |_: SocketRef| {
        tokio::task::yield_now().await;
        panic_now("a connect handler");
    });
    io.ns("/lab_bad_connect_sync", |_: SocketRef| -> Ready<()> {
        panic_now("a connect handler, before its future")
    });
    let nobody = async |_: SocketRef| ();
    let middleware = async |_: SocketRef| -> Result<(), String> { panic_now("a connect middleware") };
    io.ns("/lab_bad_middleware", nobody.with(middleware));
}
