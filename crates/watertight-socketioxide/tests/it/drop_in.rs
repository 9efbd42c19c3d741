//! The drop-in: code for socketioxide compiles and works with other imports, for every arity and adapter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use watertight_faults::panic_now;
use watertight_socketioxide::adapter::{Adapter, LocalAdapter};
use watertight_socketioxide::extract::{AckSender, Data, Event, Extension, SocketRef, State, TryData};
use watertight_socketioxide::handler::{ConnectHandler, MessageHandler, Value as RawValue};
use watertight_socketioxide::socket::{DisconnectReason, Socket};
use watertight_socketioxide::{ProtocolVersion, SocketIo, TransportType};

use crate::client::{Bystander, Client, Packet};
use crate::server::{echo, incidents_of, is_gone, serve, serve_with};

/// Written as a user of any adapter would.
async fn generic<A: Adapter>(socket: SocketRef<A>, io: SocketIo<A>) {
    socket.on("generic", async |socket: SocketRef<A>, io: SocketIo<A>, ack: AckSender<A>| {
        let known = io.of(socket.ns()).is_some();
        ack.send(&known).ok();
    });
    drop(io);
}

/// A handler type of the user's own.
struct Custom(Arc<AtomicUsize>);

impl<A: Adapter> MessageHandler<A, ()> for Custom {
    fn call(&self, s: Arc<Socket<A>>, _: RawValue, _: Option<i64>) {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => s.emit("custom", &true).unwrap(),
            1 => panic_now("a handler type of the user's own"),
            _ => {
                watertight::spawn(async { panic_now("a task that it spawned") });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extractors_arities_states_and_patterns() {
    let builder = SocketIo::builder().with_state(42_usize);
    let (server, _io) = serve_with(builder, |io| {
        io.ns("/generic", generic::<LocalAdapter>);
        io.dyn_ns("/room-{id}", async |socket: SocketRef| echo(&socket)).unwrap();
        let check = async |TryData::<Value>(auth): TryData<Value>| match auth {
            Ok(auth) if auth["token"] == "no" => Err("no entry"),
            _ => Ok(()),
        };
        let handler = async |socket: SocketRef,
                             State(state): State<usize>,
                             _: TransportType,
                             _: ProtocolVersion| {
            socket.extensions.insert("extension");
            socket.on("none", async || ());
            socket.on(
                "many",
                async |_: SocketRef,
                       _: SocketIo,
                       _: State<usize>,
                       _: Extension<&'static str>,
                       _: TransportType,
                       _: ProtocolVersion,
                       Event(event): Event,
                       ack: AckSender,
                       Data::<(u8, String)>(data)| {
                    ack.send(&json!([event, data.0, data.1])).ok();
                },
            );
            socket.on_fallback(async |Event(event): Event, ack: AckSender| {
                ack.send(&event).ok();
            });
            socket.on_disconnect(async |_: SocketRef, _: DisconnectReason, _: SocketIo, _: TransportType| ());
            assert_eq!(state, 42);
        };
        io.ns("/all", handler.with(check));
    })
    .await;
    let mut client = Client::join(server, "/all").await;
    client.send(r#"42/all,7["many",1,"two"]"#.to_owned()).await;
    let answer = client.until(|packet| matches!(packet, Packet::Ack { id: 7, .. })).await;
    assert_eq!(answer.data(), &json!(["many", 1, "two"]));
    assert_eq!(client.ask("/all", "whatever", Value::Null).await, "whatever");
    client.emit("/all", "none", Value::Null).await;
    assert_eq!(client.connect("/generic").await, Ok(()));
    assert_eq!(client.ask("/generic", "generic", Value::Null).await, true);
    assert_eq!(client.connect("/room-7").await, Ok(()));
    assert_eq!(client.ask("/room-7", "echo", json!(1)).await, json!(1));
    client.send(r#"40/all,{"token":"no"}"#.to_owned()).await;

    let mut refused = Client::open(server).await;
    refused.send(r#"40/all,{"token":"no"}"#.to_owned()).await;
    let Packet::ConnectError { message, .. } = refused.next().await else { panic!("it is refused") };
    assert_eq!(message, "no entry");
    assert!(refused.connect("/missing").await.is_err_and(|message| message == "Invalid namespace"));
}

/// Middlewares run last added first, as socketioxide's do, and one that refuses keeps the others from running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn middlewares_run_in_socketioxides_order() {
    let order = Arc::new(parking_lot::Mutex::new(String::new()));
    let seen = Arc::clone(&order);
    let (server, _io) = serve(|io| {
        let step = |name: char| {
            let order = Arc::clone(&order);
            async move || {
                order.lock().push(name);
                if name == 'x' { Err("stop") } else { Ok(()) }
            }
        };
        let handler = async |_: SocketRef| ();
        io.ns("/order", handler.with(step('c')).with(step('b')).with(step('a')));
        io.ns("/stop", handler.with(step('d')).with(step('x')).with(step('e')));
    })
    .await;
    let mut client = Client::join(server, "/order").await;
    assert_eq!(client.connect("/stop").await, Err("stop".to_owned()));
    assert_eq!(*seen.lock(), "abcex");
}

/// What a handler type of the user's own does itself, and what it spawns with `watertight::spawn`, is guarded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_handler_types_register_and_are_guarded() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (server, io) = serve(move |io| {
        io.ns("/custom", async move |socket: SocketRef| {
            echo(&socket);
            socket.on("custom", Custom(Arc::clone(&calls)));
        });
    })
    .await;
    let bystander = Bystander::start(server, "/custom").await;
    let mut client = Client::join(server, "/custom").await;
    client.emit("/custom", "custom", Value::Null).await;
    client.until(|packet| packet.is_event("custom")).await;
    for _ in 0..2 {
        client.emit("/custom", "custom", Value::Null).await;
        client.until(|packet| packet.is_event("incident")).await;
        assert_eq!(incidents_of(&client.sid, 1).await.len(), 1);
        is_gone(&io, &client.sid, std::time::Duration::from_secs(1)).await;
        client = Client::join(server, "/custom").await;
    }
    bystander.finish().await;
}

/// A socket that the handle gives out is guarded as one that an extractor gives out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_from_the_handle_are_guarded() {
    let (server, io) = serve(|_| ()).await;
    let mut client = Client::join(server, "/").await;
    let socket = io.get_socket(client.sid.parse().unwrap()).expect("it is connected");
    socket.on("boom", async || panic_now("a handler registered from outside"));
    client.send(r#"42["boom"]"#.to_owned()).await;
    client.until(|packet| packet.is_event("incident")).await;
    is_gone(&io, &client.sid, std::time::Duration::from_secs(1)).await;
}
