//! WebSocket clients.

use std::net::SocketAddr;
use std::time::SystemTime;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use crate::server::{DEADLINE, within};

/// A client over TCP or TLS.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) address: SocketAddr,
    /// When it had its address, which others may have had before.
    pub(crate) since: SystemTime,
    socket: WebSocketStream<S>,
}

impl Client {
    pub(crate) async fn connect(server: SocketAddr, path: &str) -> Self {
        let tcp = TcpStream::connect(server).await.expect("the server listens");
        tcp.set_nodelay(true).expect("it is open");
        let address = tcp.local_addr().expect("it is connected");
        Self::upgrade(tcp, address, &format!("ws://{server}{path}")).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn upgrade(io: S, address: SocketAddr, url: &str) -> Self {
        let since = SystemTime::now();
        let upgraded = within(DEADLINE, "upgraded", tokio_tungstenite::client_async(url, io)).await;
        Self { address, since, socket: upgraded.expect("a WebSocket").0 }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        within(DEADLINE, "sent", self.socket.send(Message::text(text))).await.expect("it is open");
    }

    /// Sends without minding whether the other end is still there.
    pub(crate) async fn try_send(&mut self, text: &str) -> bool {
        within(DEADLINE, "sent or refused", self.socket.send(Message::text(text))).await.is_ok()
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        match within(DEADLINE, "a message", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("a text was expected: {other:?}"),
        }
    }

    pub(crate) async fn echoes(&mut self, text: &str) {
        self.send(text).await;
        assert_eq!(self.text().await, text);
    }

    /// Reads on until the close frame, and then until the end of the connection.
    pub(crate) async fn close_frame(&mut self) -> CloseFrame {
        let read = async {
            let frame = loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => break frame,
                    Some(Ok(_)) => {}
                    end => panic!("ended without a close frame that says why: {end:?}"),
                }
            };
            while let Some(Ok(_)) = self.socket.next().await {}
            frame
        };
        within(DEADLINE, "a close frame and the end", read).await
    }
}
