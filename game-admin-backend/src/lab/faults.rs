//! Real faults by event name.

use std::future::Ready;
use std::time::Duration;

use serde_json::Value;
use watertight_faults::{PanicsWhenDeserialized, PanicsWhenDropped, TransportFaults, panic_now};
use watertight_socketioxide::TransportType;
use watertight_socketioxide::extract::{AckSender, Data, Event, SocketRef};

/// How long `panic_ack` waits for the client's acknowledgement before it panics without.
const ACK_WAIT: Duration = Duration::from_millis(250);

pub(super) fn register(socket: &SocketRef, faults: &TransportFaults) {
    in_handlers(socket);
    in_the_transport(socket, faults);
    at_disconnect(socket);
}

fn in_handlers(socket: &SocketRef) {
    socket.on("panic_sync", |_: SocketRef| -> Ready<()> { panic_now("a handler, before its future") });
    socket.on("panic_async0", async || panic_now("a handler, before its first await"));
    socket.on("panic_async", async || {
        tokio::task::yield_now().await;
        panic_now("a handler");
    });
    socket.on("panic_spawned", async || {
        watertight::spawn(async {
            tokio::task::yield_now().await;
            panic_now("a child task");
        });
    });
    socket.on("panic_extract", async |_: Data<PanicsWhenDeserialized>| ());
    socket.on("panic_ack", async |socket: SocketRef| {
        let asked = socket.timeout(ACK_WAIT).emit_with_ack::<_, Value>("ack_me", &());
        if let Ok(answer) = asked {
            // Whatever came of it, also nothing.
            let _ = answer.await;
        }
        panic_now("code waiting for an acknowledgement");
    });
    socket.on("panic_drop", async || {
        let _held = PanicsWhenDropped;
        tokio::task::yield_now().await;
    });
    socket.on_fallback(async |Event(name): Event| {
        if name == "panic_fallback" {
            panic_now("the fallback handler");
        }
    });
}

/// Arms the transport: the next thing that the engine reads for this client panics, in the engine's own task.
fn in_the_transport(socket: &SocketRef, faults: &TransportFaults) {
    let faults = faults.clone();
    socket.on("panic_transport", async move |socket: SocketRef, ack: AckSender| {
        match (socket.transport_type(), socket.compartment().peer()) {
            (TransportType::Websocket, Some(peer)) => faults.arm_connection(peer),
            _ => faults.arm_session(socket.id.as_str()),
        }
        ack.send("armed").ok();
    });
}

fn at_disconnect(socket: &SocketRef) {
    socket.on("arm_disconnect_panic", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async || {
            tokio::task::yield_now().await;
            panic_now("a disconnect handler");
        });
        ack.send("armed").ok();
    });
    socket.on("arm_disconnect_panic_sync", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(|| -> Ready<()> { panic_now("a disconnect handler, before its future") });
        ack.send("armed").ok();
    });
    socket.on("arm_disconnect_hang", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async || std::future::pending().await);
        ack.send("armed").ok();
    });
}
