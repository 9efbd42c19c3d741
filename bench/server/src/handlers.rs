//! The handlers, written once: what is around this module says on what they run.
//!
//! Every panic says whose it is, by the id of the session that it was worked for, and where it is.

use std::future::Ready;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use watertight_faults::TransportFaults;

use super::{AckSender, ConnectHandler as _, Data, Event, SocketIo, SocketRef, TransportType, spawn};

/// Opens all namespaces. With `faults`, clients can have the transport's own tasks panic.
pub(super) fn open(io: &SocketIo, faults: Option<&TransportFaults>) {
    let faults = faults.cloned();
    io.ns("/", async move |socket: SocketRef| {
        works(&socket);
        panics(&socket);
        harms_others(&socket);
        if let Some(faults) = &faults {
            fails(&socket, faults);
        }
    });
    io.ns("/bad_connect", async |socket: SocketRef| panic_for(&socket, "connect"));
    let middleware = async |socket: SocketRef| -> Result<(), std::convert::Infallible> {
        panic_for(&socket, "middleware")
    };
    io.ns("/bad_middleware", (async |_: SocketRef| ()).with(middleware));
}

fn works(socket: &SocketRef) {
    socket.on("echo", async |socket: SocketRef, Data::<Value>(data)| {
        socket.emit("echo", &data).ok();
    });
    socket.on("ask", async |Data::<Value>(data), ack: AckSender| {
        ack.send(&data).ok();
    });
}

fn panics(socket: &SocketRef) {
    socket.on("panic_sync", |socket: SocketRef| -> Ready<()> { panic_for(&socket, "panic_sync") });
    socket.on("panic_async0", async |socket: SocketRef| panic_for(&socket, "panic_async0"));
    socket.on("panic_async", async |socket: SocketRef| {
        tokio::task::yield_now().await;
        panic_for(&socket, "panic_async");
    });
    socket.on("panic_spawned", async |socket: SocketRef| {
        spawn(async move {
            tokio::task::yield_now().await;
            panic_for(&socket, "panic_spawned");
        });
    });
    socket.on("panic_extract", async |_: Data<Bomb>| ());
    socket.on("panic_ack", async |socket: SocketRef| {
        if let Ok(answer) = socket.emit_with_ack::<_, Value>("ack_me", &()) {
            // Whatever came of it.
            _ = answer.await;
        }
        panic_for(&socket, "panic_ack");
    });
    socket.on("panic_drop", async |socket: SocketRef| {
        let _held = Held(socket);
        tokio::task::yield_now().await;
    });
    socket.on("arm_disconnect", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async |socket: SocketRef| {
            tokio::task::yield_now().await;
            panic_for(&socket, "disconnect");
        });
        ack.send("armed").ok();
    });
    socket.on_fallback(async |socket: SocketRef, Event(name): Event| {
        if name == "panic_fallback" {
            panic_for(&socket, "panic_fallback");
        }
    });
}

/// What no server keeps inside one handler by itself.
fn harms_others(socket: &SocketRef) {
    socket.on("block", async || std::thread::sleep(BLOCK));
    socket.on("abort", async || std::process::abort());
}

/// How long `block` holds its thread.
const BLOCK: std::time::Duration = std::time::Duration::from_secs(3);

/// What clients can make fail in the transport's own tasks.
fn fails(socket: &SocketRef, faults: &TransportFaults) {
    let faults = faults.clone();
    // Bare socketioxide does not know a client's address, so the client says it; one that polls has none of its own.
    socket.on(
        "arm_transport",
        async move |socket: SocketRef, Data::<Option<SocketAddr>>(peer), ack: AckSender| {
            let whose = fault_of(&socket, "transport");
            match peer {
                Some(peer) => faults.arm_connection_saying(peer, whose),
                None => faults.arm_session_saying(socket.id.as_str(), whose),
            }
            ack.send("armed").ok();
        },
    );
}

fn panic_for(socket: &SocketRef, site: &str) -> ! {
    panic!("{}", fault_of(socket, site))
}

fn fault_of(socket: &SocketRef, site: &str) -> String {
    let transport = match socket.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    };
    format!("fault of {} at {site} over {transport}", socket.id)
}

/// Panics when it is deserialized. It is the client that says whose it is, and over what.
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whose = String::deserialize(deserializer)?;
        panic!("fault of {whose}")
    }
}

/// Panics when it is dropped.
struct Held(SocketRef);

impl Drop for Held {
    fn drop(&mut self) {
        panic_for(&self.0, "panic_drop");
    }
}
