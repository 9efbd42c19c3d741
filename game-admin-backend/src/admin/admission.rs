//! Who may enter the namespace of operators.
//!
//! With `admin.token` set: whoever presents it as `{token}` when connecting. Without it: only programs on this machine. A
//! web page that a browser on this machine shows is not one of them, although its connection comes from here too: the
//! browser gives it away by `Origin` or, where a foreign name was made to point here, by `Host`. A proxy on this machine
//! makes everyone look local, so behind one a token is a must.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};
use serde_json::Value;
use tracing::{info, warn};
use watertight_socketioxide::extract::{SocketRef, State, TryData};

use crate::{
    Shared,
    namespaces::peer,
    settings::{Secret, Settings},
};

/// Why someone may not enter. The text is what the client gets as `connect_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is a token and none was presented.
    #[error("unauthorized: a token is required")]
    TokenMissing,
    /// There is a token and another was presented.
    #[error("unauthorized: the token is wrong")]
    TokenWrong,
    /// There is no token, and the client is on another machine, or it is unknown where.
    #[error("unauthorized: only clients on the server's machine may enter while admin.token is not set")]
    NotLocal,
    /// There is no token, and the client is a web page from elsewhere.
    #[error("unauthorized: web pages from elsewhere may not enter while admin.token is not set")]
    ForeignPage,
    /// There is no token, and the client came through a proxy.
    #[error("unauthorized: nobody may enter through a proxy while admin.token is not set")]
    Forwarded,
}

/// What proxies add to the requests of others. Anybody can write them, so they let nobody in; they only keep out.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Connect middleware of the namespace.
///
/// # Errors
///
/// If the client may not enter.
pub async fn admit(
    socket: SocketRef,
    TryData(auth): TryData<Value>,
    State(shared): State<Shared>,
) -> Result<(), Refusal> {
    let request = socket.req_parts();
    let token = shared.settings.admin.token.as_ref();
    let auth = auth.ok();
    let attempt = auth.as_ref().and_then(presented);
    decide(token, attempt, peer(&socket), &request.headers, &request.uri).inspect_err(|refusal| {
        warn!(socket_id = %socket.id, peer = ?peer(&socket), "an operator is refused: {refusal}");
    })
}

/// Whether whoever asks over plain HTTP may see what operators see: the same rules, with the token as
/// `Authorization: Bearer TOKEN`.
#[must_use]
pub fn admits(settings: &Settings, peer: SocketAddr, headers: &HeaderMap, uri: &Uri) -> bool {
    let attempt = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let attempt = attempt.and_then(|value| value.strip_prefix("Bearer "));
    decide(settings.admin.token.as_ref(), attempt, Some(peer), headers, uri).is_ok()
}

/// Says at start, once, when the door is locked for most.
pub fn warn_of_missing_token(token: Option<&Secret>, listen: SocketAddr) {
    if token.is_none() && is_local(listen.ip()) {
        info!(
            "admin.token is not set: operators can only connect from this machine, and not through a proxy"
        );
    }
    if token.is_none() && !is_local(listen.ip()) {
        warn!(
            %listen,
            "admin.token is not set while the server can be reached from other machines: operators can only connect from \
             this one, and a proxy on this machine that adds no headers would let everyone in; set admin.token"
        );
    }
}

/// The token in what a client presents when it connects.
fn presented(auth: &Value) -> Option<&str> {
    auth.get("token").and_then(Value::as_str)
}

fn decide(
    token: Option<&Secret>,
    attempt: Option<&str>,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Refusal> {
    if let Some(token) = token {
        let attempt = attempt.ok_or(Refusal::TokenMissing)?;
        return if token.matches(attempt) { Ok(()) } else { Err(Refusal::TokenWrong) };
    }
    if !peer.is_some_and(|peer| is_local(peer.ip())) {
        return Err(Refusal::NotLocal);
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(Refusal::Forwarded);
    }
    let origins = headers.get_all(header::ORIGIN).iter().map(|origin| {
        let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| origin.host().is_some_and(is_local_name))
    });
    let hosts = headers.get_all(header::HOST).iter().map(|host| {
        let host: Option<axum::http::uri::Authority> = host.to_str().ok().and_then(|host| host.parse().ok());
        host.is_some_and(|host| is_local_name(host.host()))
    });
    let target = uri.host().map(is_local_name);
    if origins.chain(hosts).chain(target).all(|local| local) { Ok(()) } else { Err(Refusal::ForeignPage) }
}

fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_local_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HERE: &str = "127.0.0.1:5000";
    const ELSEWHERE: &str = "10.0.0.1:5000";

    fn with_token(auth: Option<Value>) -> Result<(), Refusal> {
        let token = Secret::new("open sesame");
        let attempt = auth.as_ref().and_then(presented);
        decide(Some(&token), attempt, ELSEWHERE.parse().ok(), &HeaderMap::new(), &Uri::default())
    }

    fn without_token(peer: Option<&str>, headers: &[(header::HeaderName, &str)]) -> Result<(), Refusal> {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect();
        let peer = peer.map(|peer| peer.parse().expect("an address"));
        decide(None, Some("any"), peer, &headers, &Uri::default())
    }

    #[test]
    fn a_token_opens_from_anywhere_and_nothing_else_does() {
        assert_eq!(with_token(Some(json!({"token": "open sesame"}))), Ok(()));
        assert_eq!(with_token(Some(json!({"token": "open sesam"}))), Err(Refusal::TokenWrong));
        assert_eq!(with_token(Some(json!({"token": ""}))), Err(Refusal::TokenWrong));
        for missing in [None, Some(json!({})), Some(json!({"token": 5})), Some(json!("open sesame"))] {
            assert_eq!(with_token(missing), Err(Refusal::TokenMissing));
        }
    }

    #[test]
    fn over_plain_http_the_token_is_the_bearers() {
        let mut settings = Settings::default();
        settings.admin.token = Some(Secret::new("open sesame"));
        let peer = ELSEWHERE.parse().expect("an address");
        for (authorization, may) in [
            ("Bearer open sesame", true),
            ("Bearer open", false),
            ("open sesame", false),
            ("Basic open sesame", false),
        ] {
            let value = authorization.parse().expect("a value");
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            assert_eq!(admits(&settings, peer, &headers, &Uri::default()), may, "{authorization}");
        }
        assert!(!admits(&settings, peer, &HeaderMap::new(), &Uri::default()));
    }

    #[test]
    fn a_local_client_needs_the_token_too_if_there_is_one() {
        let token = Secret::new("open sesame");
        let decision = decide(Some(&token), None, HERE.parse().ok(), &HeaderMap::new(), &Uri::default());
        assert_eq!(decision, Err(Refusal::TokenMissing));
    }

    #[test]
    fn without_a_token_only_this_machine_may_enter() {
        for here in [HERE, "127.8.8.8:1", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            assert_eq!(without_token(Some(here), &[]), Ok(()), "{here}");
        }
        for elsewhere in [Some(ELSEWHERE), Some("[::ffff:10.0.0.1]:1"), Some("0.0.0.0:1"), None] {
            assert_eq!(without_token(elsewhere, &[]), Err(Refusal::NotLocal), "{elsewhere:?}");
        }
    }

    /// A page in an operator's browser could otherwise kick players: browsers let any page open a WebSocket to localhost.
    #[test]
    fn without_a_token_no_foreign_page_may_enter() {
        for (name, value) in [
            (header::ORIGIN, "https://evil.example"),
            (header::ORIGIN, "null"),
            (header::ORIGIN, "http://localhost.evil.example"),
            (header::HOST, "evil.example:3002"),
            (header::HOST, "127.0.0.1.evil.example"),
        ] {
            assert_eq!(without_token(Some(HERE), &[(name, value)]), Err(Refusal::ForeignPage), "{value}");
        }
        for (origin, host) in [
            ("http://localhost:3002", "localhost:3002"),
            ("http://127.0.0.1:5173", "127.0.0.1:3002"),
            ("http://[::1]:3002", "[::1]:3002"),
        ] {
            assert_eq!(
                without_token(Some(HERE), &[(header::ORIGIN, origin), (header::HOST, host)]),
                Ok(()),
                "{origin}"
            );
        }
    }

    #[test]
    fn without_a_token_nobody_enters_through_a_proxy() {
        for name in FORWARDED {
            let mut headers = HeaderMap::new();
            headers.insert(name, "203.0.113.9".parse().expect("a value"));
            let decided = decide(None, None, HERE.parse().ok(), &headers, &Uri::default());
            assert!(matches!(decided, Err(Refusal::Forwarded)), "{name}: {decided:?}");
        }
    }
}
