//! Which session a request is for, read from its query as the engine reads it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

/// An Engine.IO request's query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EngineQuery {
    pub(super) session: Option<String>,
    pub(super) transport: Transport,
    pub(super) is_v3: bool,
}

impl EngineQuery {
    /// `None` for requests that are not the engine's, or that it will refuse.
    pub(super) fn of<B>(request: &Request<B>, engine_path: &str) -> Option<Self> {
        if !is_engine_path(request.uri().path(), engine_path) {
            return None;
        }
        let transport = match value(request, "transport=")? {
            "polling" => Transport::Polling,
            "websocket" => Transport::WebSocket,
            _ => return None,
        };
        let session = value(request, "sid=").map(ToOwned::to_owned);
        if session.is_none() && request.method() != http::Method::GET {
            return None;
        }
        Some(Self { session, transport, is_v3: is_v3(request) })
    }
}

/// Whether the client speaks Engine.IO 3.
pub(super) fn is_v3<B>(request: &Request<B>) -> bool {
    value(request, "EIO=") == Some("3")
}

fn value<'a, B>(request: &'a Request<B>, key: &str) -> Option<&'a str> {
    request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(key))
}

/// The engine's path itself and everything below it: `/socket.io` does not match `/socket.io-admin`.
fn is_engine_path(path: &str, engine_path: &str) -> bool {
    path.strip_prefix(engine_path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || engine_path.ends_with('/'))
}

/// Answers every request with 404: what is behind a [`SocketIoService`](super::SocketIoService) that stands
/// alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotFoundService;

fn not_found() -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

impl<B> tower_service::Service<Request<B>> for NotFoundService {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(not_found()))
    }
}

impl<B> hyper::service::Service<Request<B>> for NotFoundService {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<B>) -> Self::Future {
        ready(Ok(not_found()))
    }
}

/// See [`crate::fuzzing`].
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    use http::Request;

    use super::{EngineQuery, Transport};

    /// What is read from a request.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EngineRequest {
        /// The session's id.
        pub session: Option<String>,
        /// The transport; the other one is polling.
        pub is_websocket: bool,
        /// The version of the protocol.
        pub is_v3: bool,
    }

    /// Reads a request as the service does.
    #[must_use]
    pub fn engine_request<B>(request: &Request<B>, engine_path: &str) -> Option<EngineRequest> {
        let EngineQuery { session, transport, is_v3 } = EngineQuery::of(request, engine_path)?;
        Some(EngineRequest { session, is_websocket: transport == Transport::WebSocket, is_v3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(uri: &str) -> Option<EngineQuery> {
        let request = Request::get(uri).body(()).expect("a valid uri");
        EngineQuery::of(&request, "/socket.io")
    }

    #[test]
    fn reads_what_the_engine_reads() {
        let open = query("/socket.io/?EIO=4&transport=polling&t=x").expect("opens");
        assert_eq!(open, EngineQuery { session: None, transport: Transport::Polling, is_v3: false });
        let upgrade = query("/socket.io?EIO=3&transport=websocket&sid=abc").expect("upgrades");
        assert_eq!(upgrade.session.as_deref(), Some("abc"));
        assert!(upgrade.is_v3 && upgrade.transport == Transport::WebSocket);
    }

    #[test]
    fn other_requests_are_not_the_engines() {
        for uri in [
            "/socket.io-admin/?EIO=4&transport=polling",
            "/?transport=polling",
            "/socket.io/",
            "/socket.io/?transport=x",
        ] {
            assert_eq!(query(uri), None, "{uri}");
        }
    }
}
