//! Who is in a room.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use watertight_socketioxide::socket::Socket;

/// How many members of a room are listed.
pub const MAX_MEMBERS: usize = 100;

/// A player as other players see it.
///
/// The id is not that of the socket: who knows a socket's id can speak for it over polling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Player {
    /// A number that no other player has until the server restarts.
    pub id: u64,
    /// What the player is called; several may have the same name.
    pub name: String,
}

impl Player {
    /// A player with the next free id, and a name made of it.
    #[expect(clippy::new_without_default, reason = "two new players are never equal")]
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, name: format!("player-{id}") }
    }

    /// The player behind a socket of the namespace.
    #[must_use]
    pub fn of(socket: &Socket) -> Self {
        socket.extensions.get::<Self>().unwrap_or_else(|| {
            // Every socket gets its player when it connects; this is for one that was registered otherwise.
            let player = Self::new();
            socket.extensions.insert(player.clone());
            player
        })
    }
}

/// The players in a room.
#[derive(Debug, Serialize)]
pub struct Members {
    /// How many there are.
    pub players: usize,
    /// The first [`MAX_MEMBERS`] of them by id.
    pub members: Vec<Player>,
}

/// The players in a room of the socket's namespace.
#[must_use]
pub fn members(socket: &Socket, room: &str) -> Members {
    let mut members: Vec<Player> =
        socket.within(room.to_owned()).sockets().iter().map(|socket| Player::of(socket)).collect();
    let players = members.len();
    members.sort_unstable_by_key(|player| player.id);
    members.truncate(MAX_MEMBERS);
    Members { players, members }
}

/// How many sockets but this one are in a room.
#[must_use]
pub fn others(socket: &Socket, room: &str) -> usize {
    socket.to(room.to_owned()).sockets().len()
}

/// Whether the socket is in a room.
#[must_use]
pub fn is_in(socket: &Socket, room: &str) -> bool {
    socket.rooms().iter().any(|joined| joined.as_ref() == room)
}
