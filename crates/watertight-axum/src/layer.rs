//! The tower layer: a request that panics is answered, and an upgraded connection gets its compartment.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use watertight::{Connection, quietly};

use crate::head;

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
        GuardService { inner, connection: None, closing: None }
    }
}

/// The service that [`GuardLayer`] makes.
#[derive(Debug, Clone)]
pub struct GuardService<S> {
    inner: S,
    /// Where `serve` made the service for one connection. Others find it in the request.
    pub(crate) connection: Option<Connection>,
    closing: Option<Arc<Closing>>,
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
    pub(crate) fn new(inner: S, connection: Connection, closing: Arc<Closing>) -> Self {
        Self { inner, connection: Some(connection), closing: Some(closing) }
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if self.closing.as_ref().is_some_and(|closing| closing.refuses(&request)) {
            return GuardFuture {
                future: None,
                otherwise: StatusCode::SERVICE_UNAVAILABLE,
                connection: None,
                closing: None,
            };
        }
        if let Some(connection) = &self.connection {
            request.extensions_mut().insert(connection.clone());
        }
        head::detach(&mut request);
        let connection = request.extensions().get::<Connection>().cloned();
        let future = quietly(|| self.inner.call(request));
        let closing = self.closing.clone();
        GuardFuture { future, otherwise: StatusCode::INTERNAL_SERVER_ERROR, connection, closing }
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
        connection: Option<Connection>,
        closing: Option<Arc<Closing>>,
    }
}

impl<F, E> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => quietly(|| future.poll(cx)),
            None => None,
        };
        let Some(polled) = polled else {
            // The hook has recorded it. What the future still holds may panic as well.
            quietly(|| this.future.set(None));
            return Poll::Ready(Ok(status_alone(*this.otherwise)));
        };
        let mut response = ready!(polled)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(connection) = this.connection {
                connection.linked();
            }
        } else if this.closing.as_ref().is_some_and(|closing| closing.hands_over()) {
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

fn status_alone(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{status}\n")));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
