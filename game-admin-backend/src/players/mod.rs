//! The namespace `/`, where players meet in rooms.
//!
//! | event | payload | answer beside `ok` | the other players of the room get |
//! |---|---|---|---|
//! | `join` | `{room, name?}` | `room, player, players, members` | `presence {room, joined, players}` |
//! | `leave` | `{room}` | `room` | `presence {room, left, players}` |
//! | `chat` | `{room, text}` | `room` | `chat {room, player, text}` |
//! | `move` | `{room, x, y}` | `room` | `move {room, player, x, y}` |
//! | `presence` | `{room}` | `room, players, members` | nothing |
//!
//! A player is `{id, name}`; `players` is how many there are in the room, `members` lists the first of them (at most
//! [`MAX_MEMBERS`](members::MAX_MEMBERS)). A player who disconnects leaves all rooms. Operators send
//! `announcement {text, room?}`. An event that cannot be done is answered with a [`Failure`](crate::reply::Failure).

mod events;
pub mod members;
mod messages;

use tracing::debug;
use watertight_socketioxide::extract::{SocketRef, State};

use crate::{
    Shared,
    namespaces::{enter, ordered, unknown_event},
};

/// Path of the namespace.
pub const NAMESPACE: &str = "/";

/// Connect handler of the namespace.
pub async fn connect(socket: SocketRef, State(shared): State<Shared>) {
    socket.extensions.insert(members::Player::new());
    socket.on("join", ordered(events::join));
    socket.on("leave", ordered(events::leave));
    socket.on("chat", ordered(events::chat));
    socket.on("move", ordered(events::movement));
    socket.on("presence", ordered(events::presence));
    socket.on_fallback(unknown_event);
    socket.on_disconnect(events::disconnect);
    if enter(&socket, &shared) {
        debug!(socket_id = %socket.id, "a player has connected");
    }
}
