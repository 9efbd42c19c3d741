//! Hardly anything, and yet faults of a client would stay with it: what the cost of protection is to be held against.
//!
//! - A panic stops where the handler of an event is called, where its future is polled, and at a request.
//! - Meanwhile the thread says in a line of memory whose work it does. Were that memory shared, as Watertight's is, an abort
//!   there would have a name.
//! - A connection knows the tasks that poll it, so that a panic of theirs would be its own. Who wanted to cut it would shut
//!   its socket down, which wakes who waits for it.
//!
//! Nobody is told, nothing is judged, and nobody does cut: what is measured is what an echo pays for it all to be possible.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Context, Poll};

use anyhow::Result;
use axum::extract::Request;
use axum::response::Response;
use pin_project_lite::pin_project;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{Data, SocketRef};
use socketioxide::handler::{MessageHandler, Value as Message};
use socketioxide::socket::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::Id;
use tower_service::Service;

use crate::Allocated;

pub(crate) async fn serve(port: u16, allocated: Option<Allocated>) -> Result<()> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        let whose = Whose { client: 1, activity: 1 };
        let echo = |socket: SocketRef, Data::<Value>(data)| Within {
            whose: LINE.with(Line::read),
            work: async move {
                socket.emit("echo", &data).ok();
            },
        };
        socket.on("echo", Called { handler: echo, whose, _arguments: PhantomData });
    });
    let sockets = move || io.sockets().len();
    let app = Bounded(crate::stats(allocated, sockets, || Value::Null).layer(layer));
    // Around the router: a layer of it would be in one more box for each request.
    let app = axum::ServiceExt::<Request>::into_make_service(app);
    let listener = Connections(crate::listen(port).await?);
    crate::until_stopped(async { axum::serve(listener, app).await }).await
}

/// For whom a thread works, and on what.
#[derive(Clone, Copy)]
struct Whose {
    client: u64,
    activity: u64,
}

/// What one thread says that it works on: a sequence lock, so that what is half written is known to be.
struct Line {
    version: AtomicU64,
    client: AtomicU64,
    activity: AtomicU64,
}

thread_local! {
    static LINE: Line = const {
        Line { version: AtomicU64::new(0), client: AtomicU64::new(0), activity: AtomicU64::new(0) }
    };
}

impl Line {
    fn write(&self, whose: Whose) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.client.store(whose.client, Ordering::Relaxed);
        self.activity.store(whose.activity, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// For the thread that writes it.
    fn read(&self) -> Whose {
        Whose { client: self.client.load(Ordering::Relaxed), activity: self.activity.load(Ordering::Relaxed) }
    }
}

/// Runs `work` for a client. `None` when it panicked.
fn within<R>(whose: Whose, work: impl FnOnce() -> R) -> Option<R> {
    let before = LINE.with(|line| {
        let before = line.read();
        line.write(whose);
        before
    });
    let result = catch_unwind(AssertUnwindSafe(work));
    LINE.with(|line| line.write(before));
    result.ok()
}

/// A handler that is called for its client.
struct Called<H, T> {
    handler: H,
    whose: Whose,
    _arguments: PhantomData<fn() -> T>,
}

/// Marks its implementation.
enum Bounds {}

impl<A: Adapter, T: 'static, H: MessageHandler<A, T>> MessageHandler<A, Bounds> for Called<H, T> {
    fn call(&self, socket: Arc<Socket<A>>, message: Message, ack_id: Option<i64>) {
        within(self.whose, || self.handler.call(socket, message, ack_id));
    }
}

pin_project! {
    /// A handler's future, polled for its client.
    struct Within<F> {
        whose: Whose,
        #[pin]
        work: F,
    }
}

impl<F: Future<Output = ()>> Future for Within<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        within(*this.whose, || this.work.poll(cx)).unwrap_or(Poll::Ready(()))
    }
}

/// A service whose requests end with a panic, and not their connection.
#[derive(Clone)]
struct Bounded<S>(S);

impl<S> Service<Request> for Bounded<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Unpin,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoundedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut request, mut future) = (Some(request), None);
        let call = || future = request.take().map(|request| self.0.call(request));
        _ = catch_unwind(AssertUnwindSafe(call));
        BoundedFuture(future)
    }
}

struct BoundedFuture<F>(Option<F>);

impl<F, E> Future for BoundedFuture<F>
where
    F: Future<Output = Result<Response, E>> + Unpin,
{
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Ready(Ok(Response::default())) };
        catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Ok(Response::default())))
    }
}

/// Connections that know who polls them.
struct Connections(TcpListener);

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (tcp, address) = axum::serve::Listener::accept(&mut self.0).await;
        _ = tcp.set_nodelay(true);
        (Connection { tcp, tasks: [None; 3] }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Connection {
    tcp: TcpStream,
    /// hyper's, and the engine's reader and writer.
    tasks: [Option<Id>; 3],
}

impl Connection {
    /// Notes the task that polls it.
    fn polled(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        let this = self.get_mut();
        let task = tokio::task::try_id();
        if !this.tasks.contains(&task) {
            this.tasks.rotate_left(1);
            this.tasks[0] = task;
        }
        Pin::new(&mut this.tcp)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.polled().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.polled().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.polled().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    // TCP is not flushed, and a connection is shut down once: nobody has to know by whom.

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works_for() -> u64 {
        LINE.with(Line::read).client
    }

    #[test]
    fn a_panic_stops_and_the_thread_works_for_whom_it_did() {
        let (outer, inner) = (Whose { client: 1, activity: 1 }, Whose { client: 2, activity: 1 });
        let seen = within(outer, || {
            assert!(within(inner, || -> () { std::panic::resume_unwind(Box::new(works_for())) }).is_none());
            (works_for(), within(inner, works_for))
        });
        assert_eq!(seen, Some((1, Some(2))));
        assert_eq!(works_for(), 0, "nobody");
    }

    #[tokio::test]
    async fn a_request_that_panics_is_answered() {
        let mut service = Bounded(Panics);
        assert!(service.call(Request::new(axum::body::Body::empty())).await.is_ok());
    }

    /// A service that panics when it is called.
    struct Panics;

    impl Service<Request> for Panics {
        type Response = Response;
        type Error = io::Error;
        type Future = std::future::Ready<Result<Response, io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request) -> Self::Future {
            std::panic::resume_unwind(Box::new(()))
        }
    }
}
