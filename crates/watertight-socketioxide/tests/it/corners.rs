//! Corners where innocents were once hurt, or the wrong one named.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use watertight::{
    Attribution, CloseMode, Notice, Outcome, Registry, Seal, SealMode, ServerId, Told, Verdict,
};
use watertight_axum::GuardedIo;
use watertight_faults::panic_now;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::{AckSender, SocketRef};
use watertight_socketioxide::handler::{MessageHandler, Value as RawValue};
use watertight_socketioxide::socket::Socket;

use crate::client::{Client, DEADLINE, Packet};
use crate::server::{echo, incidents_of, is_gone, serve, sink};

const SOON: Duration = Duration::from_secs(1);

/// A client that began with polling has no polling session any more once it is upgraded. On a server without guarded
/// connections it was then taken for an orphan, and ended after somebody else's panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgraded_clients_of_an_unguarded_server_are_no_orphans() {
    sink();
    let (layer, io) = SocketIo::builder().build_layer();
    io.ns("/plain", async |socket: SocketRef| {
        echo(&socket);
        socket.on("boom", async || panic_now("somebody else's handler"));
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().layer(layer)).await });

    let mut tcp = tokio::net::TcpStream::connect(server).await.unwrap();
    let open = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    tcp.write_all(open).await.unwrap();
    let mut opened = String::new();
    tcp.read_to_string(&mut opened).await.unwrap();
    let sid = opened.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let (mut upgraded, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for packet in ["2probe", "5", "40/plain,"] {
        upgraded.send(Message::text(packet)).await.unwrap();
    }

    let mut other = Client::join(server, "/plain").await;
    other.emit("/plain", "boom", Value::Null).await;
    other.until(|packet| packet.is_event("incident")).await;
    // An orphan is one for two sweeps, a second each.
    let until = Instant::now() + Duration::from_millis(2500);
    while let Ok(message) = tokio::time::timeout_at(until.into(), upgraded.next()).await {
        let text = message.expect("it stays open").unwrap().into_text().unwrap();
        assert!(!text.contains("incident"), "the innocent was told {text}");
        if text.as_str() == "2" {
            upgraded.send(Message::text("3")).await.unwrap();
        }
    }
    assert!(Registry::global().by_session(&sid).is_some_and(|compartment| compartment.is_live()));
}

/// The recovery thread runs nobody's code: a disconnect handler that blocks would hold up all seals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_disconnect_handler_does_not_hold_up_the_recovery() {
    const BLOCKS: Duration = Duration::from_secs(2);
    static RAN_ON: OnceLock<String> = OnceLock::new();
    let (server, _io) = serve(|io| {
        io.ns("/slow-bye", async move |socket: SocketRef| {
            socket.on("boom", async || panic_now("another handler"));
            socket.on("arm", async |socket: SocketRef, ack: AckSender| {
                socket.on_disconnect(|_: SocketRef| {
                    // No assertion here: its panic would end the blocking that the test is about.
                    let thread = std::thread::current();
                    RAN_ON.set(thread.name().unwrap_or_default().to_owned()).ok();
                    std::thread::sleep(BLOCKS);
                    std::future::ready(())
                });
                ack.send(&1).ok();
            });
        });
    })
    .await;
    let mut slow = Client::join(server, "/slow-bye").await;
    slow.ask("/slow-bye", "arm", Value::Null).await;
    let mut other = Client::join(server, "/slow-bye").await;
    let compartment = Registry::global().by_session(&slow.sid).unwrap();
    let notice = Notice::new("kicked", "by a test").retry(false, Duration::ZERO);
    let sealing = watertight::ensure_installed().seal(&compartment, notice, SealMode::Expel);
    slow.until(|packet| packet.is_event("incident")).await;
    let asked = Instant::now();
    other.emit("/slow-bye", "boom", Value::Null).await;
    other.until(|packet| packet.is_event("incident")).await;
    assert!(asked.elapsed() < BLOCKS / 2, "{:?}", asked.elapsed());
    tokio::time::timeout(DEADLINE, sealing).await.expect("it is sealed in the end");
    assert_ne!(RAN_ON.get().expect("the handler ran"), "watertight-recovery");
}

/// A handler type that passes the message on to another handler, and fails after that.
struct Metered<H>(H);

impl<H: MessageHandler<LocalAdapter, ()>> MessageHandler<LocalAdapter, u8> for Metered<H> {
    fn call(&self, s: Arc<Socket>, v: RawValue, ack_id: Option<i64>) {
        self.0.call(s, v, ack_id);
        panic_now("a handler, after it passed the message on");
    }
}

/// Passing a message on must not take the scope away from the one who does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_delegates_keeps_its_scope() {
    let (server, io) = serve(|io| {
        io.ns("/delegate", async move |socket: SocketRef| socket.on("x", Metered(async || ())));
    })
    .await;
    let mut client = Client::join(server, "/delegate").await;
    client.emit("/delegate", "x", Value::Null).await;
    client.until(|packet| packet.is_event("incident")).await;
    is_gone(&io, &client.sid, SOON).await;
    let incident = &incidents_of(&client.sid, 1).await[0];
    assert_eq!((incident.attribution, incident.outcome), (Attribution::Exact, Outcome::Escaped));
    assert_eq!(incident.activity.as_ref().map(|activity| activity.name()), Some("x"));
}

