//! The server that the tests run, and what they know of the process.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, Notify, oneshot};
use tokio::task::JoinHandle;
use watertight::{CaptureSink, Incident, PreviousHook, QuarantineSettings, Watertight};
use watertight_axum::Serve;
use watertight_axum::ws::{Message, WebSocket, WebSocketUpgrade};

use crate::client::Client;

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// How big the messages of a flood are. A connection takes a few of them before it is full.
const FLOOD: usize = 256 * 1024;
/// A connection that has taken nothing for this long is full.
const FULL: Duration = Duration::from_millis(100);

/// The turn of one test.
pub(crate) struct Turn {
    pub(crate) watertight: &'static Watertight,
    pub(crate) sink: &'static CaptureSink,
    _alone: MutexGuard<'static, ()>,
}

/// Waits for its turn, and until nothing is left of the test before.
pub(crate) async fn turn() -> Turn {
    static INSTALLED: LazyLock<(Watertight, CaptureSink)> = LazyLock::new(|| {
        let sink = CaptureSink::new();
        // All clients come from one address.
        let quarantine = QuarantineSettings::new().enabled(false);
        let builder = builder().sink(sink.clone()).storm_limit(1000).quarantine(quarantine);
        (builder.install().expect("this binary installs here only"), sink)
    });
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let (watertight, sink) = &*INSTALLED;
    let turn = Turn { watertight, sink, _alone: alone };
    Left::default().is_back(DEADLINE).await;
    turn
}

/// A builder whose hook lets a failing test say why. What panics on a runtime's own threads is expected.
#[expect(clippy::disallowed_methods, reason = "the hook that was there before is chained")]
fn builder() -> watertight::Builder {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some_and(|name| !name.starts_with("tokio")) {
            default(info);
        }
    }));
    Watertight::builder().previous_hook(PreviousHook::Chain)
}

impl Turn {
    /// The incident of this client.
    pub(crate) fn incident_of<S>(&self, client: &Client<S>) -> Arc<Incident> {
        let Client { address, since, .. } = client;
        self.incident(|incident| {
            let of_its_address =
                incident.offender.as_ref().is_some_and(|offender| offender.peer == Some(*address));
            of_its_address && incident.time >= *since
        })
    }

    /// The latest incident that `wanted` accepts: ports are used again. Blocks: the runtime needs another thread.
    pub(crate) fn incident(&self, wanted: impl Fn(&Incident) -> bool) -> Arc<Incident> {
        self.sink.wait_for(DEADLINE, |incidents| incidents.iter().rfind(|incident| wanted(incident)).cloned())
    }
}

/// Requests that have come to the handler that never answers.
pub(crate) static STUCK: Notify = Notify::const_new();

/// The requests that wait to be answered, and what lets one be.
pub(crate) static WAITS: Notify = Notify::const_new();
pub(crate) static ANSWER: Notify = Notify::const_new();

async fn waits() -> &'static str {
    WAITS.notify_one();
    ANSWER.notified().await;
    "OK"
}

async fn stuck() {
    STUCK.notify_one();
    std::future::pending().await
}

/// What the process still knows of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Left {
    compartments: usize,
    connections: usize,
    tasks: usize,
}

impl Left {
    pub(crate) fn now() -> Self {
        let stats = watertight::installed().expect("installed").stats();
        Self { compartments: stats.compartments, connections: stats.connections, tasks: stats.tasks }
    }

    /// Waits until there is no more than this. Answers how long that took.
    pub(crate) async fn is_back(self, bound: Duration) -> Duration {
        let start = Instant::now();
        while Self::now() != self {
            assert!(start.elapsed() < bound, "after {bound:?}: {:?} instead of {self:?}", Self::now());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running server. Dropping it ends it at once.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// The tests' [`app`] over TCP.
    pub(crate) async fn start() -> Self {
        Self::start_with(Duration::from_secs(5)).await
    }

    pub(crate) async fn start_with(drain_timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener, drain_timeout)
    }

    pub(crate) fn start_on<L>(listener: L, drain_timeout: Duration) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
    {
        Self::start_serving(watertight_axum::serve(listener, app()).drain_timeout(drain_timeout))
    }

    /// The tests' [`app`] over TCP, made for each connection.
    pub(crate) async fn start_each() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_serving(watertight_axum::serve(listener, Each(app())))
    }

    fn start_serving<L, M>(serve: Serve<L, M>) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
        Serve<L, M, Signal>: IntoFuture<Output = std::io::Result<()>>,
        <Serve<L, M, Signal> as IntoFuture>::IntoFuture: Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let address = serve.local_addr().expect("it is bound");
        let signal: Signal = Box::pin(async { stopped.await.unwrap_or(()) });
        let task = tokio::spawn(serve.with_graceful_shutdown(signal).into_future());
        Self { address, stop: Some(stop), task }
    }

    /// Shuts it down as an operator would. Answers how long that took.
    pub(crate) async fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.stop.take().expect("stopped once").send(()).expect("it is running");
        within(DEADLINE, "the server ends", &mut self.task).await.expect("no panic").expect("no error");
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for `future`, at most for `bound`.
pub(crate) async fn within<F: Future>(bound: Duration, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(bound, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {bound:?}: {what}"),
    }
}

/// Waits until `is_so`.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(DEADLINE, what, wait).await;
}

fn app() -> Router {
    Router::new()
        .route("/echo", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(echo) }))
        .route("/first", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(panics_first) }))
        .route("/sync", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(panics_before_the_future) }))
        .route("/health", get(|| async { "OK" }))
        .route("/panic", get(panicking_route))
        .route("/panic_with_payload", get(panicking_route_with_payload))
        .route("/stuck", get(stuck))
        .route("/waits", get(waits))
}

/// Echoes, but for the words that ask for a fault.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = &message else { continue };
        match text.as_str() {
            "panic" => panic!("panic in echo"),
            "fill" => fill(&mut socket).await,
            "fill and panic" => {
                fill(&mut socket).await;
                panic!("panic with a full connection");
            }
            _ => {}
        }
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Sends until the connection takes no more.
async fn fill(socket: &mut WebSocket) {
    let block = Message::Binary(vec![0; FLOOD].into());
    while let Ok(Ok(())) = tokio::time::timeout(FULL, socket.send(block.clone())).await {}
}

async fn panics_first(_socket: WebSocket) {
    panic!("panic before the first message");
}

fn panics_before_the_future(_socket: WebSocket) -> std::future::Ready<()> {
    panic!("panic before there is a future");
}

async fn panicking_route() -> &'static str {
    tokio::task::yield_now().await;
    panic!("panic in a route");
}

/// Panics once more when what it panicked with is dropped.
async fn panicking_route_with_payload() -> &'static str {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("panic of a payload");
        }
    }
    std::panic::panic_any(Payload)
}

/// A service that panics in `call`, before it has answered a future.
pub(crate) struct PanicsInCall;

impl tower_service::Service<axum::extract::Request> for PanicsInCall {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = std::future::Pending<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: axum::extract::Request) -> Self::Future {
        panic!("panic in call");
    }
}

/// Makes a router for each connection, as axum's own does.
#[derive(Clone)]
pub(crate) struct Each(pub(crate) Router);

impl<T> tower_service::Service<T> for Each {
    type Response = Router;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Router, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        std::future::ready(Ok(self.0.clone().with_state(())))
    }
}
