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
pub(super) struct EngineQuery<'a> {
    pub(super) session: Option<&'a str>,
    pub(super) transport: Transport,
    /// Whether the client speaks Engine.IO 3.
    pub(super) is_v3: bool,
}

impl<'a> EngineQuery<'a> {
    /// `None` for requests that are not the engine's, or that it will refuse.
    pub(super) fn of<B>(request: &'a Request<B>, engine_path: &str) -> Option<Self> {
        if !is_engine_path(request.uri().path(), engine_path) {
            return None;
        }
        let Values { transport, session, version } = Values::of(request.uri().query()?);
        let transport = match transport? {
            "polling" => Transport::Polling,
            "websocket" => Transport::WebSocket,
            _ => return None,
        };
        if session.is_none() && request.method() != http::Method::GET {
            return None;
        }
        Some(Self { session, transport, is_v3: version == Some("3") })
    }
}

/// The values in a query that the engine asks for. Of a key that is there twice it takes the first.
#[derive(Default)]
struct Values<'a> {
    transport: Option<&'a str>,
    session: Option<&'a str>,
    version: Option<&'a str>,
}

/// The key of the session's id, with what follows it.
const SESSION: &str = "sid=";

/// What the engine reads of a value: up to the next `=`.
fn up_to_equals(value: &str) -> &str {
    value.bytes().position(|byte| byte == b'=').map_or(value, |end| &value[..end])
}

impl<'a> Values<'a> {
    /// Every request of a client that polls comes by here: once through the query, for all of them, and not through how
    /// official clients begin theirs.
    fn of(query: &'a str) -> Self {
        let Some(rest) = query.strip_prefix("EIO=4&transport=polling&") else {
            return Self::in_any_order(query);
        };
        let mut pairs = Some(rest);
        let session = loop {
            let Some(rest) = pairs else { break None };
            let end = memchr::memchr(b'&', rest.as_bytes());
            if let Some(value) = rest[..end.unwrap_or(rest.len())].strip_prefix(SESSION) {
                break Some(value);
            }
            pairs = end.map(|end| &rest[end + 1..]);
        };
        Self { transport: Some("polling"), session, version: Some("4") }
    }

    fn in_any_order(query: &'a str) -> Self {
        let mut values = Self::default();
        for pair in query.split('&') {
            let (slot, value) = if let Some(value) = pair.strip_prefix("EIO=") {
                (&mut values.version, up_to_equals(value))
            } else if let Some(value) = pair.strip_prefix("transport=") {
                (&mut values.transport, up_to_equals(value))
            } else if let Some(value) = pair.strip_prefix(SESSION) {
                (&mut values.session, value)
            } else {
                continue;
            };
            slot.get_or_insert(value);
        }
        values
    }
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
        let session = session.map(ToOwned::to_owned);
        Some(EngineRequest { session, is_websocket: transport == Transport::WebSocket, is_v3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::get(uri).body(()).expect("a valid uri")
    }

    #[test]
    fn reads_what_the_engine_reads() {
        let open = request("/socket.io/?EIO=4&transport=polling&t=x");
        let query = EngineQuery { session: None, transport: Transport::Polling, is_v3: false };
        assert_eq!(EngineQuery::of(&open, "/socket.io"), Some(query));
        let upgrade = request("/socket.io?EIO=3&transport=websocket&sid=abc");
        let query = EngineQuery { session: Some("abc"), transport: Transport::WebSocket, is_v3: true };
        assert_eq!(EngineQuery::of(&upgrade, "/socket.io"), Some(query));
    }

    #[test]
    fn takes_the_first_of_each_key() {
        for (uri, session) in [
            ("/socket.io/?sid=a&sid=b&transport=polling&transport=websocket", Some("a")),
            ("/socket.io/?&&t=sid=x&transport=polling&sid=", Some("")),
            ("/socket.io/?transport=polling&xsid=a&sid&", None),
            ("/socket.io/?EIO=4&transport=polling&EIO=3&sid=a&transport=websocket&sid=b", Some("a")),
            ("/socket.io/?EIO=4&transport=polling&", None),
            ("/socket.io/?EIO=4=3&transport=polling=websocket&sid=a=b", Some("a=b")),
        ] {
            let query = EngineQuery { session, transport: Transport::Polling, is_v3: false };
            assert_eq!(EngineQuery::of(&request(uri), "/socket.io"), Some(query), "{uri}");
        }
    }

    #[test]
    fn other_requests_are_not_the_engines() {
        for uri in [
            "/socket.io-admin/?EIO=4&transport=polling",
            "/?transport=polling",
            "/socket.io/",
            "/socket.io/?transport=x",
        ] {
            assert_eq!(EngineQuery::of(&request(uri), "/socket.io"), None, "{uri}");
        }
    }
}
