//! The founding panic: a raw WebSocket ping makes `engineioxide 0.10.2` panic at `ws.rs:190`, in its reader task.
//! Served by axum alone its client is a deaf zombie from then on. Guarded, the client sees its connection close, the
//! incident names it, and others go on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use socketioxide_founding::SocketIo;
use socketioxide_founding::extract::{Data, SocketRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use watertight::{
    ActivityKind, Attribution, CaptureSink, Incident, QuarantineSettings, Stats, Verdict, Watertight,
};

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(10);
/// From the ping to the end of the offender's connection.
const CLOSED_WITHIN: Duration = Duration::from_millis(100);
/// How long the unguarded client is watched being deaf. Its heartbeat ends that after 45 s.
const DEAF_FOR: Duration = Duration::from_secs(1);
/// After how many echoes a bystander's connection is as it stays.
const SETTLED: u64 = 5;

fn install() -> &'static (Watertight, CaptureSink) {
    static INSTALLED: LazyLock<(Watertight, CaptureSink)> = LazyLock::new(|| {
        let sink = CaptureSink::new();
        // All clients come from one address.
        let builder = Watertight::builder().quarantine(QuarantineSettings::new().enabled(false));
        let watertight = builder.sink(sink.clone()).install().expect("this binary installs here only");
        (watertight, sink)
    });
    &INSTALLED
}

/// The server of that time: Socket.IO that echoes.
fn old_server(interval: Duration, patience: Duration) -> (Router, SocketIo) {
    let builder = SocketIo::builder().ping_interval(interval).ping_timeout(patience);
    let (layer, io) = builder.build_layer();
    io.ns("/", |socket: SocketRef| {
        socket.on("echo", |socket: SocketRef, Data::<Value>(data)| {
            // A client that has just left gets no echo.
            let _ = socket.emit("echo", data);
        });
    });
    (Router::new().layer(layer), io)
}

/// A raw client: Engine.IO and Socket.IO by hand over a WebSocket.
struct Client {
    address: SocketAddr,
    socket: WebSocketStream<TcpStream>,
    heartbeats: u64,
}

impl Client {
    /// Connects and joins namespace `/`.
    async fn connect(server: SocketAddr) -> Self {
        let tcp = TcpStream::connect(server).await.expect("the server listens");
        tcp.set_nodelay(true).expect("it is open");
        let address = tcp.local_addr().expect("it is connected");
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = tokio_tungstenite::client_async(url, tcp).await.expect("a WebSocket");
        let mut client = Self { address, socket, heartbeats: 0 };
        assert!(client.packet().await.starts_with("0{"), "Engine.IO opens");
        client.send("40").await;
        assert!(client.packet().await.starts_with("40{"), "Socket.IO connects");
        client
    }

    async fn send(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.expect("it is open");
    }

    /// The next packet that is not a heartbeat; those are answered.
    async fn packet(&mut self) -> String {
        loop {
            let next = timeout(DEADLINE, self.socket.next()).await.expect("a packet in time");
            let Some(Ok(Message::Text(packet))) = next else { panic!("a packet was expected: {next:?}") };
            if packet.as_str() != "2" {
                return packet.as_str().to_owned();
            }
            self.heartbeats += 1;
            self.send("3").await;
        }
    }

    async fn echoes(&mut self, number: u64) {
        let packet = format!("42[\"echo\",{number}]");
        self.send(&packet).await;
        assert_eq!(self.packet().await, packet);
    }

    /// What made the founding document's server panic.
    async fn ping(&mut self) {
        self.socket.send(Message::Ping(Vec::new().into())).await.expect("it is open");
    }

