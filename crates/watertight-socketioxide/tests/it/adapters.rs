//! An adapter of the user's own: the drop-in is generic over it, and its sockets are guarded.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use socketioxide_core::adapter::{
    BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter, Spawnable,
};
use socketioxide_core::packet::Packet;
use watertight::Registry;
use watertight_faults::panic_now;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::{Adapter, Emitter};
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};

use crate::client::{Client, DEADLINE, Packet as Received};
use crate::server::{incidents_of, sink};

/// Starts up asynchronously, as adapters that reach other nodes do, and is local otherwise.
struct Slow(CoreLocalAdapter<Emitter>);

struct Starting(tokio::task::JoinHandle<()>);

impl Spawnable for Starting {
    fn spawn(self) {}
}

impl Future for Starting {
    type Output = ();
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|started| started.unwrap())
    }
}

impl CoreAdapter<Emitter> for Slow {
    type Error = Infallible;
    type State = u8;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = Starting;

    fn new(_: &u8, local: CoreLocalAdapter<Emitter>) -> Self {
        Self(local)
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Starting {
        Starting(tokio::spawn(async move {
            tokio::task::yield_now().await;
            on_success();
        }))
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.0.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.0
    }
}

impl DefinedAdapter for Slow {}

async fn connect<A: Adapter>(socket: SocketRef<A>, _: SocketIo<A>) {
    socket.on("echo", async |Data::<Value>(data), ack: AckSender<A>| {
        ack.send(&data).ok();
    });
    socket.on("boom", async |_: SocketRef<A>| panic_now("a handler"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_adapter_is_guarded() {
    sink();
    let (layer, io) = SocketIo::builder().with_adapter::<Slow>(1).build_layer();
    io.ns("/slow", connect::<Slow>).await;
    io.dyn_ns("/slow-{id}", connect::<Slow>).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move { watertight_axum::serve(listener, Router::new().layer(layer)).await });
    for ns in ["/slow", "/slow-7"] {
        let mut bystander = Client::join(server, ns).await;
        let mut client = Client::join(server, ns).await;
        assert_eq!(client.ask(ns, "echo", Value::from(1)).await, Value::from(1));
        client.emit(ns, "boom", Value::Null).await;
        client.until(|packet| packet.is_event("incident")).await;
        assert_eq!(client.next().await, Received::Closed);
        assert_eq!(incidents_of(&client.sid, 1).await.len(), 1);
        let left = || io.of(ns).map_or(0, |ns| ns.sockets().len());
        let gone = async {
            while left() != 1 || Registry::global().by_session(&client.sid).is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("nothing is left of it");
        assert_eq!(bystander.ask(ns, "echo", Value::from(2)).await, Value::from(2));
    }
}
