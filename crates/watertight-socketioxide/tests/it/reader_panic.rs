//! A panic inside the engine's own reader task. socketioxide alone then has a deaf zombie: the client stays
//! "connected", its messages vanish, and everything of it stays until the heartbeat.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use serde_json::json;
use watertight::{Attribution, Compartment, Registry, Verdict};
use watertight_faults::{FaultyListener, TransportFaults};
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::extract::SocketRef;

use crate::client::{Bystander, Client, DEADLINE, Packet};
use crate::server::{echo, incidents_of, is_gone, sink};

const PING_INTERVAL: Duration = Duration::from_millis(600);
const PING_TIMEOUT: Duration = Duration::from_millis(400);

/// The client is told through the writer, which lives; then the connection is cut from outside. What the engine
/// keeps of the session, its own object and two tasks, goes with its heartbeat at the latest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_traced_to_its_connection_and_leaves_only_what_the_heartbeat_takes() {
    sink();
    let faults = TransportFaults::new();
    let builder = SocketIo::builder().ping_interval(PING_INTERVAL).ping_timeout(PING_TIMEOUT);
    let (layer, io) = builder.build_layer();
    io.ns("/reader", async |socket: SocketRef| {
        socket.join("room");
        echo(&socket);
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let listener = FaultyListener::new(listener, faults.clone());
    tokio::spawn(async move { watertight_axum::serve(listener, Router::new().layer(layer)).await });

    let bystanders = [Bystander::start(server, "/reader").await, Bystander::start(server, "/reader").await];
    let mut client = Client::join(server, "/reader").await;
    let compartment = Registry::global().by_session(&client.sid).expect("it is known");
    faults.arm_connection(compartment.peer().expect("it came over TCP"));
    let kept: Weak<Compartment> = Arc::downgrade(&compartment);
    drop(compartment);

    let panicked = Instant::now();
    client.emit("/reader", "echo", json!("the last thing that is read")).await;
    let told = client.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "panic");
    assert_eq!(client.next().await, Packet::Closed);
    let closed = panicked.elapsed();
    is_gone(&io, &client.sid, Duration::from_secs(1)).await;
    assert_eq!(io.of("/reader").unwrap().within("room").sockets().len(), 2, "the bystanders alone");
    let incident = &incidents_of(&client.sid, 1).await[0];
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Transport, Verdict::Disconnect));

    // The engine's session object holds the request that opened it, and that the compartment's lease.
    let released = tokio::time::timeout(DEADLINE, async {
        while kept.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panicked.elapsed()
    });
    let released = released.await.expect("the heartbeat ends it");
    println!(
        "told and closed after {closed:?}; the engine let go after {released:?} (ping interval {PING_INTERVAL:?}, \
         ping timeout {PING_TIMEOUT:?})"
    );
    assert!(released <= PING_INTERVAL + PING_TIMEOUT + Duration::from_millis(500), "{released:?}");
    for bystander in bystanders {
        bystander.finish().await;
    }
}
