//! Heads of requests that are kept for long.
//!
//! hyper reads a connection into a buffer of 16 KiB, and the address and the header values of a request are slices of it.
//! Whoever keeps a request for as long as a session lives (socketioxide does, for the application) keeps the buffer with
//! it: nearly half of what an idle connection takes there. A copy of the head is some hundred bytes.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Uri, header};

/// Gives the request a head of its own when it is one that is kept: it upgrades its connection, or opens an Engine.IO
/// session. Nothing that is posted does. Not for those that [poll](polls).
pub(crate) fn detach<B>(request: &mut Request<B>) {
    let posts = *request.method() == Method::POST;
    if !posts && (opens_session(request.uri()) || request.headers().contains_key(header::UPGRADE)) {
        copy(request);
    }
}

/// Whether a request that does not upgrade says that it goes on with an Engine.IO session by polling. Nearly every
/// request of a client that polls does, so it is known by how official clients begin their queries.
pub(crate) fn polls(uri: &Uri) -> bool {
    let Some(query) = uri.query().map(str::as_bytes) else { return false };
    let pairs =
        query.strip_prefix(b"EIO=4&transport=polling&").or(query.strip_prefix(b"EIO=3&transport=polling&"));
    pairs.is_some_and(|pairs| {
        // At the end, as theirs is and as long as the engine's ids are, or anywhere.
        pairs.last_chunk::<21>().is_some_and(|end| end.starts_with(b"&sid="))
            || pairs.split(|byte| *byte == b'&').any(|pair| pair.starts_with(b"sid="))
    })
}

/// Whether the address is one that a client of Engine.IO has before it has a session.
fn opens_session(uri: &Uri) -> bool {
    let pairs = || uri.query().unwrap_or_default().split('&');
    pairs().any(|pair| pair.starts_with("EIO=")) && !pairs().any(|pair| pair.starts_with("sid="))
}

fn copy<B>(request: &mut Request<B>) {
    // What is no address or value any more when it is read again stays what it was.
    if let Ok(uri) = Uri::from_maybe_shared(Bytes::from(request.uri().to_string())) {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values_mut() {
        values.extend_from_slice(value.as_bytes());
        if let Ok(mut copied) = HeaderValue::from_maybe_shared(values.split().freeze()) {
            copied.set_sensitive(value.is_sensitive());
            *value = copied;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper has read, and the request in it.
    fn request(target: &str, values: &[(&'static str, &str)]) -> (Bytes, Request<()>) {
        let text: String = std::iter::once(target).chain(values.iter().map(|(_, value)| *value)).collect();
        let read = Bytes::from(text);
        let mut at = target.len();
        let uri = Uri::from_maybe_shared(read.slice(..at)).expect("an address");
        let mut request = Request::builder().uri(uri).body(()).expect("a request");
        for (name, value) in values {
            let value = HeaderValue::from_maybe_shared(read.slice(at..at + value.len())).expect("a value");
            at += value.len();
            request.headers_mut().append(*name, value);
        }
        (read, request)
    }

    /// Would reveal a head that keeps what was read around it.
    #[test]
    fn what_was_read_is_let_go() {
        let values = [("upgrade", "websocket"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-own", "\u{e9}")];
        let (read, mut request) = request("/socket.io/?EIO=4&transport=websocket", &values);
        request.headers_mut().get_mut("x-own").expect("it is there").set_sensitive(true);
        let before = request.headers().clone();
        assert!(!read.is_unique());
        detach(&mut request);
        assert_eq!(*request.headers(), before);
        assert_eq!(request.uri(), "/socket.io/?EIO=4&transport=websocket");
        assert!(request.headers()["x-own"].is_sensitive() && !request.headers()["upgrade"].is_sensitive());
        drop(before);
        assert!(read.is_unique());
    }

    #[test]
    fn whoever_polls_is_known_by_the_query() {
        let polls = |target: &'static str| super::polls(&Uri::from_static(target));
        assert!(polls("/socket.io/?EIO=4&transport=polling&t=x&sid=y"));
        assert!(polls("/socket.io/?EIO=3&transport=polling&sid=y&t=x"));
        for other in [
            "/",
            "/socket.io/?EIO=4&transport=polling&t=x",
            "/socket.io/?EIO=4&transport=websocket&sid=x",
            "/socket.io/?transport=websocket&EIO=4&transport=polling&sid=x",
            "/socket.io/?EIO=4&transport=polling&xsid=x",
        ] {
            assert!(!polls(other), "{other}");
        }
    }

    #[test]
    fn requests_that_are_soon_done_are_left_alone() {
        for target in
            ["/", "/socket.io/?EIO=4&transport=polling&sid=x", "/socket.io/?sid=x&EIO=4", "/?a=EIO=4"]
        {
            let (read, mut request) = request(target, &[("accept", "*/*")]);
            detach(&mut request);
            assert!(!read.is_unique(), "{target}");
        }
        let (read, mut request) = request("/socket.io/?EIO=4&transport=polling", &[("accept", "*/*")]);
        *request.method_mut() = Method::POST;
        detach(&mut request);
        assert!(!read.is_unique());
        *request.method_mut() = Method::GET;
        detach(&mut request);
        assert!(read.is_unique());
    }
}
