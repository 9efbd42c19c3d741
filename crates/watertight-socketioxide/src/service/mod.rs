//! The service that answers Engine.IO requests: socketioxide's, with every session in its compartment.
//!
//! - A request that opens a session opens its compartment and carries the [`Lease`] in its extensions, so it
//!   lives as long as the engine keeps the session.
//! - A request of a session that polls runs in the compartment's scope. A panic of the engine's own code there
//!   costs that request and that session, not the TCP connection, which a reverse proxy may share.
//! - A request that upgrades to WebSocket links the TCP connection to the compartment.

mod body;
mod engine;
mod future;
pub(crate) mod query;
mod visit;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::service::Service as HyperService;
use socketioxide::adapter::{Adapter, LocalAdapter};
use tower_service::Service as TowerService;
use watertight::{Connection, Lease, Registry};

use self::body::HttpResponse;
pub(crate) use self::body::PassBody;
pub use self::body::{RequestBody, ResponseBody};
use self::engine::{HyperEngine, Stray, TowerEngine};
pub use self::future::ResponseFuture;
use self::future::Task;
pub use self::query::NotFoundService;
use self::query::{EngineQuery, Transport};
pub use self::visit::{Identify, Visit};
use crate::session::{Engine, PollingSession};

type Upstream<S, A> = socketioxide::service::SocketIoService<PassBody<S>, A>;

/// A tower and hyper service that answers Socket.IO requests and passes all others on to `S`.
///
/// As [`socketioxide::service::SocketIoService`], guarded.
pub struct SocketIoService<S: Clone, A: Adapter = LocalAdapter> {
    upstream: Upstream<S, A>,
    shared: Arc<Shared>,
}

/// What all clones of a service share: it is cloned for each request.
struct Shared {
    path: Arc<str>,
    identify: Option<Arc<dyn Identify>>,
}

impl<S: Clone, A: Adapter> SocketIoService<S, A> {
    pub(crate) fn new(upstream: Upstream<S, A>, path: Arc<str>, identify: Option<Arc<dyn Identify>>) -> Self {
        Self { upstream, shared: Arc::new(Shared { path, identify }) }
    }

    /// A service that makes clones of this one, for servers that want one for each connection.
    #[must_use]
    pub fn into_make_service(self) -> MakeSocketIoService<S, A> {
        MakeSocketIoService { service: self }
    }

    /// What is to be done with a request. `engine` is told whether it speaks Engine.IO 3.
    #[inline]
    fn prepare<B>(&self, request: &mut Request<B>, engine: impl FnOnce(bool) -> Box<dyn Engine>) -> Task {
        let Some(query) = EngineQuery::of(request, &self.shared.path) else { return Task::Pass };
        let gets = *request.method() == Method::GET;
        // Nearly every request of a client that polls.
        if let (Some(id), Transport::Polling) = (query.session, query.transport)
            && let Some(session) = PollingSession::find(id)
        {
            return match (gets, session.is_live()) {
                (true, _) => Task::Poll(session.begin_poll()),
                (false, true) => Task::Post { session },
                (false, false) => Task::Ignore,
            };
        }
        let task = self.begin(&query, request, engine);
        task.mark(request.extensions_mut());
        task
    }

    /// Opens the compartment of whoever opens a session.
    fn welcome<B>(&self, connection: Option<&Connection>, request: &Request<B>) -> Lease {
        let lease = Registry::global().open(connection);
        visit::introduce(&lease, request, self.shared.identify.as_deref());
        lease
    }

