//! Extractors: [`SocketRef`] is ours, all others are socketioxide's.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use socketioxide::SocketError;
use socketioxide::adapter::{Adapter, LocalAdapter};
pub use socketioxide::extract::{AckSender, Data, Event, TryData};
#[cfg(feature = "extensions")]
pub use socketioxide::extract::{Extension, HttpExtension, MaybeExtension, MaybeHttpExtension};
#[cfg(feature = "state")]
pub use socketioxide::extract::{State, StateNotFound};
use socketioxide::handler::{FromConnectParts, FromDisconnectParts, FromMessageParts, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use watertight::{Compartment, Held, SealMode};

use crate::gate::Gate;
use crate::handler::{DisconnectHandler, MessageHandler};
use crate::session;

/// As [`socketioxide::extract::SocketRef`], and the handlers registered through it are guarded. Everything
/// that is not here is reached through `Deref`.
pub struct SocketRef<A: Adapter = LocalAdapter> {
    socket: socketioxide::extract::SocketRef<A>,
}

impl<A: Adapter> SocketRef<A> {
    /// Registers the handler of an event. A second one for the same event replaces the first.
    pub fn on<H, T>(&self, event: impl Into<Cow<'static, str>>, handler: H)
    where
        H: MessageHandler<A, T>,
        T: Send + Sync + 'static,
    {
        self.gate().on(&self.socket, event.into(), handler);
    }

    /// Registers the handler of all events that have none.
    pub fn on_fallback<H, T>(&self, handler: H)
    where
        H: MessageHandler<A, T>,
        T: Send + Sync + 'static,
    {
        self.gate().on_fallback(&self.socket, handler);
    }

    /// Registers what runs when the socket has left the namespace. Whatever becomes of it, the socket is removed
    /// from its rooms and its namespace afterwards, at the latest after
    /// [`disconnect_cleanup`](watertight::Watertight::disconnect_cleanup).
    pub fn on_disconnect<H, T>(&self, handler: H)
    where
        H: DisconnectHandler<A, T>,
        T: Send + Sync + 'static,
    {
        let call = move |socket, reason| handler.call(socket, reason).map(|work| Box::pin(work) as _);
        self.gate().on_disconnect(&self.socket, Box::new(call));
    }

    /// Disconnects the socket from its namespace: the client is sent a disconnect packet and does not come back
    /// by itself.
    ///
    /// # Errors
    ///
    /// [`SocketError::InternalChannelFull`] when the client is so slow to read that there is no room for the
    /// packet. The socket is still connected then.
    pub fn disconnect(self) -> Result<(), SocketError> {
        self.socket.disconnect()
    }

    /// The compartment of the socket's session: the unit of isolation, shared by all its namespaces.
    #[must_use]
    pub fn compartment(&self) -> Arc<Compartment> {
        session::compartment_of(&self.socket)
    }

    /// Says whose connection this is (`user:42`), for history that outlives it.
    ///
    /// # Errors
    ///
    /// When that identity is quarantined: the connection is being closed. A middleware can return the error, whose text
    /// is what a refused client is told.
    pub fn identify(&self, name: impl Into<String>) -> Result<(), Quarantined> {
        let compartment = self.compartment();
        compartment.identify(name);
        let watertight = watertight::ensure_installed();
        match watertight.refuses(&compartment) {
            None => {
                self.gate().named();
                Ok(())
            }
            Some(held) => {
                let notice = held.notice();
                let line = notice.line();
                // Goes on by itself.
                drop(watertight.seal(&compartment, notice, SealMode::Expel));
                Err(Quarantined { held, line })
            }
        }
    }

    fn gate(&self) -> Arc<Gate<A>> {
        Gate::of(&self.socket).unwrap_or_else(|| Gate::adopt(self.compartment()))
    }
}

/// An identity is refused for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    held: Held,
    line: String,
}

impl Quarantined {
    /// For how long, and why.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Quarantined {}

impl<A: Adapter> Deref for SocketRef<A> {
    type Target = Socket<A>;

    fn deref(&self) -> &Self::Target {
        &self.socket
    }
}

impl<A: Adapter> From<Arc<Socket<A>>> for SocketRef<A> {
    fn from(socket: Arc<Socket<A>>) -> Self {
        Self { socket: socket.into() }
    }
}

impl<A: Adapter> From<socketioxide::extract::SocketRef<A>> for SocketRef<A> {
    fn from(socket: socketioxide::extract::SocketRef<A>) -> Self {
        Self { socket }
    }
}

impl<A: Adapter> Clone for SocketRef<A> {
    fn clone(&self) -> Self {
        Self { socket: self.socket.clone() }
    }
}

impl<A: Adapter> PartialEq for SocketRef<A> {
    fn eq(&self, other: &Self) -> bool {
        self.socket.id == other.socket.id
    }
}

impl<A: Adapter> fmt::Debug for SocketRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl<A: Adapter> FromConnectParts<A> for SocketRef<A> {
    type Error = Infallible;

    fn from_connect_parts(s: &Arc<Socket<A>>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self::from(Arc::clone(s)))
    }
}

impl<A: Adapter> FromMessageParts<A> for SocketRef<A> {
    type Error = Infallible;

    fn from_message_parts(s: &Arc<Socket<A>>, _: &mut Value, _: &Option<i64>) -> Result<Self, Infallible> {
        Ok(Self::from(Arc::clone(s)))
    }
}

impl<A: Adapter> FromDisconnectParts<A> for SocketRef<A> {
    type Error = Infallible;

    fn from_disconnect_parts(s: &Arc<Socket<A>>, _: DisconnectReason) -> Result<Self, Infallible> {
        Ok(Self::from(Arc::clone(s)))
    }
}
