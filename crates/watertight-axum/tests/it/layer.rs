//! Plain HTTP requests that panic.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;
use watertight::{Attribution, Connection, Verdict};
use watertight_axum::GuardLayer;

use crate::bystanders::Bystanders;
use crate::http::Http;
use crate::server::{Each, Left, PanicsInCall, Server, turn};

/// Would reveal a request that costs the connection, which may be a reverse proxy's and carry other clients' requests,
/// or that somebody is blamed for it. And a panic's text in the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_panics_answers_500_and_keeps_the_connection() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let mut http = Http::connect(server.address).await;
    assert_eq!(http.get("/health").await, (200, "OK".to_owned()));
    let left = Left::now();
    for (path, text) in [("/panic", "panic in a route"), ("/panic_with_payload", "panic of a payload")] {
        let (status, body) = http.get(path).await;
        assert_eq!((status, &*body), (500, "500 Internal Server Error\n"));
        let incident = turn.incident(|incident| incident.message == text);
        assert_eq!((incident.attribution, incident.verdict), (Attribution::Unattributed, Verdict::Ignore));
        assert!(incident.offender.is_none());
        assert_eq!(http.get("/health").await, (200, "OK".to_owned()));
    }
    assert_eq!(Left::now(), left, "nobody was disconnected");
    drop(http);
    bystanders.noticed_nothing().await;
}

/// Would reveal a service whose panic before there is a future goes through the layer. Axum's own never do that.
#[tokio::test]
async fn a_service_that_panics_in_call_answers_500() {
    let _turn = turn().await;
    let mut service = GuardLayer::new().layer(PanicsInCall);
    let response = service.call(Request::new(Body::empty())).await.expect("infallible");
    assert_eq!(response.status(), 500);
}

/// Would reveal a connection that stays in the task table when its client has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_requests() {
    let _turn = turn().await;
    let server = Server::start().await;
    let left = Left::now();
    for _ in 0..10 {
        let mut http = Http::connect(server.address).await;
        assert_eq!(http.get("/panic").await.0, 500);
    }
    left.is_back(Duration::from_secs(1)).await;
}

/// Asks a server once over each of three connections.
async fn asked_over_three_connections<S: IntoFuture<Output = std::io::Result<()>>>(
    serve: impl FnOnce(TcpListener) -> S,
) where
    S::IntoFuture: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(serve(listener).into_future());
    for _ in 0..3 {
        assert_eq!(Http::connect(address).await.get("/").await, (200, "OK".to_owned()));
    }
    serving.abort();
}

/// Would reveal a router that is made anew for each connection, which costs each of them some KiB, and a service other than
/// a router that is not asked for one for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_share_a_router() {
    let _turn = turn().await;
    let made = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&made);
    let layer = tower_layer::layer_fn(move |service| {
        counts.fetch_add(1, Ordering::Relaxed);
        service
    });
    let app = Router::new().route("/", get(async || "OK").layer(layer));
    // The layer of what answers other methods is made at once.
    made.store(0, Ordering::Relaxed);
    asked_over_three_connections(|listener| watertight_axum::serve(listener, app.clone())).await;
    assert_eq!(made.swap(0, Ordering::Relaxed), 1);
    let makes = Each(app);
    asked_over_three_connections(|listener| watertight_axum::serve(listener, makes)).await;
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

/// Would reveal a server that asks for the addresses of its clients and is not told, and requests that carry what nobody has
/// asked for: each of it is allocated for each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_carry_what_is_asked_for() {
    let _turn = turn().await;
    let carried = async |request: Request| {
        let extensions = request.extensions();
        let info = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(client)| *client);
        format!("{} {info:?}", extensions.get::<Connection>().is_some())
    };
    let app = Router::new().route("/", get(carried));
    for asked in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serve = watertight_axum::serve(listener, app.clone());
        let serve = if asked { serve.with_connect_info() } else { serve };
        let serving = tokio::spawn(serve.into_future());
        let mut http = Http::connect(address).await;
        let client = http.address();
        let info = asked.then_some(client);
        for (path, has_connection) in [
            ("/", true),
            ("/?EIO=4&transport=polling", true),
            ("/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA", true),
            ("/?EIO=4&transport=polling&t=x&sid=AAAAAAAAAAAAAAAA", false),
        ] {
            assert_eq!(http.get(path).await, (200, format!("{has_connection} {info:?}")), "{path}");
        }
        serving.abort();
    }
}
