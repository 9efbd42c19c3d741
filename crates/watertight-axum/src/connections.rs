//! Serves a router on the connections of a listener.
//!
//! axum's own loop does it for any maker of services. With every poll of a connection it asks for the end of the server, behind a
//! lock that all connections share. Here a connection reads a flag, and is woken when it is set.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::future::RouteFuture;
use axum::serve::Listener;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use crate::http_io::HttpIo;
use crate::io::GuardedIo;
use crate::layer::{self, GuardFuture, Origin, Served};
use crate::listener::{Accepted, GuardedListener};

/// Serves what `listener` accepts with `router`, until `stop` is done; then until every request that came is answered. When it is
/// dropped before that, connections end once their requests are answered.
pub(crate) async fn serve<L: Listener>(
    mut listener: GuardedListener<L>,
    router: Router,
    served: impl Fn(&GuardedIo<L::Io>, L::Addr) -> Served,
    stop: impl Future<Output = ()>,
) {
    let connections = TaskTracker::new();
    let stopping = Stopping { flag: Arc::new(AtomicBool::new(false)), accepted: listener.accepted() };
    let mut stop = pin!(stop);
    loop {
        let (io, address) = tokio::select! {
            connection = listener.accept() => connection,
            () = &mut stop => break,
        };
        let served = Arc::new(served(&io, address));
        let io = HttpIo::new(io, served.room());
        let service = Connected { router: router.clone(), served };
        connections.spawn(serve_connection(io, service, Arc::clone(&stopping.flag)));
    }
    drop(listener);
    drop(stopping);
    connections.close();
    connections.wait().await;
}

/// Tells all connections when it is dropped that the server stops.
struct Stopping {
    flag: Arc<AtomicBool>,
    accepted: Accepted,
}

impl Drop for Stopping {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Release);
        self.accepted.wake();
    }
}

async fn serve_connection<IO>(io: HttpIo<GuardedIo<IO>>, service: Connected, stopping: Arc<AtomicBool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Where axum's HTTP/2 is turned on this speaks it, but for WebSockets: those of one connection would share its fate.
    let builder = Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut is_told = false;
    let ended = poll_fn(|cx| {
        loop {
            let polled = connection.as_mut().poll(cx);
            // After it has said whom to wake: who sets it wakes then.
            if polled.is_ready() || is_told || !stopping.load(Ordering::Acquire) {
                return polled;
            }
            is_told = true;
            connection.as_mut().graceful_shutdown();
        }
    });
    if let Err(error) = ended.await {
        tracing::trace!(target: "watertight", %error, "a connection has ended");
    }
}

/// The service of one connection, as hyper calls it. A router is always ready.
struct Connected {
    router: Router,
    served: Arc<Served>,
}

impl hyper::service::Service<Request<Incoming>> for Connected {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GuardFuture<RouteFuture<Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // No box for what is not there.
        let boxed = |body: Incoming| if body.is_end_stream() { Body::empty() } else { Body::new(body) };
        layer::call(&mut self.router.clone(), Origin::Served(Arc::clone(&self.served)), request.map(boxed))
    }
}
