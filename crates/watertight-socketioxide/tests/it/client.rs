//! A raw Socket.IO client over WebSocket: it sees every packet.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) sid: String,
    next_ack: u64,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Packet {
    Event { ns: String, name: String, data: Value },
    Ack { id: u64, data: Value },
    ConnectError { ns: String, message: String },
    Disconnect { ns: String },
    Closed,
}

impl Packet {
    pub(crate) fn is_event(&self, wanted: &str) -> bool {
        matches!(self, Self::Event { name, .. } if name == wanted)
    }

    pub(crate) fn data(&self) -> &Value {
        match self {
            Self::Event { data, .. } | Self::Ack { data, .. } => data,
            other => panic!("{other:?} carries no data"),
        }
    }
}

impl Client {
    /// Opens a session.
    pub(crate) async fn open(server: SocketAddr) -> Self {
        Self::open_with(server, "").await
    }

    /// Opens a session with more in the query.
    pub(crate) async fn open_with(server: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket{query}");
        let (ws, _) = tokio_tungstenite::connect_async(url).await.expect("the server accepts");
        let mut client = Self { ws, sid: String::new(), next_ack: 0 };
        let open = client.text().await.expect("an open packet");
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).unwrap();
        client.sid = open["sid"].as_str().unwrap().to_owned();
        client
    }

    /// Opens a session and joins a namespace.
    pub(crate) async fn join(server: SocketAddr, ns: &str) -> Self {
        let mut client = Self::open(server).await;
        assert_eq!(client.connect(ns).await, Ok(()));
        client
    }

    /// Joins a namespace; the message when refused.
    pub(crate) async fn connect(&mut self, ns: &str) -> Result<(), String> {
        self.send(format!("40{ns},")).await;
        let prefix = if ns == "/" { "40{".to_owned() } else { format!("40{ns}") };
        loop {
            let text = self.text().await.expect("an answer, not a close");
            if text.starts_with(&prefix) {
                return Ok(());
            }
            if let Some(Packet::ConnectError { message, .. }) = parse(&text) {
                return Err(message);
            }
        }
    }

    pub(crate) async fn send(&mut self, packet: String) {
        self.ws.send(Message::text(packet)).await.expect("the connection is open");
    }

    pub(crate) async fn emit(&mut self, ns: &str, event: &str, data: Value) {
        self.send(format!("42{},{}", ns, serde_json::json!([event, data]))).await;
    }

    /// As [`emit`](Self::emit), to a connection that may be closed already.
    pub(crate) async fn try_emit(&mut self, ns: &str, event: &str, data: Value) {
        let packet = format!("42{},{}", ns, serde_json::json!([event, data]));
        let _ = self.ws.send(Message::text(packet)).await;
    }

    /// Emits with an acknowledgement asked; its id.
    pub(crate) async fn emit_with_ack(&mut self, ns: &str, event: &str, data: Value) -> u64 {
        self.next_ack += 1;
        self.send(format!("42{},{}{}", ns, self.next_ack, serde_json::json!([event, data]))).await;
        self.next_ack
    }

    /// The answer to one emit with an acknowledgement.
    pub(crate) async fn ask(&mut self, ns: &str, event: &str, data: Value) -> Value {
        let wanted = self.emit_with_ack(ns, event, data).await;
        let answer = self.until(|packet| matches!(packet, Packet::Ack { id, .. } if *id == wanted)).await;
        answer.data().clone()
    }

    /// The next packet; answers pings by itself.
    pub(crate) async fn next(&mut self) -> Packet {
        loop {
            match self.text().await {
                None => return Packet::Closed,
                Some(text) => {
                    if let Some(packet) = parse(&text) {
                        return packet;
                    }
                }
            }
        }
    }

    /// Skips packets until one is as wanted.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            let packet = self.next().await;
            if wanted(&packet) {
                return packet;
            }
            assert_ne!(packet, Packet::Closed, "closed before what was waited for");
        }
    }

    /// The next text that is no ping. Pings alone do not put the deadline off.
    async fn text(&mut self) -> Option<String> {
        let text = async {
            loop {
                match self.ws.next().await {
                    // Of a connection that is being cut, what comes before the end is still read.
                    Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                        let _ = self.ws.send(Message::text("3")).await;
                    }
                    Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(DEADLINE, text).await.expect("something within the deadline")
    }

    pub(crate) fn into_inner(self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        self.ws
    }
}

/// Reads a Socket.IO packet of the kinds that tests look at.
fn parse(text: &str) -> Option<Packet> {
    let kind = text.get(0..2)?;
    let rest = &text[2..];
    let (ns, rest) = match rest.strip_prefix('/') {
        Some(_) => rest.split_once(',').unwrap_or((rest, "")),
        None => ("/", rest),
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let id = rest[..digits].parse().ok();
    let json: Value = serde_json::from_str(&rest[digits..]).unwrap_or(Value::Null);
    let ns = ns.to_owned();
    match kind {
        "41" => Some(Packet::Disconnect { ns }),
        "42" => Some(Packet::Event { ns, name: json[0].as_str()?.to_owned(), data: json[1].clone() }),
        "43" => Some(Packet::Ack { id: id?, data: json[0].clone() }),
        "44" => Some(Packet::ConnectError { ns, message: json["message"].as_str()?.to_owned() }),
        _ => None,
    }
}

/// Someone who must not notice anything: echoes numbered messages and checks what comes back.
pub(crate) struct Bystander {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Bystander {
    /// Joins a namespace that has an `echo` event, and keeps echoing.
    pub(crate) async fn start(server: SocketAddr, ns: &'static str) -> Self {
        let mut client = Client::join(server, ns).await;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(5));
            for number in 0_u64.. {
                every.tick().await;
                // The last echo is asked for after whatever happened.
                let is_last = stopped.try_recv().is_ok();
                client.emit(ns, "echo", number.into()).await;
                let echo = client.next().await;
                assert!(echo.is_event("echo"), "a bystander noticed: {echo:?}");
                assert_eq!(echo.data(), &Value::from(number), "lost or reordered");
                if is_last {
                    return;
                }
            }
            unreachable!("counts for ever")
        });
        Self { stop, task }
    }

    /// Checks that nothing was noticed.
    pub(crate) async fn finish(self) {
        let _ = self.stop.send(());
        self.task.await.expect("noticed nothing");
    }
}
