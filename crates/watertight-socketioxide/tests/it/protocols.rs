//! Other protocols and servers: Engine.IO 3, MessagePack, plain hyper.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use watertight::ServerId;
use watertight_axum::GuardedIo;
use watertight_faults::panic_now;
use watertight_socketioxide::extract::SocketRef;
use watertight_socketioxide::{ParserConfig, SocketIo};

use crate::client::{Bystander, Client, DEADLINE, Packet};
use crate::server::{echo, incidents_of, is_gone, serve, serve_with, sink};

const SOON: Duration = Duration::from_secs(1);

fn boom(socket: &SocketRef) {
    echo(socket);
    socket.on("boom", async || panic_now("a handler"));
}

/// Protocol v4 clients are in `/` from the start and ping by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocol_v4() {
    let (server, io) = serve(|io| io.ns("/", async |socket: SocketRef| boom(&socket))).await;
    let bystander = Bystander::start(server, "/").await;
    let url = format!("ws://{server}/socket.io/?EIO=3&transport=websocket");
    let (mut ws, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let next = async |ws: &mut WebSocketStream<_>| match tokio::time::timeout(DEADLINE, ws.next())
        .await
        .expect("something within the deadline")
    {
        Some(Ok(Message::Text(text))) => Some(text.to_string()),
        _ => None,
    };
    let open = next(&mut ws).await.expect("an open packet");
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let sid = open["sid"].as_str().unwrap().to_owned();
    assert_eq!(next(&mut ws).await.as_deref(), Some("40"));
    ws.send(Message::text(r#"42["boom"]"#)).await.unwrap();
    let told = next(&mut ws).await.expect("the incident");
    let id = incidents_of(&sid, 1).await[0].id.to_string();
    assert!(told.starts_with(r#"42["incident""#) && told.contains(&id), "{told}");
    assert_eq!(next(&mut ws).await, None, "then the close");
    is_gone(&io, &sid, SOON).await;
    bystander.finish().await;
}

/// The MessagePack parser: the notice is found in binary frames as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn msgpack() {
    let builder = SocketIo::builder().with_parser(ParserConfig::msgpack());
    let (server, io) = serve_with(builder, |io| io.ns("/", async |socket: SocketRef| boom(&socket))).await;
    let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
    let (mut ws, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let open = ws.next().await.unwrap().unwrap().into_text().unwrap();
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    let sid = open["sid"].as_str().unwrap().to_owned();
    let encode = |value: serde_json::Value| {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &rmpv::ext::to_value(value).unwrap()).unwrap();
        Message::binary(bytes)
    };
    let join = encode(serde_json::json!({"type": 0, "nsp": "/", "data": null}));
    let boom = encode(serde_json::json!({"type": 2, "nsp": "/", "data": ["boom", 1]}));
    // The engine's own pings are text.
    let packet = async |ws: &mut WebSocketStream<_>| loop {
        let message = tokio::time::timeout(DEADLINE, ws.next()).await.unwrap().unwrap().unwrap();
        if message.is_binary() {
            return message.into_data();
        }
    };
    ws.send(join).await.unwrap();
    packet(&mut ws).await;
    ws.send(boom).await.unwrap();
    let told = packet(&mut ws).await;
    let incident = &incidents_of(&sid, 1).await[0];
    let id = incident.id.to_string();
    assert!(told.windows(id.len()).any(|window| window == id.as_bytes()), "{told:?}");
    assert!(incident.sealed_after.unwrap() < Duration::from_millis(250), "it was not waited for in vain");
    is_gone(&io, &sid, SOON).await;
}

/// Without axum: the service on plain hyper, with the guarded IO and without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_hyper() {
    sink();
    for guarded_io in [true, false] {
        let (service, io) = SocketIo::new_svc();
        io.ns("/hyper", async |socket: SocketRef| boom(&socket));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let id = ServerId::new();
            loop {
                let (tcp, peer) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    if guarded_io {
                        let tcp = GuardedIo::new(tcp, Some(peer), id);
                        let connection = tcp.connection();
                        let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
                            request.extensions_mut().insert(connection.clone());
                            hyper::service::Service::call(&service, request)
                        });
                        builder.serve_connection_with_upgrades(TokioIo::new(tcp), service).await
                    } else {
                        builder.serve_connection_with_upgrades(TokioIo::new(tcp), service).await
                    }
                });
            }
        });
        let bystander = Bystander::start(server, "/hyper").await;
        let mut client = Client::join(server, "/hyper").await;
        client.emit("/hyper", "boom", serde_json::Value::Null).await;
        client.until(|packet| packet.is_event("incident")).await;
        let end = client.next().await;
        if guarded_io {
            assert_eq!(end, Packet::Closed);
        } else {
            // Nobody can close that transport from outside: the socket is disconnected from its namespace.
            assert_eq!(end, Packet::Disconnect { ns: "/hyper".to_owned() });
        }
        is_gone(&io, &client.sid, SOON).await;
        bystander.finish().await;
    }
}
