//! Engine.IO over a WebSocket.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Frame, Way};

/// In bytes: packets here are small, and clients are many.
const READ_BUFFER: usize = 2048;

pub(super) struct WebSocket {
    stream: WebSocketStream<TcpStream>,
}

impl WebSocket {
    pub(super) async fn open(way: Way) -> Result<Self> {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", way.server);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let opening = client_async_with_config(url, way.dial().await?, Some(config));
        let (stream, _) = opening.await.context("cannot open a WebSocket")?;
        Ok(Self { stream })
    }

    pub(super) async fn send(&mut self, packet: String) -> Result<()> {
        self.stream.send(Message::text(packet)).await.context("cannot write to a WebSocket")
    }

    /// All of them in as few writes as they fit in.
    pub(super) async fn send_all(&mut self, packets: Vec<String>) -> Result<()> {
        for packet in packets {
            self.stream.feed(Message::text(packet)).await.context("cannot write to a WebSocket")?;
        }
        self.stream.flush().await.context("cannot write to a WebSocket")
    }

    /// Its own end.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Of a connection that is being cut, what comes before the end is still read.
    pub(super) async fn next(&mut self) -> Frame {
        loop {
            let message = self.stream.next().await;
            let at = Instant::now();
            let text = match message {
                Some(Ok(Message::Text(text))) => Ok(text.to_string()),
                Some(Ok(Message::Close(_))) => Err("a close frame".to_owned()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the end of the stream".to_owned()),
                Some(Ok(_)) => continue,
            };
            return Frame { at, text };
        }
    }
}
