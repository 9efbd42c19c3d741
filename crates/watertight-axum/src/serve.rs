//! `serve`: axum's, guarded.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture, Pending, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::{Either, FutureExt};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;
use watertight::{Connection, Notice};

use crate::connections;
use crate::io::GuardedIo;
use crate::layer::{Closing, ConnectInfoOf, GuardService, Served};
use crate::listener::GuardedListener;
use crate::pace::Pace;

/// How long [`Serve`] waits for its clients to be gone when it shuts down, by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connections that are idle while another process has taken over are kept for a request that may be under way.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// On top of that: for responses that are being written.
const LAST_RESPONSES: Duration = Duration::from_millis(500);

/// Serves `app` on `listener` as [`axum::serve`](fn@axum::serve) does, with every connection guarded. Installs the
/// [defaults](watertight::ensure_installed) when nothing is installed yet.
///
/// A [`Router`] is shared by all connections, as one of `into_make_service` is: axum would make a new one for each, with new
/// layers around its handlers. Pass a service that makes one where a layer is to count for each connection alone.
///
/// Every request carries its [`Connection`] in its extensions, but for those whose query begins as those that go on with an
/// Engine.IO session by polling do, which are the engine's and which no handler of events ever sees. Handlers that ask
/// for `ConnectInfo` need [`with_connect_info`](Serve::with_connect_info): pass the router itself, without `into_make_service_with_connect_info`, which axum has for its own listeners only.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use axum::{Router, routing::get};
///
/// let app = Router::new().route("/health", get(|| async { "OK" }));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
/// watertight_axum::serve(listener, app).await
/// # }
/// ```
///
/// # Panics
///
/// When nothing is installed yet and the recovery thread cannot be started.
pub fn serve<L: Listener, M>(listener: L, app: M) -> Serve<L, M> {
    watertight::ensure_installed();
    let notice = Notice::new("shutdown", "The server is shutting down.").retry(true, Duration::from_secs(1));
    let listener = GuardedListener::new(listener);
    Serve {
        listener,
        app,
        signal: pending(),
        drain_timeout: DRAIN_TIMEOUT,
        notice,
        answered: &[],
        taken_over: Box::new(|| false),
        connect_info: None,
    }
}

/// The future of [`serve`].
#[must_use = "futures must be awaited or polled"]
pub struct Serve<L: Listener, M, F = Pending<()>> {
    listener: GuardedListener<L>,
    app: M,
    signal: F,
    drain_timeout: Duration,
    notice: Notice,
    /// Paths that are answered to the end.
    answered: &'static [&'static str],
    taken_over: TakenOver,
    connect_info: Option<fn(L::Addr) -> ConnectInfoOf>,
}

/// Says whether another process accepts from the same socket.
type TakenOver = Box<dyn Fn() -> bool + Send>;

impl<L: Listener, M, F> Serve<L, M, F> {
    /// Shuts down when `signal` completes: refuses new sessions and requests with status 503, tells every client with
    /// the event `incident` (code `shutdown`) or close code 1001, closes it, and accepts no more connections once all
    /// are gone or the [`drain_timeout`](Self::drain_timeout) is over. Whoever is still there half a second after that
    /// is cut off.
    pub fn with_graceful_shutdown<G>(self, signal: G) -> Serve<L, M, G>
    where
        G: Future<Output = ()> + Send + 'static,
    {
        let Self { listener, app, signal: _, drain_timeout, notice, answered, taken_over, connect_info } =
            self;
        Serve { listener, app, signal, drain_timeout, notice, answered, taken_over, connect_info }
    }

    /// Adds axum's `ConnectInfo` with the client's address to every request, as the router's
    /// `into_make_service_with_connect_info` does for axum's own `serve`. Default: none has it, as there.
    pub fn with_connect_info(mut self) -> Self
    where
        L::Addr: Clone + Sync,
    {
        self.connect_info = Some(|address| {
            Box::new(move |extensions| {
                extensions.insert(ConnectInfo(address.clone()));
            })
        });
        self
    }

    /// How long to wait for the clients to be gone. Default 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// What clients are told when the server shuts down. Default: code `shutdown`, come back after a second.
    pub fn shutdown_notice(mut self, notice: Notice) -> Self {
        self.notice = notice;
        self
    }

