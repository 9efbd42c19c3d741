//! A Socket.IO client of a few lines over a raw WebSocket, and a server for it.

use std::{collections::VecDeque, future::Future, net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use game_admin_backend::{
    Shared,
    managers::ConnectionManager,
    server::Server,
    settings::{Settings, Sources, load},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Longest time that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// The answer to a request of plain HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asks for a page over a connection of its own. A header is a line of its own: `"name: value\r\n"`.
pub(crate) async fn get(server: SocketAddr, path: &str, headers: &str) -> Answer {
    request(server, &format!("GET {path} HTTP/1.1\r\n{headers}"), "").await
}

pub(crate) async fn post(server: SocketAddr, path: &str, body: &str) -> Answer {
    request(server, &format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len()), body).await
}

async fn request(server: SocketAddr, head: &str, body: &str) -> Answer {
    let request = format!("{head}host: {server}\r\nconnection: close\r\n\r\n{body}");
    let mut stream = soon("a connection", TcpStream::connect(server)).await.expect("accepted");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = String::new();
    soon(head, stream.read_to_string(&mut answer)).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Asks again until the answer is as wanted.
pub(crate) async fn get_until(server: SocketAddr, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    soon("a certain answer", async {
        loop {
            let answer = get(server, path, "").await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A server on a port of its own.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Shared,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl TestServer {
    pub(crate) async fn start(assignments: &[&str]) -> Self {
        let mut given = vec!["server.listen=127.0.0.1:0".to_owned()];
        given.extend(assignments.iter().map(|&assignment| assignment.to_owned()));
        let sources = Sources { assignments: given, directory: "/nonexistent".into(), ..Sources::default() };
        let settings: Settings = load(&sources).expect("valid settings").settings;
        let server = Server::new(settings, watertight::RingSink::new(100));
        let shared = server.shared().clone();
        let bound = server.bind().await.expect("a free port");
        let address = bound.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(async {
            _ = stopped.await;
        }));
        Self { address, shared, stop, serving }
    }

    /// A client in a namespace, whose handlers are ready for it.
    pub(crate) async fn client(&self, namespace: &'static str) -> Client {
        let mut client = Client::open(self.address, &[]).await;
        client.enter(namespace, &json!({})).await.expect("the namespace is open");
        // The answer to the connect packet is sent before the connect handler has run. An event that comes
        // in between finds no handler unless the server holds it back; what becomes of those is another
        // test's matter.
        self.wait_for("the connect handler", |connections| {
            connections.list().iter().any(|info| info.id == client.id)
        })
        .await;
        client
    }

    /// Tells the server to stop; answers when it has.
    pub(crate) async fn stop(self) {
        _ = self.stop.send(());
        soon("the end of the server", self.serving).await.expect("no panic").expect("no error");
    }

    /// Waits until so many connections are tracked.
    pub(crate) async fn wait_for_connections(&self, count: usize) {
        self.wait_for("the number of connections", |connections| connections.count() == count).await;
    }

    async fn wait_for(&self, what: &str, holds: impl Fn(&ConnectionManager) -> bool) {
        soon(what, async {
            while !holds(&self.shared.connections) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

/// One connection, in one namespace.
pub(crate) struct Client {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    namespace: &'static str,
    pub(crate) id: String,
    next_ack: u64,
    /// Events that came while something else was waited for.
    events: VecDeque<(String, Value)>,
}

/// What a frame of the protocol means to a client.
#[derive(Debug)]
enum Packet {
    Connected(Value),
    Refused(Value),
    Disconnected,
    Event(String, Value),
    Ack(u64, Value),
    Closed,
}

impl Client {
    pub(crate) async fn open(server: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let (stream, _) = soon("a connection", connect_async(request)).await.expect("the server accepts");
        Self { stream, namespace: "/", id: String::new(), next_ack: 0, events: VecDeque::new() }
    }

    /// Enters a namespace, or answers the message of the refusal.
    pub(crate) async fn enter(&mut self, namespace: &'static str, auth: &Value) -> Result<(), String> {
        self.namespace = namespace;
        let path = self.path();
        self.send(&format!("40{path}{auth}")).await;
        match self.packet("the answer to a connect packet").await {
            Packet::Connected(content) => {
                self.id = content["sid"].as_str().expect("a socket has an id").to_owned();
                Ok(())
            }
            Packet::Refused(content) => Err(content["message"].as_str().unwrap_or_default().to_owned()),
            other => panic!("a connect packet is answered with {other:?}"),
        }
    }

    /// Emits without asking for an answer.
    pub(crate) async fn emit(&mut self, event: &str, content: &Value) {
        let path = self.path();
        self.send(&format!("42{path}{}", json!([event, content]))).await;
    }

    /// Emits and waits for the answer.
    pub(crate) async fn ask(&mut self, event: &str, content: &Value) -> Value {
        self.ask_raw(event, &json!([event, content]).to_string()).await
    }

    /// Emits arguments as they are and waits for the answer.
    pub(crate) async fn ask_raw(&mut self, event: &str, arguments: &str) -> Value {
        let ack = self.next_ack;
        self.next_ack += 1;
        let path = self.path();
        self.send(&format!("42{path}{ack}{arguments}")).await;
        loop {
            match self.packet(event).await {
                Packet::Ack(of, mut content) if of == ack => return content[0].take(),
                Packet::Event(name, content) => self.events.push_back((name, content)),
                other => panic!("{event} is answered with {other:?}"),
            }
        }
    }

    /// The next event, whichever it is.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.packet("an event").await {
            Packet::Event(name, content) => (name, content),
            other => panic!("not an event: {other:?}"),
        }
    }

    /// The events up to the end, which is either a disconnect packet or the end of the transport.
    pub(crate) async fn events_to_the_end(&mut self) -> Vec<(String, Value)> {
        let mut events: Vec<_> = self.events.drain(..).collect();
        loop {
            match self.packet("the end").await {
                Packet::Event(name, content) => events.push((name, content)),
                Packet::Disconnected | Packet::Closed => return events,
                other => panic!("neither an event nor the end: {other:?}"),
            }
        }
    }

    /// Leaves by closing the transport.
    pub(crate) async fn close(mut self) {
        soon("the close", self.stream.close(None)).await.expect("the connection is open");
    }

    fn path(&self) -> String {
        if self.namespace == "/" { String::new() } else { format!("{},", self.namespace) }
    }

    async fn send(&mut self, frame: &str) {
        soon("a write", self.stream.send(Message::text(frame))).await.expect("the connection is open");
    }

    async fn packet(&mut self, what: &str) -> Packet {
        loop {
            let frame = match soon(what, self.stream.next()).await {
                Some(Ok(Message::Text(frame))) => frame.to_string(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Packet::Closed,
                Some(Ok(other)) => panic!("not a text frame: {other:?}"),
            };
            // The open packet of the transport; a ping, which a test is too short to need; a noop.
            if frame.starts_with(['0', '2', '6']) {
                continue;
            }
            if frame == "1" {
                return Packet::Closed;
            }
            let (kind, rest) = frame.split_at(2);
            let rest = match self.namespace {
                "/" => rest,
                namespace => rest.strip_prefix(namespace).unwrap_or(rest).trim_start_matches(','),
            };
            let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
            let (ack, content) = rest.split_at(digits);
            let mut content: Value = serde_json::from_str(content).unwrap_or_default();
            return match kind {
                "40" => Packet::Connected(content),
                "41" => Packet::Disconnected,
                "42" => Packet::Event(
                    content[0].as_str().expect("an event has a name").to_owned(),
                    content[1].take(),
                ),
                "43" => Packet::Ack(ack.parse().expect("an ack has a number"), content),
                "44" => Packet::Refused(content),
                _ => panic!("unknown packet {frame}"),
            };
        }
    }
}
