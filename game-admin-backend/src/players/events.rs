//! The events of players.

use serde::Serialize;
use tracing::debug;
use watertight_socketioxide::{
    extract::{SocketRef, State},
    socket::DisconnectReason,
};

use super::{
    NAMESPACE,
    members::{self, Player},
    messages::{Change, Chat, Done, InRoom, Join, Joined, Move, Moved, Presence, Present, Said},
};
use crate::{
    Shared,
    managers::connection::JoinRefusal,
    namespaces::Call,
    reply::{Code, Failure},
};

pub(super) async fn join(mut call: Call) -> Result<Joined, Failure> {
    let Join { room, name } = call.read()?;
    let is_new =
        call.shared.connections.joins(call.socket.id.as_str(), NAMESPACE, &room).map_err(|refusal| {
            match refusal {
                JoinRefusal::NotConnected => closing(),
                JoinRefusal::TooManyRooms => {
                    Failure::new(Code::TooManyRooms, refusal.to_string()).in_field("room")
                }
            }
        })?;
    let mut player = Player::of(&call.socket);
    if let Some(name) = name {
        player.name = name;
        call.socket.extensions.insert(player.clone());
    }

    call.socket.join(room.clone());
    if !call.socket.connected() {
        // The socket was closed meanwhile. Its rooms may have been cleared before it joined this one, and nothing would
        // clear them again.
        call.socket.leave_all();
        return Err(closing());
    }
    let members = members::members(&call.socket, &room);
    if is_new {
        let presence = Presence { room: &room, change: Change::Joined(&player), players: members.players };
        tell_others(&call.socket, &room, "presence", &presence).await;
    }
    Ok(Joined { room, player, members })
}

pub(super) async fn leave(mut call: Call) -> Result<Done, Failure> {
    let InRoom { room } = call.read()?;
    must_be_in(&call.socket, &room)?;
    call.socket.leave(room.clone());
    call.shared.connections.left(call.socket.id.as_str(), NAMESPACE, &room);
    tell_of_leaving(&call.socket, &room).await;
    Ok(Done { room })
}

pub(super) async fn chat(mut call: Call) -> Result<Done, Failure> {
    let Chat { room, text } = call.read()?;
    must_be_in(&call.socket, &room)?;
    let said = Said { room: &room, player: &Player::of(&call.socket), text: &text };
    tell_others(&call.socket, &room, "chat", &said).await;
    Ok(Done { room })
}

pub(super) async fn movement(mut call: Call) -> Result<Done, Failure> {
    let Move { room, x, y } = call.read()?;
    must_be_in(&call.socket, &room)?;
    let moved = Moved { room: &room, player: &Player::of(&call.socket), x, y };
    tell_others(&call.socket, &room, "move", &moved).await;
    Ok(Done { room })
}

pub(super) async fn presence(mut call: Call) -> Result<Present, Failure> {
    let InRoom { room } = call.read()?;
    let members = members::members(&call.socket, &room);
    Ok(Present { room, members })
}

/// Disconnect handler: the others of each room are told.
pub(super) async fn disconnect(socket: SocketRef, reason: DisconnectReason, State(shared): State<Shared>) {
    debug!(socket_id = %socket.id, ?reason, "a player has disconnected");
    // The list of connections and not the socket says which rooms those were: the socket may have left them already.
    for room in shared.connections.disconnected(socket.id.as_str(), NAMESPACE) {
        tell_of_leaving(&socket, &room).await;
    }
}

fn closing() -> Failure {
    Failure::new(Code::Closing, "the socket is being closed")
}

fn must_be_in(socket: &SocketRef, room: &str) -> Result<(), Failure> {
    if members::is_in(socket, room) {
        Ok(())
    } else {
        Err(Failure::new(Code::NotInRoom, "join the room first").in_field("room"))
    }
}

async fn tell_of_leaving(socket: &SocketRef, room: &str) {
    let player = Player::of(socket);
    let players = members::others(socket, room);
    let presence = Presence { room, change: Change::Left(&player), players };
    tell_others(socket, room, "presence", &presence).await;
}

/// Sends an event to the room's other sockets. One that cannot take it loses it alone; the sender is not to blame.
async fn tell_others<T: Serialize + Sync>(socket: &SocketRef, room: &str, event: &'static str, content: &T) {
    if let Err(error) = socket.to(room.to_owned()).emit(event, content).await {
        debug!(room, event, %error, "an event did not reach every socket of its room");
    }
}
