//! A client over a WebSocket, which can do what no honest one does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::exhibit::Stage;
use crate::observation::{After, Fate, Watched};
use crate::packet::{Heard, Parser};

/// How long a server may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a watched client asks for an echo.
const PROBE: Duration = Duration::from_millis(100);
/// How soon a client that enters asks again for its first echo.
const AGAIN: Duration = Duration::from_millis(10);

/// What a client asks for while it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// An echo, ten times a second: whoever gets none is deaf.
    Echo,
    /// Nothing: it only waits.
    Nothing,
}

/// One client with a session of its own.
#[derive(Debug)]
pub struct Client {
    /// Its end of the connection.
    pub address: SocketAddr,
    parser: Parser,
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Opens a session, and enters no namespace.
    pub async fn open(server: SocketAddr, parser: Parser) -> Result<Self> {
        let mut client = Self::at(server, "EIO=4&transport=websocket", parser).await?;
        match client.frame().await? {
            Message::Text(open) if open.starts_with('0') => Ok(client),
            other => bail!("a new session is answered with {other:?}"),
        }
    }

    /// Opens a WebSocket of Socket.IO with any query.
    pub async fn at(server: SocketAddr, query: &str, parser: Parser) -> Result<Self> {
        let tcp = TcpStream::connect(server).await.context("cannot connect")?;
        tcp.set_nodelay(true).context("cannot connect")?;
        let address = tcp.local_addr().context("cannot connect")?;
        let url = format!("ws://{server}/socket.io/?{query}");
        let opening = timeout(PATIENCE, client_async(url, tcp));
        let (socket, _) =
            opening.await.context("no WebSocket in time")?.context("cannot open a WebSocket")?;
        Ok(Self { address, parser, socket })
    }

    /// Opens a session and enters the namespace `/`, where it has got an echo.
    pub async fn join(server: SocketAddr, parser: Parser) -> Result<Self> {
        let mut client = Self::open(server, parser).await?;
        client.send(parser.connect()).await?;
        match timeout(PATIENCE, client.next()).await.context("not let in in time")?? {
            Heard::Joined => {}
            other => bail!("entering is answered with {other:?}"),
        }
        timeout(PATIENCE, client.settle()).await.context("nothing is echoed")??;
        Ok(client)
    }

    /// Asks until it gets an echo: socketioxide drops events that come before the connect handler has registered.
    async fn settle(&mut self) -> Result<()> {
        for attempt in 0_u32.. {
            if let Ok(echoed) = timeout(AGAIN, self.echo(&json!({ "attempt": attempt }))).await {
                return echoed;
            }
        }
        bail!("asked for ever")
    }

    /// Sends any frame.
    pub async fn send(&mut self, frame: Message) -> Result<()> {
        timeout(PATIENCE, self.socket.send(frame)).await.context("nothing is taken")?.context("cannot write")
    }

    /// Sends an event.
    pub async fn emit(&mut self, name: &str, data: &Value) -> Result<()> {
        self.send(self.parser.event(name, data)).await
    }

    /// Asks for an echo and waits for it, however long. An error at the end of the connection.
    pub async fn echo(&mut self, data: &Value) -> Result<()> {
        self.emit("echo", data).await?;
        let wanted = Heard::Event("echo".to_owned(), data.clone());
        while self.next().await? != wanted {}
        Ok(())
    }

    /// The next packet that is not a heartbeat; those are answered. An error at the end of the connection.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            let frame = self.frame_at_any_time().await?;
            match self.parser.read(&frame)? {
                Heard::Ping => self.send(Message::text("3")).await?,
                heard => return Ok(heard),
            }
        }
    }

    /// The next frame, within what a server may take.
    pub async fn frame(&mut self) -> Result<Message> {
        timeout(PATIENCE, self.frame_at_any_time()).await.context("nothing is answered")?
    }

    async fn frame_at_any_time(&mut self) -> Result<Message> {
        match self.socket.next().await {
            Some(Ok(Message::Close(_))) => bail!("a close frame"),
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => bail!("{error}"),
            None => bail!("the end of the stream"),
        }
    }

    /// Leaves in good order.
    pub async fn leave(mut self) -> Result<()> {
        timeout(PATIENCE, self.socket.close(None)).await.context("nothing is taken")?.context("cannot leave")
    }

    /// Looks what becomes of it from now on.
    pub async fn watch(mut self, stage: &Stage, probe: Probe) -> Fate {
        let start = Instant::now();
        let after = |what: String| After::new(start.elapsed(), what);
        let mut watched = Watched::new(self.address, stage.watch);
        let mut probes = interval(PROBE);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(start + stage.watch) => break,
                heard = self.next() => match heard {
                    Ok(Heard::Event(name, _)) if name == "echo" => watched.echoes += 1,
                    Ok(Heard::Event(name, data)) if watched.told.is_none() => {
                        let code = data["code"].as_str().unwrap_or_default();
                        watched.told = Some(after(format!("event `{name}`, code `{code}`")));
                    }
                    Ok(Heard::Refused(message)) if watched.told.is_none() => {
                        watched.told = Some(after(format!("`connect_error` “{}”", without_id(&message))));
                    }
                    Ok(Heard::Joined) => watched.joined = true,
                    Ok(_) => {}
                    Err(end) => {
                        watched.closed = Some(after(end.to_string()));
                        break;
                    }
                },
                _ = probes.tick(), if probe == Probe::Echo => {
                    // A connection that cannot be written to tells its reader so.
                    if self.emit("echo", &Value::from(watched.probes)).await.is_ok() {
                        watched.probes += 1;
                    }
                }
            }
        }
        Fate::Watched(watched)
    }
}

/// Without the id of the incident, which is another one every time.
fn without_id(message: &str) -> String {
    message.split(" (incident ").next().unwrap_or_default().to_owned()
}