/// A task that serves two connections says nothing about whose work it does: its panic is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_two_connections_is_nobodys() {
    sink();
    let ((a, mut to_a), (b, mut to_b)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    let server = ServerId::new();
    let (mut a, mut b) = (GuardedIo::new(a, None, server), GuardedIo::new(b, None, server));
    let leases = [a.connection().linked(), b.connection().linked()];
    let served = tokio::spawn(async move {
        to_a.write_all(b"x").await.unwrap();
        to_b.write_all(b"y").await.unwrap();
        let mut byte = [0; 1];
        a.read_exact(&mut byte).await.unwrap();
        b.read_exact(&mut byte).await.unwrap();
        panic_now("one task that serves two");
    });
    assert!(served.await.is_err());
    let named = |text: &'static str| {
        sink().wait_for(DEADLINE, move |incidents| {
            incidents.iter().find(|incident| incident.message.contains(text)).cloned()
        })
    };
    let incident = tokio::task::spawn_blocking(move || named("one task that serves two")).await.unwrap();
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Unattributed, Verdict::Ignore));
    assert!(leases.iter().all(|lease| lease.is_live()));
}

/// A part that panics when it is asked what it delivered, or whether it is gone.
struct Panics {
    when_asked_whether_gone: bool,
    closed: AtomicBool,
}

impl Seal for Panics {
    fn tell(&self, _: &Notice) -> Told {
        Told::Sent
    }

    fn delivered(&self, _: &Notice, _: usize) -> Option<bool> {
        panic_now("a part that is asked what it delivered")
    }

    fn close(&self, _: CloseMode) {
        self.closed.store(true, Ordering::SeqCst);
    }

    fn is_gone(&self) -> bool {
        if self.when_asked_whether_gone {
            panic_now("a part that is asked whether it is gone");
        }
        self.closed.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_panics_when_asked_does_not_keep_its_compartment() {
    sink();
    for when_asked_whether_gone in [false, true] {
        let lease = Registry::global().open(None);
        let part = Arc::new(Panics { when_asked_whether_gone, closed: AtomicBool::new(false) });
        lease.attach(&part);
        let notice = Notice::new("kicked", "by a test");
        let seal = watertight::ensure_installed().seal(&lease, notice, SealMode::Disconnect);
        tokio::time::timeout(DEADLINE, seal).await.expect("it ends");
        assert_eq!(lease.state(), watertight::State::Sealed);
        assert!(Registry::global().by_id(&lease.id()).is_none());
    }
}

/// A client that leaves twice while its disconnect handler runs, and then comes back, is not thrown out by the
/// clean-up of its former self.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_not_cleaned_up_with_who_left() {
    let (server, io) = serve(|io| {
        io.ns("/again", async move |socket: SocketRef| {
            socket.on_disconnect(async || tokio::time::sleep(Duration::from_millis(100)).await);
            echo(&socket);
        });
    })
    .await;
    let mut client = Client::join(server, "/again").await;
    // By then its disconnect handler is registered.
    assert_eq!(client.ask("/again", "echo", Value::from(0)).await, Value::from(0));
    client.send("41/again,".into()).await;
    client.send("41/again,".into()).await;
    // Until the former self is cleaned up socketioxide ignores the wish to join; then it is heard.
    let sockets = || io.of("/again").unwrap().sockets().len();
    let left = async {
        while sockets() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, left).await.expect("it leaves");
    assert_eq!(client.connect("/again").await, Ok(()));
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        assert_eq!(client.ask("/again", "echo", Value::from(1)).await, Value::from(1));
        assert_eq!(sockets(), 1);
    }
}

/// Leaving one of two namespaces with a disconnect handler that panics: the client is still there, so it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_panic_of_one_namespace_is_told_in_the_other() {
    let (server, io) = serve(|io| {
        io.ns("/stays", async |socket: SocketRef| echo(&socket));
        io.ns("/leaves", async |socket: SocketRef| {
            socket.on_disconnect(async || panic_now("a disconnect handler of one of two"));
        });
    })
    .await;
    let mut client = Client::join(server, "/leaves").await;
    assert_eq!(client.connect("/stays").await, Ok(()));
    client.send("41/leaves,".into()).await;
    let told = client.until(|packet| packet.is_event("incident")).await;
    assert!(matches!(told, Packet::Event { ref ns, .. } if ns == "/stays"));
    assert_eq!(client.next().await, Packet::Closed);
    is_gone(&io, &client.sid, SOON).await;
}

/// Closing a connection with bytes unread resets it, and a reset overtakes the notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_sent_more_than_was_read_is_told() {
    let (server, _io) = serve(|io| {
        io.ns("/chatty", async |socket: SocketRef| {
            echo(&socket);
            socket.on("boom", async || panic_now("a handler of a client that talks on"));
        });
    })
    .await;
    for _ in 0..20 {
        let mut client = Client::join(server, "/chatty").await;
        client.emit("/chatty", "boom", Value::Null).await;
        for number in 0..600 {
            client.try_emit("/chatty", "echo", Value::from(number)).await;
        }
        client.until(|packet| packet.is_event("incident")).await;
    }
}
