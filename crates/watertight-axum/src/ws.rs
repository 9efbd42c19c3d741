//! Guarded plain WebSockets: swap axum's `WebSocketUpgrade` and `WebSocket` for these.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
pub use axum::extract::ws::{CloseCode, CloseFrame, Message, Utf8Bytes, close_code};
use axum::http::request::Parts;
use axum::response::Response;
use futures_core::Stream;
use futures_util::{FutureExt, Sink, SinkExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use watertight::{Activity, ActivityKind, Connection, Lease, Notice, Registry, Scope, ScopeExt, Seal, Told};

/// How long a socket whose handler panicked waits for the verdict before it is closed without one.
const VERDICT: Duration = Duration::from_millis(500);
/// How long the close frame may take to be written.
const GOODBYE: Duration = Duration::from_millis(500);

/// Extracts a WebSocket upgrade, as [`axum::extract::ws::WebSocketUpgrade`] does.
///
/// The handler given to [`on_upgrade`](Self::on_upgrade) runs in the scope of the connection's compartment.
/// When it panics, or the compartment is sealed for another reason, the client gets a close frame with code
/// 1011 and the incident's id as the reason, and nobody else notices.
///
/// ```no_run
/// use axum::{Router, response::Response, routing::any};
/// use watertight_axum::ws::{Message, WebSocket, WebSocketUpgrade};
///
/// async fn upgrade(ws: WebSocketUpgrade) -> Response {
///     ws.on_upgrade(echo)
/// }
///
/// async fn echo(mut socket: WebSocket) {
///     while let Some(Ok(Message::Text(text))) = socket.recv().await {
///         assert_ne!(text, "boom", "costs this client its connection, and nobody else anything");
///         let _ = socket.send(Message::Text(text)).await;
///     }
/// }
///
/// let app: Router = Router::new().route("/ws", any(upgrade));
/// ```
#[must_use]
pub struct WebSocketUpgrade {
    inner: axum::extract::ws::WebSocketUpgrade,
    connection: Option<Connection>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let inner = axum::extract::ws::WebSocketUpgrade::from_request_parts(parts, state).await?;
        let connection = parts.extensions.get::<Connection>().cloned();
        Ok(Self { inner, connection, path: parts.uri.path().to_owned() })
    }
}

impl WebSocketUpgrade {
    /// Configures the upgrade with axum's own methods: `ws.map(|ws| ws.protocols(["chat"]))`.
    pub fn map(
        mut self,
        configure: impl FnOnce(axum::extract::ws::WebSocketUpgrade) -> axum::extract::ws::WebSocketUpgrade,
    ) -> Self {
        self.inner = configure(self.inner);
        self
    }

    /// Upgrades the connection and runs `handler` on it, guarded.
    pub fn on_upgrade<H, F>(self, handler: H) -> Response
    where
        H: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { inner, connection, path } = self;
        inner.on_upgrade(move |socket| run(socket, connection, path, handler))
    }
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A WebSocket whose handler is guarded. Has the methods of [`axum::extract::ws::WebSocket`], and is a
/// `Stream` and a `Sink` as that is.
pub struct WebSocket(Arc<Shared>);

/// The socket as its handler and its guard share it: the handler's end may be lost in a panic while the
/// guard still has a close frame to send.
struct Shared {
    socket: Mutex<axum::extract::ws::WebSocket>,
}

impl WebSocket {
    /// The next message; `None` when the connection is closed.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.0.poll_next(cx)).await
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        SinkExt::send(self, message).await
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<axum::http::HeaderValue> {
        self.0.socket.lock().protocol().cloned()
    }
}

impl Shared {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        Pin::new(&mut *self.socket.lock()).poll_next(cx)
    }

    /// Sends the last frame and waits until it is written.
    async fn say_goodbye(&self, code: CloseCode, reason: String) {
        let mut frame = Some(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let goodbye = poll_fn(|cx| {
            let mut socket = self.socket.lock();
            if frame.is_some() {
                ready!(Pin::new(&mut *socket).poll_ready(cx))?;
                if let Some(frame) = frame.take() {
                    Pin::new(&mut *socket).start_send(frame)?;
                }
            }
            Pin::new(&mut *socket).poll_flush(cx)
        });
        // A client that is gone, or does not read, is not waited for.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.0.socket.lock()).poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut *self.0.socket.lock()).start_send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.0.socket.lock()).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.0.socket.lock()).poll_close(cx)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

/// The WebSocket as a part of its compartment: how it is told to end.
#[derive(Default)]
struct Part {
    state: Mutex<PartState>,
    told: Notify,
}

#[derive(Default)]
struct PartState {
    notice: Option<Notice>,
    done: bool,
}

impl Part {
    /// Waits for the notice.
    async fn told(&self) -> Notice {
        loop {
            let told = self.told.notified();
            if let Some(notice) = self.state.lock().notice.clone() {
                return notice;
            }
            told.await;
        }
    }
}

impl Seal for Part {
    fn tell(&self, notice: &Notice) -> Told {
        let mut state = self.state.lock();
        if state.done {
            return Told::Refused;
        }
        state.notice.get_or_insert_with(|| notice.clone());
        self.told.notify_one();
        Told::Sent
    }

    fn delivered(&self, _notice: &Notice, _copies: usize) -> Option<bool> {
        Some(self.state.lock().done)
    }

    fn is_gone(&self) -> bool {
        self.state.lock().done
    }
}

/// Runs the handler, and closes the socket whichever way that ends.
async fn run<H, F>(
    socket: axum::extract::ws::WebSocket,
    connection: Option<Connection>,
    path: String,
    handler: H,
) where
    H: FnOnce(WebSocket) -> F,
    F: Future<Output = ()>,
{
    let lease: Lease = match &connection {
        Some(connection) => connection.linked(),
        None => Registry::global().open(None),
    };
    let part = Arc::new(Part::default());
    lease.attach(&part);
    let shared = Arc::new(Shared { socket: Mutex::new(socket) });
    let scope = Scope::new(Arc::clone(&lease), Activity::new(ActivityKind::WebSocket, path, ""));
    let work = {
        let socket = WebSocket(Arc::clone(&shared));
        // In the scope already while the future is made.
        async move { handler(socket).await }.scoped(scope)
    };
    let notice = tokio::select! {
        biased;
        notice = part.told() => Some(notice),
        worked = work => match worked {
            Ok(()) => None,
            Err(_caught) => {
                let verdict = part.told().map(Some);
                tokio::time::timeout(VERDICT, verdict).await.unwrap_or_else(|_| {
                    let mut unjudged = Notice::new("panic", "");
                    unjudged.retry = true;
                    Some(unjudged)
                })
            }
        },
    };
    if let Some(notice) = notice {
        let code = if notice.code == "shutdown" { close_code::AWAY } else { close_code::ERROR };
        shared.say_goodbye(code, notice.id.to_string()).await;
    }
    part.state.lock().done = true;
    drop(shared);
    lease.progress();
    Registry::global().forget_if_empty(&lease);
}
