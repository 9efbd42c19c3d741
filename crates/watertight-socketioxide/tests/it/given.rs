//! What requests are given on their way to the engine by layers around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::json;
use watertight_faults::PanicsWhenDropped;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::extract::SocketRef;

use crate::client::{Client, Packet};
use crate::polling::PollingClient;
use crate::server::{echo, incidents_of, is_gone, serve_router};

/// The table of a request's extensions is used again by the next one on its thread.
#[tokio::test]
async fn a_request_has_nothing_that_another_was_given() {
    #[derive(Clone)]
    struct Given;

    let (seen, found) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let gives = {
        let (seen, found) = (Arc::clone(&seen), Arc::clone(&found));
        move |mut request: Request, next: Next| {
            seen.fetch_add(1, Ordering::Relaxed);
            found.fetch_add(request.extensions().get::<Given>().is_some().into(), Ordering::Relaxed);
            request.extensions_mut().insert(Given);
            next.run(request)
        }
    };
    let namespace = |io: &SocketIo<_>| io.ns("/given", async |socket: SocketRef| echo(&socket));
    let around = |app: Router| app.layer(middleware::from_fn(gives));
    let (server, _) = serve_router(SocketIo::builder(), namespace, around).await;

    let client = PollingClient::join(server, "/given").await;
    for round in 0..10 {
        client.emit("/given", "echo", json!(round)).await;
        assert!(client.poll("").await.body.contains(&format!("[\"echo\",{round}]")));
    }
    assert!(seen.load(Ordering::Relaxed) >= 20);
    assert_eq!(found.load(Ordering::Relaxed), 0);
}

/// What a layer gives a request is dropped for the client that sent it.
#[tokio::test]
async fn what_panics_as_a_request_is_let_go_of_costs_its_client() {
    async fn gives(mut request: Request, next: Next) -> Response {
        if request.uri().query().is_some_and(|query| query.contains("panics")) {
            request.extensions_mut().insert(Arc::new(PanicsWhenDropped));
        }
        next.run(request).await
    }

    let namespace = |io: &SocketIo<_>| io.ns("/given", async |socket: SocketRef| echo(&socket));
    let around = |app: Router| app.layer(middleware::from_fn(gives));
    let (server, io) = serve_router(SocketIo::builder(), namespace, around).await;

    let (mut bystander, client) =
        (Client::join(server, "/given").await, PollingClient::join(server, "/given").await);
    let answer = client.poll("&panics").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let incidents = incidents_of(&client.sid, 1).await;
    assert_eq!(incidents.len(), 1);
    is_gone(&io, &client.sid, Duration::from_secs(2)).await;

    bystander.emit("/given", "echo", json!(1)).await;
    bystander.until(|packet| matches!(packet, Packet::Event { name, .. } if name == "echo")).await;
}
