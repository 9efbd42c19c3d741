//! How one connection is ended.

use std::sync::OnceLock;

use serde_json::json;
use socketioxide::{SocketIo, extract::SocketRef, socket::Sid};
use tracing::{debug, error, info};

/// Why a connection is ended on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// It was marked as problematic.
    Problematic,
    /// An operator wants it gone.
    Kicked,
}

impl Cause {
    /// The word that the client gets as `code`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Problematic => "problematic",
            Self::Kicked => "kicked",
        }
    }
}

/// Why a connection could not be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// There is no such connection, or no longer.
    #[error("socket {socket_id} is not connected")]
    NotConnected {
        /// The connection that was meant.
        socket_id: String,
    },
    /// The connection is there and refuses to go.
    #[error("socket {socket_id} cannot be disconnected: {detail}")]
    Stuck {
        /// The connection that was meant.
        socket_id: String,
        /// What stands in the way.
        detail: String,
    },
}

/// Ends connections. The server is given one, so that the manager needs to know nothing of the transport.
pub trait Disconnector: Send + Sync + 'static {
    /// Begins to end the connection in all its namespaces, tells its client why, and returns without waiting for the end.
    ///
    /// Must neither block nor call back into the [`ConnectionManager`](super::ConnectionManager).
    ///
    /// # Errors
    ///
    /// If there is no such connection, or if it cannot be ended this way.
    fn disconnect(&self, socket_id: &str, cause: Cause, reason: &str) -> Result<(), DisconnectError>;
}

/// Ends a connection politely: the event `incident {code, message, retry}`, then a disconnect packet in each namespace.
///
/// What it cannot end is a connection whose send buffer is full: the disconnect packet finds no place in it.
#[derive(Default)]
pub struct PoliteDisconnector {
    io: OnceLock<SocketIo>,
}

impl PoliteDisconnector {
    /// Says which server's connections to end. Before this, no connection is found. Only the first call counts.
    pub fn attach(&self, io: SocketIo) {
        _ = self.io.set(io);
    }

    fn sockets(&self, id: Sid) -> Vec<SocketRef> {
        self.io
            .get()
            .map(|io| io.nsps())
            .into_iter()
            .flatten()
            .filter_map(|namespace| namespace.get_socket(id))
            .collect()
    }
}

impl Disconnector for PoliteDisconnector {
    fn disconnect(&self, socket_id: &str, cause: Cause, reason: &str) -> Result<(), DisconnectError> {
        let not_connected = || DisconnectError::NotConnected {
            socket_id: socket_id.to_owned(),
        };
        let id: Sid = socket_id.parse().map_err(|_| not_connected())?;
        let sockets = self.sockets(id);
        if sockets.is_empty() {
            return Err(not_connected());
        }

        if cause == Cause::Problematic {
            error!(
                socket_id,
                reason, "🔌 Disconnecting problematic socket: {socket_id}"
            );
        }
        let notice = json!({ "code": cause.code(), "message": reason, "retry": false });
        for socket in sockets {
            if let Err(error) = socket.emit("incident", &notice) {
                debug!(socket_id, %error, "the client cannot be told why it is disconnected");
            }
            socket.disconnect().map_err(|error| DisconnectError::Stuck {
                socket_id: socket_id.to_owned(),
                detail: error.to_string(),
            })?;
        }
        if cause == Cause::Problematic {
            info!(
                socket_id,
                "✅ Successfully disconnected problematic socket: {socket_id}"
            );
        }
        Ok(())
    }
}
