//! Real faults by event name.

use std::future::Ready;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use watertight::Misbehaviour;
use watertight_faults::{PanicsWhenDeserialized, PanicsWhenDropped, TransportFaults, panic_now};
use watertight_socketioxide::extract::{AckSender, Data, Event, SocketRef, TryData};
use watertight_socketioxide::{ParserError, TransportType};

/// How long `panic_ack` waits for the client's acknowledgement before it panics without.
const ACK_WAIT: Duration = Duration::from_millis(250);

pub(super) fn register(socket: &SocketRef, faults: &TransportFaults) {
    in_handlers(socket);
    that_take_too_long(socket);
    of_conduct(socket);
    in_the_transport(socket, faults);
    at_disconnect(socket);
}

/// How long `block` and `block_sync` hold their thread when they are not told.
const BLOCK_MS: u64 = 3_000;
/// How long they can be told to.
const MAX_BLOCK_MS: u64 = 60_000;

#[derive(Deserialize)]
#[serde(default)]
struct Block {
    ms: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self { ms: BLOCK_MS }
    }
}

impl Block {
    /// Holds the calling thread.
    fn now(payload: Result<Self, ParserError>) {
        let Self { ms } = payload.unwrap_or_default();
        std::thread::sleep(Duration::from_millis(ms.min(MAX_BLOCK_MS)));
    }
}

fn that_take_too_long(socket: &SocketRef) {
    socket.on("hang", async || std::future::pending().await);
    socket.on("block", async |TryData(block): TryData<Block>, ack: AckSender| {
        Block::now(block);
        ack.send("released").ok();
    });
    socket.on("block_sync", |TryData(block): TryData<Block>, ack: AckSender| {
        Block::now(block);
        ack.send("released").ok();
        std::future::ready(())
    });
}

/// How many messages `flood_me` sends when it is not told, and at most.
const FLOOD: Flood = Flood { count: 10_000, bytes: 1_024 };
const MAX_FLOOD: Flood = Flood { count: 1_000_000, bytes: 1_024 * 1_024 };

#[derive(Clone, Copy, Deserialize)]
#[serde(default)]
struct Flood {
    count: u32,
    bytes: usize,
}

impl Default for Flood {
    fn default() -> Self {
        FLOOD
    }
}

/// What a handler that fails answers.
#[derive(Serialize)]
struct Answer {
    error: &'static str,
}

fn of_conduct(socket: &SocketRef) {
    // The server sends as much as there is room for: to see what a client that does not read makes it hold.
    socket.on("flood_me", async |socket: SocketRef, TryData(flood): TryData<Flood>, ack: AckSender| {
        let Flood { count, bytes } = flood.unwrap_or_default();
        let text = "x".repeat(bytes.min(MAX_FLOOD.bytes));
        let mut refused = 0_u32;
        for _ in 0..count.min(MAX_FLOOD.count) {
            refused += u32::from(socket.emit("flood", &text).is_err());
            tokio::task::yield_now().await;
        }
        ack.send(&refused).ok();
    });
    socket.on("handler_error", async |ack: AckSender| {
        watertight::misbehaved(Misbehaviour::HandlerError);
        ack.send(&Answer { error: "handler_error" }).ok();
    });
    // As an application would after it has checked a password. Here anyone is believed.
    socket.on("identify", async |socket: SocketRef, TryData(name): TryData<String>, ack: AckSender| {
        let told = match name.map(|name| socket.identify(name)) {
            Ok(Ok(())) => None,
            Ok(Err(quarantined)) => Some(quarantined.to_string()),
            Err(_) => Some("a name is expected".to_owned()),
        };
        ack.send(&told).ok();
    });
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
    socket.on_fallback(async |Event(name): Event, ack: AckSender| {
        if name == "panic_fallback" {
            panic_now("the fallback handler");
        }
        watertight::misbehaved(Misbehaviour::UnknownEvent);
        ack.send(&Answer { error: "unknown_event" }).ok();
    });
}

/// What an armed fault is answered with.
const ARMED: &str = "armed";
/// The same as it leaves the server.
const ARMED_FRAME: &[u8] = b"[\"armed\"]";

fn in_the_transport(socket: &SocketRef, faults: &TransportFaults) {
    // The next thing that the engine reads for this client panics, in the engine's own task.
    let armed = faults.clone();
    socket.on("panic_transport", async move |socket: SocketRef, ack: AckSender| {
        match web_socket(&socket) {
            Some(peer) => armed.arm_connection(peer),
            None => armed.arm_session(socket.id.as_str()),
        }
        ack.send(ARMED).ok();
    });
    // From its answer on, the client takes nothing. Without an answer it goes on taking.
    let faults = faults.clone();
    socket.on("never_read", async move |socket: SocketRef, ack: AckSender| {
        let Some(peer) = web_socket(&socket) else {
            ack.send(&Answer { error: "websocket only" }).ok();
            return;
        };
        faults.close_outlet(peer, ARMED_FRAME);
        ack.send(ARMED).ok();
    });
}

/// The other end of the socket's WebSocket; `None` while it polls.
fn web_socket(socket: &SocketRef) -> Option<SocketAddr> {
    let peer = socket.compartment().peer();
    peer.filter(|_| matches!(socket.transport_type(), TransportType::Websocket))
}

fn at_disconnect(socket: &SocketRef) {
    socket.on("arm_disconnect_panic", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async || {
            tokio::task::yield_now().await;
            panic_now("a disconnect handler");
        });
        ack.send(ARMED).ok();
    });
    socket.on("arm_disconnect_panic_sync", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(|| -> Ready<()> { panic_now("a disconnect handler, before its future") });
        ack.send(ARMED).ok();
    });
    socket.on("arm_disconnect_hang", async |socket: SocketRef, ack: AckSender| {
        socket.on_disconnect(async || std::future::pending().await);
        ack.send(ARMED).ok();
    });
}
