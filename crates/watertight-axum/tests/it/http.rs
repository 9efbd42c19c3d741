//! HTTP clients.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::server::{DEADLINE, within};

/// One connection that is kept alive.
pub(crate) struct Http {
    server: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Http {
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.expect("the server listens");
        stream.set_nodelay(true).expect("it is open");
        Self { server, stream: BufReader::new(stream) }
    }

    /// Sends a request and reads the status and the body of its answer.
    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.server);
        self.stream.write_all(request.as_bytes()).await.expect("it is open");
        within(DEADLINE, "an answer", self.answer()).await
    }

    /// Sends a request with a body and reads the answer. What is to be awaited in the middle may be said with `cut`: after how
    /// much of the body.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        cut: Option<(usize, impl Future<Output = ()>)>,
    ) -> (u16, String) {
        let (host, length) = (self.server, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n");
        let mut request = head.clone() + body;
        if let Some((cut, is_read)) = cut {
            let rest = request.split_off(head.len() + cut);
            self.stream.write_all(request.as_bytes()).await.expect("it is open");
            is_read.await;
            request = rest;
        }
        self.stream.write_all(request.as_bytes()).await.expect("it is open");
        within(DEADLINE, "an answer", self.answer()).await
    }

    /// Has the connection upgraded to one of lines.
    pub(crate) async fn upgrade(&mut self, path: &str) {
        let host = self.server;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: lines\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.expect("it is open");
        let (status, _) = within(DEADLINE, "an answer", self.answer()).await;
        assert_eq!(status, 101);
    }

    /// Sends a line and reads one.
    pub(crate) async fn echo(&mut self, line: &str) -> String {
        self.stream.write_all(format!("{line}\n").as_bytes()).await.expect("it is open");
        let mut echo = String::new();
        within(DEADLINE, "an echo", self.stream.read_line(&mut echo)).await.expect("it is open");
        echo.trim_end().to_owned()
    }

    async fn answer(&mut self) -> (u16, String) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).await.expect("it is open");
            assert_ne!(read, 0, "the connection was closed instead of answered");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.expect("the whole body");
        (status, String::from_utf8(body).expect("text"))
    }

    /// Waits until the server closes it.
    pub(crate) async fn ends(&mut self) {
        let mut rest = Vec::new();
        let read = within(DEADLINE, "the end", self.stream.read_to_end(&mut rest)).await;
        assert_eq!(read.expect("closed and not reset"), 0, "{rest:?}");
    }

    /// Its own end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("it is connected")
    }
}
