//! A raw Socket.IO client that polls: each request is one connection, and it fetches only when it is told to.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::DEADLINE;

pub(crate) struct PollingClient {
    server: SocketAddr,
    pub(crate) sid: String,
}

/// An answer of the engine.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl PollingClient {
    /// Opens a session.
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let mut client = Self { server, sid: String::new() };
        let open = client.request("GET", "", "").await.body;
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).unwrap();
        client.sid = open["sid"].as_str().unwrap().to_owned();
        client
    }

    /// Opens a session and joins a namespace.
    pub(crate) async fn join(server: SocketAddr, ns: &str) -> Self {
        let client = Self::open(server).await;
        assert_eq!(client.post(&format!("40{ns},")).await.body, "ok");
        let mut received = String::new();
        while !received.contains(&format!("40{ns},")) {
            received.push_str(&client.poll("").await.body);
        }
        client
    }

    /// Fetches what there is, or waits for it; answers pings by itself.
    pub(crate) async fn poll(&self, query: &str) -> Answer {
        let answer = self.request("GET", query, "").await;
        if answer.body.split('\u{1e}').any(|packet| packet == "2") {
            self.post("3").await;
        }
        answer
    }

    pub(crate) async fn post(&self, payload: &str) -> Answer {
        self.request("POST", "", payload).await
    }

    pub(crate) async fn emit(&self, ns: &str, event: &str, data: Value) {
        let packet = format!("42{ns},{}", serde_json::json!([event, data]));
        assert_eq!(self.post(&packet).await.body, "ok");
    }

    async fn request(&self, method: &str, query: &str, body: &str) -> Answer {
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let length = body.len();
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{sid}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let exchange = async {
            let mut tcp = TcpStream::connect(self.server).await.expect("the server accepts");
            tcp.write_all(request.as_bytes()).await.expect("it reads");
            let mut response = String::new();
            tcp.read_to_string(&mut response).await.expect("it answers");
            response
        };
        let response = timeout(DEADLINE, exchange).await.expect("an answer within the deadline");
        let (head, body) = response.split_once("\r\n\r\n").expect("a response");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, body: body.to_owned() }
    }
}
