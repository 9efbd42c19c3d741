//! The handle of a Socket.IO server.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use socketioxide::NsInsertError;
use socketioxide::adapter::{Adapter, LocalAdapter};
use socketioxide::handler::{FromConnectParts, FromDisconnectParts, FromMessageParts, Value};
use socketioxide::socket::{DisconnectReason, Sid, Socket};

use crate::builder::SocketIoBuilder;
use crate::extract::SocketRef;
use crate::handler::ConnectHandler;
use crate::handler::connect::ConnectGuard;
use crate::layer::SocketIoLayer;
use crate::service::{NotFoundService, SocketIoService};

/// As [`socketioxide::SocketIo`], and the handlers of every namespace are guarded. Everything that is not here
/// is reached through `Deref`; sockets found that way (`io.to("room").sockets()`) are socketioxide's own, whose
/// `on` is not guarded: convert them with [`SocketRef::from`].
pub struct SocketIo<A: Adapter = LocalAdapter>(socketioxide::SocketIo<A>);

impl SocketIo<LocalAdapter> {
    /// Configures a server.
    pub fn builder() -> SocketIoBuilder {
        SocketIoBuilder::new()
    }

    /// A service that stands alone, for hyper, with the defaults.
    #[must_use]
    pub fn new_svc() -> (SocketIoService<NotFoundService>, Self) {
        Self::builder().build_svc()
    }

    /// A service that passes other requests on to `svc`, with the defaults.
    pub fn new_inner_svc<S: Clone>(svc: S) -> (SocketIoService<S>, Self) {
        Self::builder().build_with_inner_svc(svc)
    }

    /// A layer, for axum and other tower servers, with the defaults.
    #[must_use]
    pub fn new_layer() -> (SocketIoLayer, Self) {
        Self::builder().build_layer()
    }
}

impl<A: Adapter> SocketIo<A> {
    /// Adds a namespace whose path is a pattern.
    ///
    /// # Errors
    ///
    /// When the pattern is malformed or overlaps with another.
    pub fn dyn_ns<C, T>(&self, path: impl Into<String>, callback: C) -> Result<(), NsInsertError>
    where
        C: ConnectHandler<A, T>,
        T: Send + Sync + 'static,
    {
        self.0.dyn_ns(path, ConnectGuard::new(callback))
    }

    /// The sockets of the namespace `/`.
    ///
    /// # Panics
    ///
    /// When there is no namespace `/`.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketRef<A>> {
        self.0.sockets().into_iter().map(SocketRef::from).collect()
    }

    /// A socket of the namespace `/`.
    ///
    /// # Panics
    ///
    /// When there is no namespace `/`.
    #[must_use]
    pub fn get_socket(&self, sid: Sid) -> Option<SocketRef<A>> {
        self.0.get_socket(sid).map(SocketRef::from)
    }
}

impl<A: Adapter + socketioxide_core::adapter::DefinedAdapter> SocketIo<A> {
    /// Adds a namespace.
    pub fn ns<C, T>(&self, path: impl Into<Cow<'static, str>>, callback: C) -> A::InitRes
    where
        C: ConnectHandler<A, T>,
        T: Send + Sync + 'static,
    {
        self.0.ns(path, ConnectGuard::new(callback))
    }
}

impl<A: Adapter> Deref for SocketIo<A> {
    type Target = socketioxide::SocketIo<A>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<A: Adapter> From<socketioxide::SocketIo<A>> for SocketIo<A> {
    fn from(io: socketioxide::SocketIo<A>) -> Self {
        Self(io)
    }
}

impl<A: Adapter> Clone for SocketIo<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Adapter> fmt::Debug for SocketIo<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Adapter> FromConnectParts<A> for SocketIo<A> {
    type Error = Infallible;

    fn from_connect_parts(s: &Arc<Socket<A>>, auth: &Option<Value>) -> Result<Self, Infallible> {
        <socketioxide::SocketIo<A> as FromConnectParts<A>>::from_connect_parts(s, auth).map(Self)
    }
}

impl<A: Adapter> FromMessageParts<A> for SocketIo<A> {
    type Error = Infallible;

    fn from_message_parts(
        s: &Arc<Socket<A>>,
        v: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        <socketioxide::SocketIo<A> as FromMessageParts<A>>::from_message_parts(s, v, ack_id).map(Self)
    }
}

impl<A: Adapter> FromDisconnectParts<A> for SocketIo<A> {
    type Error = Infallible;

    fn from_disconnect_parts(s: &Arc<Socket<A>>, reason: DisconnectReason) -> Result<Self, Infallible> {
        <socketioxide::SocketIo<A> as FromDisconnectParts<A>>::from_disconnect_parts(s, reason).map(Self)
    }
}
