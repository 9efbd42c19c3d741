//! Sending to one socket, and whether there is room for it.

use std::sync::Arc;

use serde::ser::{Error as _, Serialize, Serializer};
use socketioxide::adapter::Adapter;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use watertight::{Notice, Told};

/// Sends the client its notice; past a full buffer as well.
pub(super) fn notice<A: Adapter>(socket: &Arc<Socket<A>>, notice: &Notice) -> Told {
    match socket.emit("incident", notice) {
        Ok(()) => Told::Sent,
        Err(SendError::Socket(SocketError::InternalChannelFull)) => {
            match socket.volatile().emit("incident", notice) {
                Ok(()) => Told::Sent,
                Err(_) => Told::Refused,
            }
        }
        Err(_) => Told::Refused,
    }
}

/// Whether the session's send buffer is full, so that whatever is sent now, by whatever way, is lost. socketioxide does
/// not say; but it takes a place in the buffer before it looks at what is to be sent, and gives it back when that cannot
/// be. At worst another packet, or the engine's ping, finds the last place taken meanwhile: of a client that has taken
/// nothing for a while, and whose buffer the next one would have filled.
pub(super) fn is_full<A: Adapter>(socket: &Socket<A>) -> bool {
    let emitted = socket.emit("", &Unspeakable);
    matches!(emitted, Err(SendError::Socket(SocketError::InternalChannelFull)))
}

/// What cannot be sent.
struct Unspeakable;

impl Serialize for Unspeakable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("nothing is to be sent"))
    }
}