    /// Reads until the connection ends.
    async fn end(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

fn assert_founding_panic(incident: &Incident) {
    let location = incident.location.as_ref().expect("a panic has a location");
    assert_eq!(location.to_string(), "ws.rs:190");
    assert_eq!(location.column(), 18);
    assert_eq!(incident.component.to_string(), "engineioxide 0.10.2");
    assert!(incident.component.is_transport());
    assert!(incident.message.ends_with("unexpected ws message"), "{}", incident.message);
}

/// The incident that `wanted` looks for. Blocks: the runtime needs another thread.
fn incident(wanted: impl Fn(&Incident) -> bool) -> Arc<Incident> {
    let (_, sink) = install();
    sink.wait_for(DEADLINE, |incidents| incidents.iter().find(|incident| wanted(incident)).cloned())
}

/// Compartments, connections and entries of the task table.
fn counts(stats: &Stats) -> [usize; 3] {
    [stats.compartments, stats.connections, stats.tasks]
}

/// Waits until `done`, looking every millisecond. Answers how long that took.
async fn eventually(what: &str, done: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

/// Would reveal that the panic is nobody's, that the wrong client pays for it, or that its client has to wait for its own
/// heartbeat to learn that it is alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarded_it_costs_its_client_only() {
    let (watertight, _) = install();
    let (interval, patience) = (Duration::from_millis(100), Duration::from_millis(900));
    let (app, io) = old_server(interval, patience);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(watertight_axum::serve(listener, app).into_future());

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let settled = Arc::new(AtomicUsize::new(0));
    let bystander = |_| {
        let (stopped, settled) = (stopped.clone(), Arc::clone(&settled));
        tokio::spawn(async move {
            let mut client = Client::connect(server).await;
            let mut echoes = 0;
            while !*stopped.borrow() {
                client.echoes(echoes).await;
                echoes += 1;
                if echoes == SETTLED {
                    settled.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (echoes, client.heartbeats)
        })
    };
    let bystanders: Vec<JoinHandle<(u64, u64)>> = (0..5).map(bystander).collect();
    // By then all tasks of their connections are known, which is counted below.
    eventually("bystanders are in", || settled.load(Ordering::Relaxed) == 5).await;
    let before = counts(&watertight.stats());

    let mut closed_after = Vec::new();
    for round in 1..=10 {
        let mut client = Client::connect(server).await;
        client.echoes(round).await;
        let start = Instant::now();
        client.ping().await;
        timeout(CLOSED_WITHIN, client.end()).await.expect("closed within milliseconds");
        closed_after.push(start.elapsed());

        let incident = incident(|incident| {
            incident.offender.as_ref().is_some_and(|offender| offender.peer == Some(client.address))
        });
        assert_founding_panic(&incident);
        assert_eq!((incident.attribution, incident.verdict), (Attribution::Transport, Verdict::Disconnect));
        let activity = incident.activity.as_ref().expect("the transport's");
        assert_eq!(activity.kind(), ActivityKind::Transport);
    }
    let back = || counts(&watertight.stats()) == before;
    let gone = eventually("nothing of the offenders is left", back).await;
    // What engineioxide itself keeps of a session whose reader has panicked, it drops with its heartbeat.
    let kept =
        eventually("engineioxide forgets", || io.sockets().is_ok_and(|sockets| sockets.len() == 5)).await;
    assert!(kept < interval + patience + Duration::from_secs(1), "{kept:?}");

    stop.send(true).expect("bystanders listen");
    for bystander in bystanders {
        let (echoes, heartbeats) = bystander.await.expect("a bystander lost its connection or a message");
        assert!(echoes > 20 && heartbeats > 2, "{echoes} echoes, {heartbeats} heartbeats");
    }
    closed_after.sort_unstable();
    println!(
        "guarded: closed after {:.1?} (median of 10; slowest {:.1?}), gone {gone:.1?} later; engineioxide kept the sessions \
         for {kept:.0?} more (heartbeat: {interval:?} + {patience:?})",
        closed_after[5], closed_after[9]
    );
    serving.abort();
}

/// The control. Would reveal that the test above proves nothing, because the old server closes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unguarded_its_client_is_a_deaf_zombie() {
    install();
    let (app, _io) = old_server(Duration::from_secs(25), Duration::from_secs(20));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let mut client = Client::connect(server).await;
    client.echoes(1).await;
    client.ping().await;
    let incident = incident(|incident| incident.attribution == Attribution::Unattributed);
    assert_founding_panic(&incident);
    assert!(incident.offender.is_none());

    client.send("42[\"echo\",2]").await;
    let heard = timeout(DEAF_FOR, client.socket.next()).await;
    assert!(heard.is_err(), "neither an answer nor an end was expected: {heard:?}");
    client.socket.send(Message::text("42[\"echo\",3]")).await.expect("still open");
    println!("unguarded: open and deaf for {DEAF_FOR:?} at least");
    serving.abort();
}
