//! A client of any peer: Socket.IO, or lines over TCP where the peer speaks nothing else.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Client, Packet, Transport};

/// The longest that an echo is waited for: longer than anything is blocked.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a peer speaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Language {
    /// Socket.IO, in that namespace.
    SocketIo(&'static str),
    Lines,
}

/// One client.
pub(super) enum Party {
    SocketIo(Client),
    Lines(BufReader<TcpStream>),
}

/// What comes to the client of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is told what happened.
    Told,
    /// Its connection has ended, or it is out of its namespace.
    Closed,
}

impl Party {
    pub(super) async fn join(server: SocketAddr, language: Language) -> Result<Self> {
        let joining = async {
            Ok(match language {
                Language::SocketIo(namespace) => {
                    let mut client = Client::open(server, Transport::WebSocket, namespace).await?;
                    client.enter().await?;
                    Self::SocketIo(client)
                }
                Language::Lines => {
                    let tcp = TcpStream::connect(server).await.context("cannot connect")?;
                    tcp.set_nodelay(true).context("cannot connect")?;
                    let mut party = Self::Lines(BufReader::new(tcp));
                    // It is in when it is answered.
                    party.echo(0).await?;
                    party
                }
            })
        };
        timeout(PATIENCE, joining).await.context("joining takes too long")?
    }

    /// Sends a number and waits until it is back.
    pub(super) async fn echo(&mut self, number: u64) -> Result<()> {
        let echoing = async {
            match self {
                Self::SocketIo(client) => client.echo(&Value::from(number)).await.map(|_| ()),
                Self::Lines(tcp) => {
                    let line = format!("echo {number}\n");
                    tcp.write_all(line.as_bytes()).await?;
                    let answer = read_line(tcp).await?;
                    ensure!(answer == line, "{line:?} comes back as {answer:?}");
                    Ok(())
                }
            }
        };
        timeout(PATIENCE, echoing).await.context("an echo takes too long")?
    }

    /// Asks for a fault; answers when that began.
    pub(super) async fn ask_for(&mut self, fault: &str) -> Result<Instant> {
        let begun = Instant::now();
        match self {
            Self::SocketIo(client) => _ = client.emit(fault, &json!({})).await?,
            Self::Lines(tcp) => tcp.write_all(format!("{fault}\n").as_bytes()).await?,
        }
        Ok(begun)
    }

    /// Waits for what comes of it, which may take for ever.
    pub(super) async fn news(&mut self) -> News {
        match self {
            Self::SocketIo(client) => loop {
                match client.next_ever().await.packet {
                    Packet::Event { name, .. } if name == "incident" => return News::Told,
                    Packet::Closed(_) | Packet::Disconnected => return News::Closed,
                    _ => {}
                }
            },
            Self::Lines(tcp) => {
                while read_line(tcp).await.is_ok() {}
                News::Closed
            }
        }
    }
}

async fn read_line(tcp: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    let read = tcp.read_line(&mut line).await?;
    ensure!(read > 0, Error::from(ErrorKind::UnexpectedEof));
    Ok(line)
}
