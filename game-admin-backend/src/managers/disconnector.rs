//! How one connection is ended.

use std::time::Duration;

use watertight::{Notice, Registry, SealMode};

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
    /// The connection is there and cannot be ended now.
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

/// Ends a connection by sealing its compartment: the event `incident {id, code, message, retry, retryAfterMs}`, then the
/// end of its transport, also of one that does not read. A kicked client is sent a disconnect packet as well, after which
/// the official client does not come back by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct SealingDisconnector;

impl Disconnector for SealingDisconnector {
    fn disconnect(&self, socket_id: &str, cause: Cause, reason: &str) -> Result<(), DisconnectError> {
        let compartment = Registry::global()
            .by_session(socket_id)
            .ok_or_else(|| DisconnectError::NotConnected { socket_id: socket_id.to_owned() })?;
        let watertight = watertight::ensure_installed();
        // Only a client that is kicked is to stay away.
        let (mode, retry, after) = match cause {
            Cause::Problematic => (SealMode::Disconnect, true, watertight.retry_after()),
            Cause::Kicked => (SealMode::Expel, false, Duration::ZERO),
        };
        let notice = Notice::new(cause.code(), reason).retry(retry, after);
        // What becomes of it is in the log: the recovery reports every seal.
        drop(watertight.seal(&compartment, notice, mode));
        Ok(())
    }
}
