//! The handlers, written once: what is around this module says on what they run.
//!
//! Every panic says whose it is, by the id of the session that it was worked for.

use std::future::Ready;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{AckSender, ConnectHandler as _, Data, Event, SocketIo, SocketRef, spawn};

/// Opens all namespaces.
pub(super) fn open(io: &SocketIo) {
    io.ns("/", connect);
    io.ns("/bad_connect", async |socket: SocketRef| panic_for(&socket));
    io.ns(
        "/bad_middleware",
        connect
            .with(async |socket: SocketRef| -> Result<(), std::convert::Infallible> { panic_for(&socket) }),
    );
}

async fn connect(socket: SocketRef) {
    works(&socket);
    panics(&socket);
    harms_others(&socket);
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
    socket.on("panic_sync", |socket: SocketRef| -> Ready<()> { panic_for(&socket) });
    socket.on("panic_async0", async |socket: SocketRef| panic_for(&socket));
    socket.on("panic_async", async |socket: SocketRef| {
        tokio::task::yield_now().await;
        panic_for(&socket);
    });
    socket.on("panic_spawned", async |socket: SocketRef| {
        spawn(async move {
            tokio::task::yield_now().await;
            panic_for(&socket);
        });
    });
    socket.on("panic_extract", async |_: Data<Bomb>| ());
    socket.on("panic_ack", async |socket: SocketRef| {
        if let Ok(answer) = socket.emit_with_ack::<_, Value>("ack_me", &()) {
            // Whatever came of it.
            _ = answer.await;
        }
        panic_for(&socket);
    });
    socket.on("panic_drop", async |socket: SocketRef| {
        let _held = Held(socket);
        tokio::task::yield_now().await;
    });
    socket.on("arm_disconnect", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async |socket: SocketRef| {
            tokio::task::yield_now().await;
            panic_for(&socket);
        });
        ack.send("armed").ok();
    });
    socket.on_fallback(async |socket: SocketRef, Event(name): Event| {
        if name == "panic_fallback" {
            panic_for(&socket);
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

fn panic_for(socket: &SocketRef) -> ! {
    panic!("fault of {}", socket.id)
}

/// Panics when it is deserialized. It is the client that says whose it is.
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let session = String::deserialize(deserializer)?;
        panic!("fault of {session}")
    }
}

/// Panics when it is dropped.
struct Held(SocketRef);

impl Drop for Held {
    fn drop(&mut self) {
        panic_for(&self.0);
    }
}
