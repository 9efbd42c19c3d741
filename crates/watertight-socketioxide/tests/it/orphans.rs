//! Sessions that poll and that one registry knows and another does not.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use watertight::{Attribution, Fault, Registry, Report, Verdict};
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::SocketRef;

use crate::client::{Bystander, DEADLINE};
use crate::polling::PollingClient;
use crate::server::{all_are_judged, echo, incidents_of, is_gone, serve, serve_router, sink};

/// Requests that somebody before the engine has begun and does not go on with.
static STUCK: Mutex<Vec<Pin<Box<dyn Future<Output = Response> + Send>>>> = Mutex::new(Vec::new());

/// The answer to a request, or what a server sends that gets stuck with it.
async fn unless_stuck(
    query: Option<&str>,
    response: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let mut response: Pin<Box<dyn Future<Output = Response> + Send>> = Box::pin(response);
    if !query.is_some_and(|query| query.contains("stuck")) {
        return response.await;
    }
    match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => {
            STUCK.lock().push(response);
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

async fn gets_stuck(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    unless_stuck(uri.query(), next.run(request)).await
}

/// Some fault that is nobody's: orphans are looked for all the time then.
fn enter_recovery_mode() {
    let report = Report::new(Fault::Panic, Attribution::Unattributed, None, None, "a background task");
    watertight::submit(Box::new(report));
}

fn namespace(io: &SocketIo<LocalAdapter>) {
    io.ns("/orphans", async |socket: SocketRef| echo(&socket));
}

/// What asks the engine: each asks its own.
#[derive(Debug, Clone, Copy)]
enum Server {
    Tower,
    Hyper,
}

impl Server {
    const ALL: [Self; 2] = [Self::Tower, Self::Hyper];

    async fn start(self) -> (SocketAddr, SocketIo<LocalAdapter>) {
        let served = match self {
            Self::Tower => {
                let around = |app: Router| app.layer(middleware::from_fn(gets_stuck));
                serve_router(SocketIo::builder(), namespace, around).await
            }
            Self::Hyper => serve_hyper().await,
        };
        enter_recovery_mode();
        served
    }
}

/// The same without axum.
async fn serve_hyper() -> (SocketAddr, SocketIo<LocalAdapter>) {
    sink();
    let (service, io) = SocketIo::new_svc();
    namespace(&io);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let service = service.clone();
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let uri = request.uri().clone();
                let response = hyper::service::Service::call(&service, request);
                async move {
                    let response = async { response.await.expect("never fails").map(Body::new) };
                    Ok::<_, Infallible>(unless_stuck(uri.query(), response).await)
                }
            });
            tokio::spawn(async move {
                let http = Builder::new(TokioExecutor::new());
                http.serve_connection_with_upgrades(TokioIo::new(tcp), service).await
            });
        }
    });
    (address, io)
}

/// A poll that never ends keeps the engine from telling anybody that it has closed the session: without us its socket
/// would stay in its namespace and rooms for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_engine_has_dropped_is_found_within_two_seconds() {
    for server in Server::ALL {
        is_found_within_two_seconds(server).await;
    }
}

async fn is_found_within_two_seconds(server: Server) {
    let (server, io) = server.start().await;
    let bystander = Bystander::start(server, "/orphans").await;
    let client = PollingClient::join(server, "/orphans").await;
    // One that finds something is answered.
    loop {
        let answer = client.poll("&stuck").await;
        if answer.status == 502 {
            break;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let lost = SystemTime::now();
    assert_eq!(client.post("1").await.body, "ok", "it leaves");
    assert_eq!(client.post("").await.status, 400, "the engine has dropped it");
    let sockets = io.of("/orphans").expect("the namespace").sockets();
    assert!(sockets.iter().any(|socket| socket.id.as_str() == client.sid), "and it is in the namespace");
    drop(sockets);

    let incident = &incidents_of(&client.sid, 1).await[0];
    let found = incident.time.duration_since(lost).expect("the clock goes on");
    assert!(found < Duration::from_secs(2), "found after {found:?}");
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
    all_are_judged().await;
    let incident = sink().incidents().into_iter().find(named).expect("it is recorded");
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Unattributed, Verdict::Ignore));
    bystander.finish().await;
}

/// Would reveal a false alarm: one that waits in a poll, one between two polls, one that has just begun, one that leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_engine_has_is_no_orphan() {
    let [tower, hyper] = Server::ALL.map(none_is_an_orphan);
    tokio::join!(tower, hyper);
}

async fn none_is_an_orphan(server: Server) {
    let (server, io) = server.start().await;
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
