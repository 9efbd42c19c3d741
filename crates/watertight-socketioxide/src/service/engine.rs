//! What the service asks of its own engine, by requests as clients send them: there is no other way.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{Method, Request, Response, StatusCode};
use hyper::service::Service as HyperService;
use tower_service::Service as TowerService;
use watertight::{Activity, Attribution, Fault, Report};

use super::body::RequestBody;
use crate::session::Engine;

/// Closes a session, in Engine.IO 3 and 4.
const CLOSE: [&str; 2] = ["1:1", "1"];
/// A payload without a packet: nothing comes of it, and the engine says whether it knows the session.
const NOTHING: &str = "";

/// How requests of one session are made.
struct Requests<B> {
    path: Arc<str>,
    is_v3: bool,
    _body: PhantomData<fn() -> B>,
}

impl<B> Requests<B> {
    /// A request that brings `payload`.
    fn post(&self, session: &str, payload: &'static str) -> Request<RequestBody<B>> {
        let Self { path, is_v3, _body } = self;
        let version = if *is_v3 { 3 } else { 4 };
        let slash = if path.ends_with('/') { "" } else { "/" };
        let uri = format!("{path}{slash}?EIO={version}&transport=polling&sid={session}");
        let mut request = Request::new(RequestBody::own(payload));
        *request.method_mut() = Method::POST;
        // The path came in a request and the id is the engine's own; a path that does not parse never matched one.
        if let Ok(uri) = uri.parse() {
            *request.uri_mut() = uri;
        }
        request
    }

    fn close(&self, session: &str) -> Request<RequestBody<B>> {
        let [v3, v4] = CLOSE;
        self.post(session, if self.is_v3 { v3 } else { v4 })
    }
}

/// Waits for the answer on the side. An error means that the engine does not know the session any more.
fn finish<F>(closing: F, done: Box<dyn FnOnce() + Send>)
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(async move {
        let _ = closing.await;
        done();
    });
}

/// What the answer says of the session. The engine answers an empty payload at once.
fn says<R, E>(answer: impl Future<Output = Result<Response<R>, E>>) -> Option<bool> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => Some(response.status() != StatusCode::BAD_REQUEST),
        _ => None,
    }
}

/// The engine behind a tower service.
pub(super) struct TowerEngine<U, B> {
    upstream: U,
    requests: Requests<B>,
}

impl<U, B> TowerEngine<U, B> {
    pub(super) fn new(upstream: U, path: Arc<str>, is_v3: bool) -> Self {
        Self { upstream, requests: Requests { path, is_v3, _body: PhantomData } }
    }
}

impl<U, B, R> Engine for TowerEngine<U, B>
where
    U: TowerService<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send,
    U::Future: Future<Output: Send> + Send + 'static,
{
    fn close(mut self: Box<Self>, session: &str, done: Box<dyn FnOnce() + Send>) {
        let request = self.requests.close(session);
        finish(self.upstream.call(request), done);
    }

    fn knows(&self, session: &str) -> Option<bool> {
        says(self.upstream.clone().call(self.requests.post(session, NOTHING)))
    }
}

/// The engine behind a hyper service.
pub(super) struct HyperEngine<U, B> {
    upstream: U,
    requests: Requests<B>,
}

impl<U, B> HyperEngine<U, B> {
    pub(super) fn new(upstream: U, path: Arc<str>, is_v3: bool) -> Self {
        Self { upstream, requests: Requests { path, is_v3, _body: PhantomData } }
    }
}

impl<U, B, R> Engine for HyperEngine<U, B>
where
    U: HyperService<Request<RequestBody<B>>, Response = Response<R>> + Send,
    U::Future: Future<Output: Send> + Send + 'static,
{
    fn close(self: Box<Self>, session: &str, done: Box<dyn FnOnce() + Send>) {
        finish(self.upstream.call(self.requests.close(session)), done);
    }

    fn knows(&self, session: &str) -> Option<bool> {
        says(self.upstream.call(self.requests.post(session, NOTHING)))
    }
}

/// A session that polls and that nobody here knows. If the engine does, it is closed there.
pub(super) struct Stray {
    session: String,
    engine: Box<dyn Engine>,
}

impl Stray {
    pub(super) fn new(session: String, engine: Box<dyn Engine>) -> Self {
        Self { session, engine }
    }

    /// The engine serves it: nothing of it is guarded, and nobody could seal it. Its client is let go and opens
    /// another.
    #[cold]
    pub(super) fn close_served(self) {
        let Self { session, engine } = self;
        let message = format!("the engine serves the session {session}, which has no compartment");
        let activity = Some(Activity::transport());
        let report = Report::new(Fault::Orphan, Attribution::Unattributed, None, activity, message);
        watertight::submit(Box::new(report));
        engine.close(&session, Box::new(|| ()));
    }
}