    /// Paths that are answered during the shutdown too, such as the one that tells a load balancer to stay away. Default:
    /// none.
    pub fn answer_to_the_end(mut self, paths: &'static [&'static str]) -> Self {
        self.answered = paths;
        self
    }

    /// Accepts connections at this pace. Default: as fast as it can.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.listener = self.listener.pace(pace);
        self
    }

    /// Asked when the shutdown begins: whether another process has taken over and accepts from the same socket. Then this
    /// one accepts nothing any more, and answers whatever still comes over its open connections, each with
    /// `Connection: close`, so that no request is lost. Default: nobody has.
    pub fn taken_over(mut self, taken_over: impl Fn() -> bool + Send + 'static) -> Self {
        self.taken_over = Box::new(taken_over);
        self
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// As the listener's own `local_addr`.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

impl<L, M, F, S> IntoFuture for Serve<L, M, F>
where
    L: Listener,
    L::Addr: fmt::Debug + Clone + Sync,
    M: for<'a> Service<IncomingStream<'a, GuardedListener<L>>, Error = Infallible, Response = S>
        + Send
        + 'static,
    for<'a> <M as Service<IncomingStream<'a, GuardedListener<L>>>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { listener, app, signal, drain_timeout, notice, answered, taken_over, connect_info } =
                self;
            let (server, accepted, stopper) = (listener.server(), listener.accepted(), listener.stopper());
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let closing = Arc::new(Closing::new(answered));
            let stopped = async move {
                // An error means that the sender is gone, and with it this whole future.
                let _ = stopped.await;
            };
            let serving = match router(&app) {
                Some(router) => {
                    let closing = Arc::clone(&closing);
                    let served = move |io: &GuardedIo<L::Io>, address: L::Addr| {
                        let connect_info = connect_info.map(|of| of(address));
                        Served::new(io.connection(), Arc::clone(&closing), connect_info)
                    };
                    Either::Left(connections::serve(listener, router, served, stopped).map(Ok))
                }
                None => {
                    let app = GuardedMakeService::new(app, Arc::clone(&closing), connect_info);
                    Either::Right(axum::serve(listener, app).with_graceful_shutdown(stopped).into_future())
                }
            };
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                served = &mut serving => return served,
                () = signal => {}
            }
            let end = Instant::now() + drain_timeout;
            let handing_over = taken_over();
            if handing_over {
                stopper.send_replace(true);
                closing.hand_over();
            } else {
                // Connections are still accepted meanwhile: a client that polls is told by its next request, for which it
                // may open one. New sessions and all other requests are refused.
                closing.begin();
            }
            let drain = async {
                let left = watertight::ensure_installed().drain(Some(server), &notice, drain_timeout).await;
                if handing_over {
                    // An idle connection may have a request under way, which closing it now would lose.
                    let idle = Instant::now() + LAST_REQUESTS;
                    while accepted.open() > 0 && Instant::now() < idle.min(end) {
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
                left
            };
            let left = tokio::select! {
                served = &mut serving => return served,
                left = drain => left,
            };
            let _ = stop.send(());
            let served = tokio::time::timeout_at(end + LAST_RESPONSES, serving).await;
            // Whoever is stuck is cut off: axum lets the tasks of its connections go on when it stops waiting for them.
            accepted.cut();
            if left > 0 || served.is_err() {
                tracing::warn!(target: "watertight", left, "not every connection was gone within {drain_timeout:?}");
            }
            served.unwrap_or(Ok(()))
        })
    }
}

impl<L: Listener + fmt::Debug, M: fmt::Debug, F> fmt::Debug for Serve<L, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("app", &self.app)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

/// The router, where that is what is served: all connections share it, as with `Router::into_make_service`. axum would make a new
/// one for each, which is 2 KiB or more.
fn router<M: 'static>(app: &M) -> Option<Router> {
    let router = (app as &dyn Any).downcast_ref::<Router>()?;
    Some(router.clone().with_state(()))
}

/// Makes the guarded service of one connection.
struct GuardedMakeService<M, A> {
    inner: M,
    closing: Arc<Closing>,
    connect_info: Option<fn(A) -> ConnectInfoOf>,
}

impl<M, A> GuardedMakeService<M, A> {
    fn new(inner: M, closing: Arc<Closing>, connect_info: Option<fn(A) -> ConnectInfoOf>) -> Self {
        Self { inner, closing, connect_info }
    }
}

impl<'a, L, M, S> Service<IncomingStream<'a, GuardedListener<L>>> for GuardedMakeService<M, L::Addr>
where
    L: Listener,
    L::Addr: Clone,
    M: Service<IncomingStream<'a, GuardedListener<L>>, Error = Infallible, Response = S> + 'static,
    S: 'static,
{
    type Response = GuardService<S>;
    type Error = Infallible;
    type Future = MakeFuture<M::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, stream: IncomingStream<'a, GuardedListener<L>>) -> Self::Future {
        let connection: Connection = stream.io().connection();
        let connect_info = self.connect_info.map(|of| of(stream.remote_addr().clone()));
        let made = self.inner.call(stream);
        MakeFuture { made, of: Some((connection, Arc::clone(&self.closing), connect_info)) }
    }
}

pin_project! {
    struct MakeFuture<F> {
        #[pin]
        made: F,
        of: Option<(Connection, Arc<Closing>, Option<ConnectInfoOf>)>,
    }
}

impl<F, S> Future for MakeFuture<F>
where
    F: Future<Output = Result<S, Infallible>>,
{
    type Output = Result<GuardService<S>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = task::ready!(this.made.poll(cx))?;
        let (connection, closing, connect_info) = this.of.take().expect("polled after it answered");
        let served = Served::new(connection, closing, connect_info);
        Poll::Ready(Ok(GuardService::of(inner, Arc::new(served))))
    }
}
