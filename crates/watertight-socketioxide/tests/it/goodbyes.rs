//! After a disconnect nothing is left, whatever the disconnect handler does. socketioxide alone leaks the socket
//! in its rooms and namespace in each of these cases.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use watertight::{ActivityKind, Fault, Verdict};
use watertight_faults::panic_now;
use watertight_socketioxide::adapter::Adapter;
use watertight_socketioxide::extract::{Data, SocketRef};
use watertight_socketioxide::handler::FromDisconnectParts;
use watertight_socketioxide::socket::{DisconnectReason, Socket};

use crate::client::{Bystander, Client};
use crate::server::{echo, incidents_of, is_gone, serve};

const SOON: Duration = Duration::from_secs(1);

/// An extractor that refuses.
struct Refuses;
/// An extractor that panics.
struct Panics;

impl<A: Adapter> FromDisconnectParts<A> for Refuses {
    type Error = std::fmt::Error;
    fn from_disconnect_parts(_: &Arc<Socket<A>>, _: DisconnectReason) -> Result<Self, Self::Error> {
        Err(std::fmt::Error)
    }
}

impl<A: Adapter> FromDisconnectParts<A> for Panics {
    type Error = Infallible;
    fn from_disconnect_parts(_: &Arc<Socket<A>>, _: DisconnectReason) -> Result<Self, Infallible> {
        panic_now("a disconnect extractor")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_handlers_that_fail_leak_nothing() {
    let (server, io) = serve(|io| {
        io.ns("/good", async |socket: SocketRef| echo(&socket));
        io.ns("/bye", async |socket: SocketRef| {
            socket.join("room");
            echo(&socket);
            socket.on("arm", async |socket: SocketRef, Data::<String>(how)| {
                match how.as_str() {
                    "panics" => socket.on_disconnect(async || {
                        tokio::task::yield_now().await;
                        panic_now("a disconnect handler")
                    }),
                    "panics before its future" => {
                        socket.on_disconnect(|| -> Ready<()> { panic_now("a disconnect handler, early") });
                    }
                    "hangs" => socket.on_disconnect(async || std::future::pending().await),
                    "refuses" => socket.on_disconnect(async |_: Refuses| ()),
                    "extractor panics" => socket.on_disconnect(async |_: Panics| ()),
                    other => panic!("{other}?"),
                }
                socket.emit("armed", &()).ok();
            });
        });
    })
    .await;
    let bystander = Bystander::start(server, "/good").await;
    let room = || io.of("/bye").unwrap().within("room").sockets().len();
    for (how, fault) in [
        ("panics", Some(Fault::Panic)),
        ("panics before its future", Some(Fault::Panic)),
        ("hangs", Some(Fault::Deadline)),
        ("refuses", None),
        ("extractor panics", Some(Fault::Panic)),
    ] {
        let mut client = Client::join(server, "/bye").await;
        client.emit("/bye", "arm", Value::from(how)).await;
        client.until(|packet| packet.is_event("armed")).await;
        assert_eq!(room(), 1, "{how}: it is in the room");
        let sid = client.sid.clone();
        drop(client.into_inner());
        is_gone(&io, &sid, SOON).await;
        assert_eq!(room(), 0, "{how}: the room still has it");
        if let Some(fault) = fault {
            let incident = &incidents_of(&sid, 1).await[0];
            assert_eq!(incident.fault, fault, "{how}");
            assert_eq!(incident.verdict, Verdict::Ignore, "{how}: it has left already");
            assert_eq!(
                incident.activity.as_ref().map(|activity| activity.kind()),
                Some(ActivityKind::Disconnect)
            );
        }
    }
    bystander.finish().await;
}

/// A good handler still sees the socket in its rooms, and runs once, also when its socket is sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_handler_runs_once_and_before_the_clean_up() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static ROOMS: AtomicUsize = AtomicUsize::new(0);
    let (server, io) = serve(|io| {
        io.ns("/tidy", async |socket: SocketRef| {
            socket.join("room");
            echo(&socket);
            socket.on("boom", async || panic_now("a handler"));
            socket.on_disconnect(async |socket: SocketRef| {
                ROOMS.fetch_add(socket.rooms().len(), Ordering::SeqCst);
                RUNS.fetch_add(1, Ordering::SeqCst);
            });
        });
    })
    .await;
    for offends in [false, true] {
        let mut client = Client::join(server, "/tidy").await;
        // The connect handler has run once it answers.
        client.ask("/tidy", "echo", Value::Null).await;
        let sid = client.sid.clone();
        if offends {
            client.emit("/tidy", "boom", Value::Null).await;
        } else {
            drop(client.into_inner());
        }
        is_gone(&io, &sid, SOON).await;
    }
    assert_eq!((RUNS.load(Ordering::SeqCst), ROOMS.load(Ordering::SeqCst)), (2, 2));
}

/// A client that does not read until the server's buffers are full, and then panics, is gone all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_gone_as_well() {
    let (server, io) = serve(|io| {
        io.ns("/deaf", async |socket: SocketRef| {
            echo(&socket);
            socket.join("room");
            socket.on("flood", async |socket: SocketRef| {
                let chunk = "x".repeat(64 * 1024);
                // Until the send buffer is full.
                while socket.emit("chunk", &chunk).is_ok() {
                    tokio::task::yield_now().await;
                }
                panic_now("a handler with a full send buffer")
            });
        });
    })
    .await;
    let bystander = Bystander::start(server, "/deaf").await;
    let mut client = Client::join(server, "/deaf").await;
    let sid = client.sid.clone();
    client.emit("/deaf", "flood", Value::Null).await;
    let mut unread = client.into_inner();
    unread.flush().await.unwrap();
    let incident = &incidents_of(&sid, 1).await[0];
    assert!(incident.sealed_after.is_some_and(|after| after < SOON), "{:?}", incident.sealed_after);
    is_gone(&io, &sid, SOON).await;
    assert_eq!(io.of("/deaf").unwrap().within("room").sockets().len(), 1, "the bystander alone");
    // Kept open all the while: it was the server that closed.
    let _ = unread.send(Message::text("2")).await;
    bystander.finish().await;
}

/// Two namespaces over one connection are one compartment: both end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_namespaces_of_the_connection_end() {
    let (server, io) = serve(|io| {
        io.ns("/one", async |socket: SocketRef| socket.on("boom", async || panic_now("a handler")));
        io.ns("/two", async |socket: SocketRef| echo(&socket));
    })
    .await;
    let bystander = Bystander::start(server, "/two").await;
    let mut client = Client::join(server, "/one").await;
    assert_eq!(client.connect("/two").await, Ok(()));
    client.emit("/one", "boom", Value::Null).await;
    client.until(|packet| packet.is_event("incident")).await;
    is_gone(&io, &client.sid, SOON).await;
    bystander.finish().await;
}
