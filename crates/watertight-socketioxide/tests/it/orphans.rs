//! Sessions that poll and that one registry knows and another does not.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use parking_lot::Mutex;
use watertight::{Attribution, Fault, Registry, Report, Verdict};
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::SocketRef;

use crate::client::{Bystander, DEADLINE};
use crate::polling::PollingClient;
use crate::server::{echo, incidents_of, is_gone, serve, serve_router, sink};

/// Requests that somebody before the engine has begun and does not go on with.
static STUCK: Mutex<Vec<Pin<Box<dyn Future<Output = Response> + Send>>>> = Mutex::new(Vec::new());

/// A middleware that gets stuck with every request that says so.
async fn gets_stuck(request: Request, next: Next) -> Response {
    let stuck = request.uri().query().is_some_and(|query| query.contains("stuck"));
    let mut response: Pin<Box<dyn Future<Output = Response> + Send>> = Box::pin(next.run(request));
    if !stuck {
        return response.await;
    }
    assert!(response.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    STUCK.lock().push(response);
    StatusCode::BAD_GATEWAY.into_response()
}

/// Some fault that is nobody's: orphans are looked for all the time then.
fn enter_recovery_mode() {
    let report = Report::new(Fault::Panic, Attribution::Unattributed, None, None, "a background task");
    watertight::submit(Box::new(report));
}

fn namespace(io: &SocketIo<LocalAdapter>) {
    io.ns("/orphans", async |socket: SocketRef| echo(&socket));
}

async fn in_recovery_mode() -> (SocketAddr, SocketIo<LocalAdapter>) {
    let served = serve_router(SocketIo::builder(), namespace, |app: Router| {
        app.layer(middleware::from_fn(gets_stuck))
    })
    .await;
    enter_recovery_mode();
    served
}

/// A poll that never ends keeps the engine from telling anybody that it has closed the session: without us its socket
/// would stay in its namespace and rooms for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_engine_has_dropped_is_found_within_two_seconds() {
    let (server, io) = in_recovery_mode().await;
    let bystander = Bystander::start(server, "/orphans").await;
    let client = PollingClient::join(server, "/orphans").await;
    assert_eq!(client.poll("&stuck").await.status, 502);
    let lost = Instant::now();
    assert_eq!(client.post("1").await.body, "ok", "it leaves");
    assert_eq!(client.post("").await.status, 400, "the engine has dropped it");
    let sockets = io.of("/orphans").expect("the namespace").sockets();
    assert!(sockets.iter().any(|socket| socket.id.as_str() == client.sid), "and it is in the namespace");
    drop(sockets);

    let incident = &incidents_of(&client.sid, 1).await[0];
    assert!(lost.elapsed() < Duration::from_secs(2), "found after {:?}", lost.elapsed());
    assert_eq!((incident.fault, incident.verdict), (Fault::Orphan, Verdict::Disconnect));
    assert!(incident.message.contains("the engine does not know"), "{}", incident.message);
    is_gone(&io, &client.sid, DEADLINE).await;
    bystander.finish().await;
}

/// The reverse: the engine serves a session that nobody could seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_only_the_engine_knows_is_closed_at_its_next_request() {
    let (server, io) = serve(namespace).await;
    let bystander = Bystander::start(server, "/orphans").await;
    let client = PollingClient::join(server, "/orphans").await;
    let compartment = Registry::global().by_session(&client.sid).expect("it is connected");
    Registry::global().forget(&compartment);
    assert_eq!(client.poll("").await.status, 200, "it is let go");
    assert_eq!(client.poll("").await.status, 400, "and has to open another one");
    is_gone(&io, &client.sid, DEADLINE).await;
    let named = |incident: &std::sync::Arc<watertight::Incident>| {
        incident.fault == Fault::Orphan && incident.message.contains(&client.sid)
    };
    let incident = sink().incidents().into_iter().find(named).expect("it is recorded");
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Unattributed, Verdict::Ignore));
    bystander.finish().await;
}

/// Would reveal a false alarm: one that waits in a poll, one between two polls, one that has just begun, one that leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_engine_has_is_no_orphan() {
    let (server, io) = in_recovery_mode().await;
    let waits = PollingClient::join(server, "/orphans").await;
    let pauses = PollingClient::join(server, "/orphans").await;
    let begins = PollingClient::open(server).await;
    let sids = [waits.sid.clone(), pauses.sid.clone(), begins.sid.clone()];
    // The engine's first ping may come only now.
    let waiting = tokio::spawn(async move { while waits.poll("").await.body == "2" {} });
    let until = Instant::now() + Duration::from_secs(4);
    let mut left = Vec::new();
    while Instant::now() < until {
        let leaves = PollingClient::join(server, "/orphans").await;
        assert_eq!(leaves.post("1").await.body, "ok");
        is_gone(&io, &leaves.sid, DEADLINE).await;
        left.push(leaves.sid);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!waiting.is_finished(), "nothing was sent to it");
    for sid in sids.iter().chain(&left) {
        assert!(incidents_of(sid, 0).await.is_empty(), "a false alarm of {sid}");
    }
    // What was asked of the engine has not been answered for the client.
    pauses.emit("/orphans", "echo", 7.into()).await;
    assert!(pauses.poll("").await.body.contains(r#"["echo",7]"#));
    waiting.abort();
}
