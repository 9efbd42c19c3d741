//! The least that keeps a client's faults to that client, on socketioxide and axum as they are: what the cost of
//! protection is to be held against.
//!
//! It has what nobody can do without who promises that a panic costs one client and an abort names its culprit, and nothing
//! else; it does not even act on what it catches.
//!
//! - A panic stops where a handler is called, where its future is polled, and at a request.
//! - Meanwhile the thread knows whose work it does, and memory that outlives the process says so, in entries that are
//!   whole or known to be torn.
//! - A connection knows the tasks that poll it, so that a panic of theirs is its own, and it can be cut by others, which
//!   wakes who waits for it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Context, Poll, Waker};

use anyhow::Result;
use axum::extract::Request;
use axum::response::Response;
use parking_lot::Mutex;
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
        let whose = Arc::new(Whose { client: 1, activity: 1 });
        let echo = |socket: SocketRef, Data::<Value>(data)| Within {
            whose: whose_work(),
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
    let listener = Cuttables(crate::listen(port).await?);
    crate::until_stopped(async { axum::serve(listener, app).await }).await
}

/// For whom a thread works, and on what.
struct Whose {
    client: u64,
    activity: u64,
}

/// What one thread says that it works on.
#[derive(Default)]
struct Line {
    version: AtomicU64,
    client: AtomicU64,
    activity: AtomicU64,
}

impl Line {
    fn write(&self, client: u64, activity: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.client.store(client, Ordering::Relaxed);
        self.activity.store(activity, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

struct Thread {
    current: Cell<Option<Arc<Whose>>>,
    line: &'static Line,
}

thread_local! {
    // As if it were shared with another process: for as long as this one lives.
    static THREAD: Thread = Thread { current: Cell::new(None), line: Box::leak(Box::default()) };
}

fn work_for(whose: Option<Arc<Whose>>) -> Option<Arc<Whose>> {
    let (client, activity) = whose.as_ref().map_or((0, 0), |whose| (whose.client, whose.activity));
    THREAD.with(|thread| {
        thread.line.write(client, activity);
        thread.current.replace(whose)
    })
}

fn whose_work() -> Option<Arc<Whose>> {
    THREAD.with(|thread| {
        let whose = thread.current.take();
        thread.current.set(whose.clone());
        whose
    })
}

/// Runs `work` for a client. `None` when it panicked.
fn within<R>(whose: &mut Option<Arc<Whose>>, work: impl FnOnce() -> R) -> Option<R> {
    let before = work_for(whose.take());
    let result = catch_unwind(AssertUnwindSafe(work));
    *whose = work_for(before);
    result.ok()
}

/// A handler that is called for its client.
struct Called<H, T> {
    handler: H,
    whose: Arc<Whose>,
    _arguments: PhantomData<fn() -> T>,
}

/// Marks its implementation.
enum Bounds {}

impl<A: Adapter, T: 'static, H: MessageHandler<A, T>> MessageHandler<A, Bounds> for Called<H, T> {
    fn call(&self, socket: Arc<Socket<A>>, message: Message, ack_id: Option<i64>) {
        within(&mut Some(Arc::clone(&self.whose)), || self.handler.call(socket, message, ack_id));
    }
}

pin_project! {
    /// A handler's future, polled for its client.
    struct Within<F> {
        whose: Option<Arc<Whose>>,
        #[pin]
        work: F,
    }
}

impl<F: Future<Output = ()>> Future for Within<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        within(this.whose, || this.work.poll(cx)).unwrap_or(Poll::Ready(()))
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

/// Connections that others can cut.
struct Cuttables(TcpListener);

impl axum::serve::Listener for Cuttables {
    type Io = Cuttable;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Cuttable, SocketAddr) {
        let (tcp, address) = axum::serve::Listener::accept(&mut self.0).await;
        _ = tcp.set_nodelay(true);
        (Cuttable(Arc::new(Mutex::new(Connection { open: Some(tcp), ..Connection::default() }))), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Cuttable(Arc<Mutex<Connection>>);

#[derive(Default)]
struct Connection {
    /// `None` once it is cut.
    open: Option<TcpStream>,
    /// hyper's, and the engine's reader and writer.
    tasks: [Option<Id>; 3],
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Cuttable {
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        waits: impl FnOnce(&mut Connection) -> &mut Option<Waker>,
        operate: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let mut connection = self.0.lock();
        let task = tokio::task::try_id();
        if !connection.tasks.contains(&task) {
            connection.tasks.rotate_left(1);
            connection.tasks[0] = task;
        }
        let Some(open) = &mut connection.open else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let polled = operate(Pin::new(open), cx);
        if polled.is_pending() {
            match waits(&mut connection) {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        polled
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |connection| &mut connection.reader, |tcp, cx| tcp.poll_read(cx, buf))
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |connection| &mut connection.writer, |tcp, cx| tcp.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |connection| &mut connection.writer, |tcp, cx| tcp.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |connection| &mut connection.writer, |tcp, cx| tcp.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |connection| &mut connection.writer, |tcp, cx| tcp.poll_shutdown(cx))
    }
}
