//! The query of an Engine.IO request.

use http::{Method, Request};
use watertight_socketioxide::fuzzing::{EngineRequest, engine_request};

use super::{MEMORY, Target, text};

pub(super) const TARGET: Target = Target {
    name: "query",
    check,
    words: &[
        "/socket.io",
        "/socket.io/",
        "/socket.io-admin",
        "?",
        "&",
        "=",
        "EIO=4",
        "EIO=3",
        "transport=polling",
        "transport=websocket",
        "sid=abc",
        "sid=",
        "&sid=",
        "transport=",
        "t=",
        "=x",
        "%26",
        "%00",
        "#",
        "//",
        "POST ",
    ],
    memory: MEMORY,
};

/// Reads what stands in the query and nothing else: a request written from what was read is read the same.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    let (method, uri) = text.strip_prefix("POST ").map_or((Method::GET, &*text), |uri| (Method::POST, uri));
    let Ok(request) = Request::builder().method(method.clone()).uri(uri).body(()) else { return };
    for path in ["/socket.io", "/socket.io/", "/"] {
        let Some(read) = engine_request(&request, path) else { continue };
        assert!(request.uri().path().starts_with(path));
        let EngineRequest { session, is_websocket, is_v3 } = &read;
        let query = request.uri().query().expect("a transport was read from it");
        assert!(session.as_ref().is_none_or(|session| query.contains(&format!("sid={session}"))));
        assert!(session.is_some() || method == Method::GET, "only a GET opens a session");
        let (version, transport) =
            (if *is_v3 { 3 } else { 4 }, if *is_websocket { "websocket" } else { "polling" });
        let session = session.as_ref().map(|session| format!("&sid={session}")).unwrap_or_default();
        let written = format!("{path}?EIO={version}&transport={transport}{session}");
        let again =
            Request::builder().method(method.clone()).uri(written).body(()).expect("it was one before");
        assert_eq!(engine_request(&again, path), Some(read));
    }
}
