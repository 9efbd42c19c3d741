//! The tower layer that adds Socket.IO to a server.

use std::fmt;
use std::sync::Arc;

use socketioxide::adapter::{Adapter, LocalAdapter};
use tower_layer::Layer;

use crate::service::{Identify, PassBody, SocketIoService};

/// As [`socketioxide::layer::SocketIoLayer`], guarded.
pub struct SocketIoLayer<A: Adapter = LocalAdapter> {
    upstream: socketioxide::layer::SocketIoLayer<A>,
    path: Arc<str>,
    identify: Option<Arc<dyn Identify>>,
}

impl<A: Adapter> SocketIoLayer<A> {
    pub(crate) fn new(
        upstream: socketioxide::layer::SocketIoLayer<A>,
        path: Arc<str>,
        identify: Option<Arc<dyn Identify>>,
    ) -> Self {
        Self { upstream, path, identify }
    }
}

impl<S: Clone, A: Adapter> Layer<S> for SocketIoLayer<A> {
    type Service = SocketIoService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { upstream, path, identify } = self;
        SocketIoService::new(upstream.layer(PassBody(inner)), Arc::clone(path), identify.clone())
    }
}

impl<A: Adapter> Clone for SocketIoLayer<A> {
    fn clone(&self) -> Self {
        let Self { upstream, path, identify } = self;
        Self { upstream: upstream.clone(), path: Arc::clone(path), identify: identify.clone() }
    }
}

impl<A: Adapter> fmt::Debug for SocketIoLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoLayer").field("path", &self.path).finish_non_exhaustive()
    }
}
