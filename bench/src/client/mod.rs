//! A Socket.IO client that takes so little time that what is measured is the server: Engine.IO 4 and Socket.IO 5, one
//! namespace, text only.

mod packet;
mod polling;
mod stats;
mod websocket;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub(crate) use self::packet::Packet;
use self::polling::Polling;
pub(crate) use self::stats::StatsConnection;
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
        Self::connect_from(None, server, transport, namespace).await
    }

    /// The same from one address of this machine: each has ports of its own, and to the server it is another client's.
    pub(crate) async fn connect_from(
        origin: Option<Ipv4Addr>,
        server: SocketAddr,
        transport: Transport,
        namespace: &'static str,
    ) -> Result<Self> {
        let connecting = async {
            let mut client = Self::open_by(Way { origin, server }, transport, namespace).await?;
            client.enter().await?;
            Ok(client)
        };
        soon("a connection", connecting).await?
    }

    /// Opens a session and enters nothing yet. Waits in the server's backlog as long as it takes.
    pub(crate) async fn open(
        server: SocketAddr,
        transport: Transport,
        namespace: &'static str,
    ) -> Result<Self> {
        Self::open_by(Way { origin: None, server }, transport, namespace).await
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

    async fn open_by(way: Way, transport: Transport, namespace: &'static str) -> Result<Self> {
        let (wire, open) = match transport {
            Transport::WebSocket => {
                let mut wire = WebSocket::open(way).await?;
                let open = wire.next().await.text.map_err(anyhow::Error::msg)?;
                (Wire::WebSocket(Box::new(wire)), open)
            }
            Transport::Polling => {
                let (wire, open) = Polling::open(way).await?;
                (Wire::Polling(wire), open)
            }
        };
        Ok(Self { wire, namespace, session: session_id(&open)?, next_ack: 0 })
    }

    /// Enters its namespace.
    pub(crate) async fn enter(&mut self) -> Result<()> {
        let namespace = self.namespace;
        self.send(packet::connect(namespace)).await?;
        match self.next().await?.packet {
            Packet::Connected => Ok(()),
            other => bail!("entering {namespace} is answered with {other:?}"),
        }
    }

    /// Waits until its connection ends, which may take for ever; when that was read. What comes before is passed over.
    pub(crate) async fn ended(&mut self) -> Instant {
        loop {
            let Received { at, packet } = self.next_ever().await;
            if matches!(packet, Packet::Closed(_)) {
                return at;
            }
        }
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
            let frame = soon("a packet", self.frame()).await?;
            if let Some(received) = self.receive(frame).await {
                return Ok(received);
            }
        }
    }

    /// The same, and it may take for ever.
    pub(crate) async fn next_ever(&mut self) -> Received {
        loop {
            let frame = self.frame().await;
            if let Some(received) = self.receive(frame).await {
                return received;
            }
        }
    }

    /// Does nothing but keep its session until `over` is done; answers what came of that. An error when the session ends
    /// before.
    pub(crate) async fn rest<T>(&mut self, over: impl Future<Output = T>) -> Result<T> {
        let mut over = pin!(over);
        loop {
            let frame = tokio::select! {
                biased;
                done = &mut over => return Ok(done),
                frame = self.frame() => frame,
            };
            // Outside of what may be given up: a pong that is half sent would end the session.
            if let Some(Received { packet: Packet::Closed(how), .. }) = self.receive(frame).await {
                bail!("a client that rests is disconnected by {how}");
            }
        }
    }

    /// Ends its session, and then its connections: a server that is not told misses a session that polls only after
    /// its heartbeat.
    pub(crate) async fn leave(mut self) -> Result<()> {
        self.send(packet::CLOSE.to_owned()).await.map(drop)
    }

    async fn receive(&mut self, Frame { at, text }: Frame) -> Option<Received> {
        let packet = match text.as_deref() {
            Err(how) => Packet::Closed(how.clone()),
            Ok("2") => {
                // A session may end between a ping and its pong; the end comes by itself.
                _ = self.send("3".to_owned()).await;
                return None;
            }
            Ok(text) => packet::parse(text, self.namespace)?,
        };
        Some(Received { at, packet })
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

/// From where to where.
#[derive(Clone, Copy)]
struct Way {
    origin: Option<Ipv4Addr>,
    server: SocketAddr,
}

impl Way {
    async fn dial(self) -> Result<TcpStream> {
        let Self { origin, server } = self;
        let tcp = match origin {
            None => TcpStream::connect(server).await,
            Some(origin) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((origin, 0))).with_context(|| format!("cannot use {origin}"))?;
                socket.connect(server).await
            }
        };
        let tcp = tcp.context("cannot connect")?;
        // Otherwise what is small can wait for the server's delayed acknowledgement of what came before.
        tcp.set_nodelay(true).context("cannot connect")?;
        Ok(tcp)
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

/// Whether nobody listened: a connection that only waits is none that is refused.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_told_from_another_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for transport in Transport::ALL {
            let open = Client::open(address, transport, "/");
            let (opened, _) = tokio::join!(open, async { drop(listener.accept()) });
            let error = opened.err().unwrap();
            assert!(!is_refusal(&error), "{error:#}");
        }
        // It keeps the port from others and does not listen.
        let deaf = tokio::net::TcpSocket::new_v4().unwrap();
        deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = deaf.local_addr().unwrap();
        for transport in Transport::ALL {
            let error = Client::open(address, transport, "/").await.err().unwrap();
            assert!(is_refusal(&error), "{error:#}");
        }
    }
}
