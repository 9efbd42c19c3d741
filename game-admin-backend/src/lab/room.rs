//! Harmless events: what bystanders do, and what shows that a socket works.

use std::future::{Ready, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::Value;
use watertight_socketioxide::extract::{AckSender, Data, SocketRef, TryData};

/// How long `slow_ack` takes.
const SLOW: Duration = Duration::from_millis(600);

#[derive(Debug, Deserialize)]
struct RoomMessage {
    room: String,
    #[serde(default)]
    data: Value,
}

pub(super) fn register(socket: &SocketRef) {
    // These two answer while the message is read: handlers are tasks of their own, which may overtake each other, and
    // whoever watches for reordering is to see the transport's order.
    socket.on("echo", |socket: SocketRef, TryData(data): TryData<Value>, ack: AckSender| -> Ready<()> {
        let data = data.unwrap_or_default();
        // A client that does not read gets no echo.
        socket.emit("echo", &[&data]).ok();
        ack.send(&[&data]).ok();
        ready(())
    });
    socket.on(
        "room_msg",
        |socket: SocketRef, Data(message): Data<RoomMessage>, ack: AckSender| -> Ready<()> {
            let RoomMessage { room, data } = message;
            // With the local adapter a broadcast is done at once.
            let sent = socket.within(room).emit("room_msg", &[&data]).now_or_never();
            ack.send(&sent.is_some_and(|sent| sent.is_ok())).ok();
            ready(())
        },
    );
    socket.on("join", async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
        socket.join(room.clone());
        ack.send(&room).ok();
    });
    socket.on("slow_ack", async |ack: AckSender| {
        tokio::time::sleep(SLOW).await;
        ack.send("slow").ok();
    });
}
