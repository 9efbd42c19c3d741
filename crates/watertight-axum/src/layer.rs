//! The tower layer: a request that panics is answered, and an upgraded connection gets its compartment.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{Extensions, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use watertight::{Connection, quietly, spare_extensions};

use crate::head;
use crate::http_io::Room;

/// Guards a service's requests. [`serve`](crate::serve) adds it by itself; use it with other servers.
///
/// A request whose handler panics is answered with status 500 instead of losing its connection, which a
/// reverse proxy may share among many clients. The panic is recorded as nobody's unless it happened in a
/// scope. A request that upgraded its connection gives it to a compartment of its own, unless an inner
/// service has done so.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct GuardLayer;

impl GuardLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardService { inner, served: None }
    }
}

/// The service that [`GuardLayer`] makes.
#[derive(Debug, Clone)]
pub struct GuardService<S> {
    inner: S,
    /// Where `serve` made the service for one connection. Others find the connection in the request.
    served: Option<Arc<Served>>,
}

/// What all requests of a connection have in common. They share it, since a service is cloned for each of them.
pub(crate) struct Served {
    connection: Connection,
    closing: Arc<Closing>,
    connect_info: Option<ConnectInfoOf>,
    room: Arc<Room>,
}

/// Adds the client's address to a request.
pub(crate) type ConnectInfoOf = Box<dyn Fn(&mut Extensions) + Send + Sync>;

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Served {
    pub(crate) fn new(
        connection: Connection,
        closing: Arc<Closing>,
        connect_info: Option<ConnectInfoOf>,
    ) -> Self {
        Self { connection, closing, connect_info, room: Arc::default() }
    }

    /// What the connection's IO is told.
    pub(crate) fn room(&self) -> Arc<Room> {
        Arc::clone(&self.room)
    }

    /// Adds to a request what it is to carry.
    fn load(&self, extensions: &mut Extensions, polls: bool) {
        self.room.asked();
        // What asks for the connection are requests that open a session or upgrade, and the application's own.
        if polls {
            *extensions = spare_extensions();
        } else {
            make_room(extensions);
            extensions.insert(self.connection.clone());
        }
        if let Some(add) = &self.connect_info {
            add(extensions);
        }
    }
}

/// Whether a server is shutting down, and what it answers all the same.
#[derive(Debug)]
pub(crate) struct Closing {
    phase: AtomicU8,
    answered: &'static [&'static str],
}

/// It answers everything.
const OPEN: u8 = 0;
/// It answers hardly anything.
const REFUSING: u8 = 1;
/// It answers everything, as the last request of its connection: the next connection is another process's.
const HANDING_OVER: u8 = 2;

impl Closing {
    /// It is not. `answered` are the paths that it will answer to the end.
    pub(crate) fn new(answered: &'static [&'static str]) -> Self {
        Self { phase: AtomicU8::new(OPEN), answered }
    }

    /// From now on it is.
    pub(crate) fn begin(&self) {
        self.phase.store(REFUSING, Ordering::Release);
    }

    /// From now on it is, and others serve who comes.
    pub(crate) fn hand_over(&self) {
        self.phase.store(HANDING_OVER, Ordering::Release);
    }

    fn hands_over(&self) -> bool {
        self.phase.load(Ordering::Acquire) == HANDING_OVER
    }

    /// Whether a request comes too late: it does not go on with an Engine.IO session whose client is still to be told.
    fn refuses<B>(&self, request: &Request<B>) -> bool {
        let goes_on = |query: &str| query.split('&').any(|pair| pair.starts_with("sid="));
        self.phase.load(Ordering::Acquire) == REFUSING
            && !request.uri().query().is_some_and(goes_on)
            && !self.answered.contains(&request.uri().path())
    }
}

impl<S> GuardService<S> {
    /// The service of one connection.
    pub(crate) fn of(inner: S, served: Arc<Served>) -> Self {
        Self { inner, served: Some(served) }
    }
}

impl<S, B> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let origin = match &self.served {
            Some(served) => Origin::Served(Arc::clone(served)),
            None => Origin::Others(request.extensions().get::<Connection>().cloned()),
        };
        call(&mut self.inner, origin, request)
    }
}

/// Has `inner` answer a request.
pub(crate) fn call<S: Service<Request<B>>, B>(
    inner: &mut S,
    origin: Origin,
    mut request: Request<B>,
) -> GuardFuture<S::Future> {
    // Whatever upgrades has its upgrade in there: its query may say what it likes.
    let polls = request.extensions().is_empty() && head::polls(request.uri());
    if let Origin::Served(served) = &origin {
        if served.closing.refuses(&request) {
            return GuardFuture { future: None, otherwise: StatusCode::SERVICE_UNAVAILABLE, polls, origin };
        }
        served.load(request.extensions_mut(), polls);
    }
    if !polls {
        head::detach(&mut request);
    }
    // Lent to the boundary and not moved through it, and the future is put where it will be: both are large.
    let mut request = Some(request);
    let otherwise = StatusCode::INTERNAL_SERVER_ERROR;
    let mut answer = GuardFuture { future: None, otherwise, polls, origin };
    quietly(|| answer.future = request.take().map(|request| inner.call(request)));
    answer
}

/// Makes room in a request's extensions.
fn make_room(extensions: &mut Extensions) {
    /// For all that a request is given on its way to a handler: its connection, its client's address, and what axum's
    /// router finds. With the room that the first of them makes, the fourth would have the table made anew.
    static ROOM: LazyLock<Extensions> = LazyLock::new(|| {
        #[derive(Clone)]
        struct Place<const N: usize>;
        let mut extensions = Extensions::new();
        extensions.insert(Place::<0>);
        extensions.insert(Place::<1>);
        extensions.insert(Place::<2>);
        extensions.insert(Place::<3>);
        extensions.clear();
        extensions
    });
    if extensions.is_empty() {
        extensions.clone_from(&ROOM);
    }
}

pin_project! {
    /// The future of [`GuardService`].
    #[derive(Debug)]
    pub struct GuardFuture<F> {
        // `None` after a panic, and when the request was refused.
        #[pin]
        future: Option<F>,
        // What is answered then.
        otherwise: StatusCode,
        // Whether the request goes on with a session by polling.
        polls: bool,
        origin: Origin,
    }
}

/// Where a request comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    Served(Arc<Served>),
    /// Another server, that may have said on which connection.
    Others(Option<Connection>),
}

impl Origin {
    fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Served(served) => Some(&served.connection),
            Self::Others(connection) => connection.as_ref(),
        }
    }

    fn hands_over(&self) -> bool {
        matches!(self, Self::Served(served) if served.closing.hands_over())
    }
}

impl<F, E> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // What is large does not go through the boundary: it is put here.
        let mut polled = None;
        if let Some(work) = this.future.as_mut().as_pin_mut() {
            quietly(|| polled = Some(work.poll(cx)));
        }
        let Some(polled) = polled else {
            // The hook has recorded it. What the future still holds may panic as well.
            quietly(|| this.future.set(None));
            return Poll::Ready(Ok(status_alone(*this.otherwise)));
        };
        let mut response = ready!(polled)?;
        // One with another status may be answered with its body still to come.
        if *this.polls
            && response.status() == StatusCode::OK
            && let Origin::Served(served) = &this.origin
        {
            served.room.answered();
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(connection) = this.origin.connection() {
                connection.linked();
            }
        } else if this.origin.hands_over() {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

#[cold]
fn status_alone(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{status}\n")));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
