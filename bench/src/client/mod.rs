//! A Socket.IO client that takes so little time that what is measured is the server: Engine.IO 4 and Socket.IO 5, one
//! namespace, text only.

mod packet;
mod polling;
mod stats;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

pub(crate) use self::packet::Packet;
use self::polling::Polling;
pub(crate) use self::stats::Stats;
use self::websocket::WebSocket;

/// The longest that anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// An echo that has not come back by then may have been dropped.
const SETTLE: Duration = Duration::from_millis(200);

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    WebSocket,
    Polling,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::WebSocket, Self::Polling];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WebSocket => "websocket",
            Self::Polling => "polling",
        })
    }
}

/// An Engine.IO packet, or how the connection ended, and when that was read.
struct Frame {
    at: Instant,
    text: Result<String, String>,
}

/// A packet and when it was read from the connection, which can be before anybody asked for it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) packet: Packet,
}

enum Wire {
    WebSocket(Box<WebSocket>),
    Polling(Polling),
}

/// One client in one namespace. Dropping it ends its connections.
pub(crate) struct Client {
    wire: Wire,
    namespace: &'static str,
    session: String,
    next_ack: u64,
}

impl Client {
    /// Opens a session and enters a namespace.
    pub(crate) async fn connect(
        server: SocketAddr,
        transport: Transport,
        namespace: &'static str,
    ) -> Result<Self> {
        let connecting = async {
            let (mut client, _) = Self::knock(server, transport, namespace).await?;
            match client.next().await?.packet {
                Packet::Connected => Ok(client),
                other => bail!("entering {namespace} is answered with {other:?}"),
            }
        };
        soon("a connection", connecting).await?
    }

    /// Opens a session and asks to enter a namespace; whether it is let in is left to be read. Answers when it asked.
    pub(crate) async fn knock(
        server: SocketAddr,
        transport: Transport,
        namespace: &'static str,
    ) -> Result<(Self, Instant)> {
        let mut client = Self::open(server, transport, namespace).await?;
        let asked = client.send(packet::connect(namespace)).await?;
        Ok((client, asked))
    }

    async fn open(server: SocketAddr, transport: Transport, namespace: &'static str) -> Result<Self> {
        let (wire, open) = match transport {
            Transport::WebSocket => {
                let mut wire = WebSocket::open(server).await?;
                let open = wire.next().await.text.map_err(anyhow::Error::msg)?;
                (Wire::WebSocket(Box::new(wire)), open)
            }
            Transport::Polling => {
                let (wire, open) = Polling::open(server).await?;
                (Wire::Polling(wire), open)
            }
        };
        Ok(Self { wire, namespace, session: session_id(&open)?, next_ack: 0 })
    }

    /// The id of its Engine.IO session, which is that of its compartment.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    /// Emits an event; answers when that began.
    pub(crate) async fn emit(&mut self, event: &str, data: &Value) -> Result<Instant> {
        self.send(packet::event(self.namespace, event, data, None)).await
    }

    /// Emits an event and waits for its answer. Events that come meanwhile are passed over.
    pub(crate) async fn ask(&mut self, event: &str, data: &Value) -> Result<Value> {
        let asked = self.next_ack;
        self.next_ack += 1;
        self.send(packet::event(self.namespace, event, data, Some(asked))).await?;
        loop {
            match self.next().await?.packet {
                Packet::Ack { id, data } if id == asked => return Ok(data),
                end @ (Packet::Closed(_) | Packet::Disconnected) => bail!("{event} is answered with {end:?}"),
                _ => {}
            }
        }
    }

    /// Emits an event several times at once, each with other data and an answer asked for; answers the numbers of the
    /// answers.
    pub(crate) async fn ask_all(&mut self, events: &[(&str, Value)]) -> Result<std::ops::Range<u64>> {
        let first = self.next_ack;
        let packets = events
            .iter()
            .zip(first..)
            .map(|((event, data), ack)| packet::event(self.namespace, event, data, Some(ack)));
        let packets: Vec<String> = packets.collect();
        self.next_ack += packets.len() as u64;
        let sending = async {
            match &mut self.wire {
                Wire::WebSocket(wire) => wire.send_all(packets).await,
                Wire::Polling(wire) => wire.send_all(&packets).await,
            }
        };
        soon("a write", sending).await??;
        Ok(first..self.next_ack)
    }

    /// Says that it leaves, and does.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.send(packet::CLOSE.to_owned()).await.map(|_| ())
    }

    /// Its own end of the connection that is its alone; `None` while it polls.
    pub(crate) fn address(&self) -> Result<Option<SocketAddr>> {
        match &self.wire {
            Wire::WebSocket(wire) => wire.address().map(Some),
            Wire::Polling(_) => Ok(None),
        }
    }

    /// Answers an event of the server; answers when that began.
    pub(crate) async fn answer(&mut self, ack: u64, data: &Value) -> Result<Instant> {
        self.send(packet::ack(self.namespace, ack, data)).await
    }

    /// Echoes until an echo comes back: a bare server drops what comes before its connect handler has registered the event.
    /// Echoes that were only late may follow.
    pub(crate) async fn settle(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.emit("echo", &Value::Null).await?;
            if let Ok(received) = timeout(SETTLE, self.next()).await {
                return match received?.packet {
                    Packet::Event { name, .. } if name == "echo" => Ok(()),
                    other => bail!("an echo is answered with {other:?}"),
                };
            }
        }
        bail!("no echo came back within {patience:?}")
    }

    /// Sends `data` to the event `echo` and waits for it to come back as an event; how long that took.
    pub(crate) async fn echo(&mut self, data: &Value) -> Result<Duration> {
        let asked = self.emit("echo", data).await?;
        let Received { at, packet } = self.next().await?;
        match packet {
            Packet::Event { name, data: echoed, .. } if name == "echo" && echoed == *data => Ok(at - asked),
            other => bail!("an echo of {data} is answered with {other:?}"),
        }
    }

    /// The next packet of its namespace, or the end. Pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Result<Received> {
        loop {
            let Frame { at, text } = soon("a packet", self.frame()).await?;
            let packet = match text.as_deref() {
                Err(how) => Some(Packet::Closed(how.clone())),
                Ok("2") => {
                    // A session may end between a ping and its pong; the end comes by itself.
                    _ = self.send("3".to_owned()).await;
                    None
                }
                Ok(text) => packet::parse(text, self.namespace),
            };
            if let Some(packet) = packet {
                return Ok(Received { at, packet });
            }
        }
    }

    async fn frame(&mut self) -> Frame {
        match &mut self.wire {
            Wire::WebSocket(wire) => wire.next().await,
            Wire::Polling(wire) => wire.next().await,
        }
    }

    async fn send(&mut self, packet: String) -> Result<Instant> {
        let begun = Instant::now();
        let sending = async {
            match &mut self.wire {
                Wire::WebSocket(wire) => wire.send(packet).await,
                Wire::Polling(wire) => wire.send(packet).await,
            }
        };
        soon("a write", sending).await??;
        Ok(begun)
    }
}

/// Waits, but not for ever.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future).await.with_context(|| format!("waited {PATIENCE:?} for {what}"))
}

/// The session's id in an open packet.
fn session_id(open: &str) -> Result<String> {
    let open = open.strip_prefix('0').context("no open packet")?;
    let open: Value = serde_json::from_str(open).context("an open packet is JSON")?;
    Ok(open["sid"].as_str().context("an open packet has the session's id")?.to_owned())
}