    /// A request of a session that is not one that polls, or not yet.
    #[cold]
    fn begin<B>(
        &self,
        query: &EngineQuery<'_>,
        request: &Request<B>,
        engine: impl FnOnce(bool) -> Box<dyn Engine>,
    ) -> Task {
        let connection = || request.extensions().get::<Connection>();
        match (query.session, query.transport) {
            (None, Transport::Polling) => {
                let lease = self.welcome(connection(), request);
                Task::Open { session: PollingSession::new(lease, query.is_v3, engine(query.is_v3)) }
            }
            (None, Transport::WebSocket) => {
                let connection = connection();
                let lease = self.welcome(connection, request);
                Task::Upgrade { lease, session: None, connection: connection.cloned() }
            }
            (Some(id), Transport::Polling) => {
                Task::Unknown { stray: Some(Stray::new(id.to_owned(), engine(query.is_v3))) }
            }
            (Some(id), Transport::WebSocket) => match PollingSession::find(id) {
                None => Task::Pass,
                Some(session) if !session.is_live() && *request.method() != Method::GET => Task::Ignore,
                Some(session) => {
                    let lease = session.lease().clone();
                    Task::Upgrade { lease, session: Some(session), connection: connection().cloned() }
                }
            },
        }
    }
}

impl<S, A, B, ResBody> TowerService<Request<B>> for SocketIoService<S, A>
where
    B: Body + Send + Unpin + fmt::Debug + 'static,
    B::Error: fmt::Debug,
    B::Data: Into<Bytes> + Send,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: std::error::Error + 'static,
    S: TowerService<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    A: Adapter,
{
    type Response = Response<
        ResponseBody<
            <<Upstream<S, A> as TowerService<Request<RequestBody<B>>>>::Response as HttpResponse>::Body,
        >,
    >;
    type Error = S::Error;
    type Future = ResponseFuture<<Upstream<S, A> as TowerService<Request<RequestBody<B>>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        TowerService::<Request<RequestBody<B>>>::poll_ready(&mut self.upstream, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (upstream, path) = (&self.upstream, &self.shared.path);
        let engine = |is_v3| -> Box<dyn Engine> {
            Box::new(TowerEngine::<_, B>::new(upstream.clone(), Arc::clone(path), is_v3))
        };
        let task = self.prepare(&mut request, engine);
        ResponseFuture::new(task, request, |request| {
            TowerService::<Request<RequestBody<B>>>::call(&mut self.upstream, request)
        })
    }
}

impl<S, A, B, ResBody> HyperService<Request<B>> for SocketIoService<S, A>
where
    B: Body + Send + Unpin + fmt::Debug + 'static,
    B::Error: fmt::Debug,
    B::Data: Into<Bytes> + Send,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: std::error::Error + 'static,
    S: HyperService<Request<B>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    A: Adapter,
{
    type Response = Response<
        ResponseBody<
            <<Upstream<S, A> as HyperService<Request<RequestBody<B>>>>::Response as HttpResponse>::Body,
        >,
    >;
    type Error = S::Error;
    type Future = ResponseFuture<<Upstream<S, A> as HyperService<Request<RequestBody<B>>>>::Future>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        let engine = |is_v3| -> Box<dyn Engine> {
            Box::new(HyperEngine::<_, B>::new(self.upstream.clone(), Arc::clone(&self.shared.path), is_v3))
        };
        let task = self.prepare(&mut request, engine);
        ResponseFuture::new(task, request, |request| {
            HyperService::<Request<RequestBody<B>>>::call(&self.upstream, request)
        })
    }
}

impl<S: Clone, A: Adapter> Clone for SocketIoService<S, A> {
    fn clone(&self) -> Self {
        Self { upstream: self.upstream.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: Clone, A: Adapter> fmt::Debug for SocketIoService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoService").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// Makes clones of a [`SocketIoService`].
pub struct MakeSocketIoService<S: Clone, A: Adapter = LocalAdapter> {
    service: SocketIoService<S, A>,
}

impl<S: Clone, A: Adapter, T> TowerService<T> for MakeSocketIoService<S, A> {
    type Response = SocketIoService<S, A>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: T) -> Self::Future {
        ready(Ok(self.service.clone()))
    }
}

impl<S: Clone, A: Adapter> fmt::Debug for MakeSocketIoService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeSocketIoService").field("service", &self.service).finish()
    }
}

/// The responses that the service makes itself.
fn own_response<B>(
    status: http::StatusCode,
    content_type: &'static str,
    text: &'static str,
) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::own(Full::from(text)));
    *response.status_mut() = status;
    let content_type = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}
