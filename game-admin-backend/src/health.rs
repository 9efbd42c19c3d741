//! Plain HTTP: is the server well, and what is it.

use axum::{Json, Router, routing::get};
use serde::Serialize;

use crate::{admin, metrics, players, ready};

/// `GET /health`, which answers exactly `OK`, and `GET /`, which says in JSON what this server is.
pub fn routes() -> Router {
    Router::new().route("/health", get(health)).route("/", get(about))
}

async fn health() -> &'static str {
    "OK"
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    name: &'static str,
    version: &'static str,
    socket_io: &'static str,
    namespaces: [&'static str; 2],
    health: &'static str,
    ready: &'static str,
    metrics: &'static str,
}

async fn about() -> Json<About> {
    Json(About {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        socket_io: "/socket.io/",
        namespaces: [players::NAMESPACE, admin::NAMESPACE],
        health: "/health",
        ready: ready::PATH,
        metrics: metrics::PATH,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
    };
    use tower::ServiceExt as _;

    async fn fetch(path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = routes().oneshot(request).await.expect("routes do not fail");
        let status = answer.status();
        let content_type = answer.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = to_bytes(answer.into_body(), 10_000).await.expect("a short body");
        (status, content_type, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn health_is_exactly_ok() {
        let (status, content_type, body) = fetch("/health").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "OK"));
        assert!(content_type.starts_with("text/plain"), "{content_type}");
    }

    #[tokio::test]
    async fn the_root_says_what_this_is() {
        let (status, content_type, body) = fetch("/").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(content_type, "application/json");
        let about: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(about["name"], "game-admin-backend");
        assert_eq!((&about["health"], &about["ready"]), (&"/health".into(), &"/ready".into()));
    }
}
