//! The tower layer that adds Socket.IO to a server.

use std::fmt;
use std::sync::Arc;

use socketioxide::adapter::{Adapter, LocalAdapter};
use tower_layer::Layer;

use crate::service::{PassBody, SocketIoService};

/// As [`socketioxide::layer::SocketIoLayer`], guarded.
pub struct SocketIoLayer<A: Adapter = LocalAdapter> {
    upstream: socketioxide::layer::SocketIoLayer<A>,
    path: Arc<str>,
}

impl<A: Adapter> SocketIoLayer<A> {
    pub(crate) fn new(upstream: socketioxide::layer::SocketIoLayer<A>, path: Arc<str>) -> Self {
        Self { upstream, path }
    }
}

impl<S: Clone, A: Adapter> Layer<S> for SocketIoLayer<A> {
    type Service = SocketIoService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        SocketIoService::new(self.upstream.layer(PassBody(inner)), Arc::clone(&self.path))
    }
}

impl<A: Adapter> Clone for SocketIoLayer<A> {
    fn clone(&self) -> Self {
        Self { upstream: self.upstream.clone(), path: Arc::clone(&self.path) }
    }
}

impl<A: Adapter> fmt::Debug for SocketIoLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoLayer").field("path", &self.path).finish_non_exhaustive()
    }
}
