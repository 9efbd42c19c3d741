//! Engine.IO over HTTP: one connection for the polls, of which one is always under way, and one for what is sent.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::packet::SEPARATOR;
use super::{Frame, Way};

pub(super) struct Polling {
    posts: Http,
    /// What the polls bring, and the end as the last of it.
    received: mpsc::UnboundedReceiver<Frame>,
    /// The polls, and both connections; they end with the client.
    _tasks: JoinSet<()>,
}

impl Polling {
    /// Opens a session; answers the open packet with it.
    pub(super) async fn open(way: Way) -> Result<(Self, String)> {
        let mut tasks = JoinSet::new();
        let mut polls = Http::open(way, &mut tasks).await?;
        let mut posts = Http::open(way, &mut tasks).await?;
        let (status, open) = polls.ask(Method::GET, String::new()).await?;
        ensure!(status == StatusCode::OK, "a session is refused with {status}");
        let sid = super::session_id(&open)?;
        for http in [&mut polls, &mut posts] {
            http.path = format!("{PATH}&sid={sid}");
        }
        let (sender, received) = mpsc::unbounded_channel();
        tasks.spawn(poll(polls, sender));
        Ok((Self { posts, received, _tasks: tasks }, open))
    }

    /// The server has the packet when this is done.
    pub(super) async fn send(&mut self, packet: String) -> Result<()> {
        let (status, answer) = self.posts.ask(Method::POST, packet.clone()).await?;
        ensure!(status == StatusCode::OK, "{packet} is answered with {status} {answer}");
        Ok(())
    }

    /// All of them in one request.
    pub(super) async fn send_all(&mut self, packets: &[String]) -> Result<()> {
        self.send(packets.join(&SEPARATOR.to_string())).await
    }

    pub(super) async fn next(&mut self) -> Frame {
        let over = || Frame { at: Instant::now(), text: Err("read after its end".to_owned()) };
        self.received.recv().await.unwrap_or_else(over)
    }
}

/// Polls until the session ends, or nobody reads what comes.
async fn poll(mut http: Http, received: mpsc::UnboundedSender<Frame>) {
    loop {
        let answer = http.ask(Method::GET, String::new()).await;
        let at = Instant::now();
        let end = match answer {
            Ok((StatusCode::OK, body)) => {
                for text in body.split(SEPARATOR).filter(|text| !text.is_empty()) {
                    let closed = text == "1";
                    if received.send(Frame { at, text: Ok(text.to_owned()) }).is_err() || closed {
                        return;
                    }
                }
                continue;
            }
            Ok((status, body)) => format!("a poll is answered with {status} {body}"),
            Err(error) => format!("a poll fails: {error:#}"),
        };
        _ = received.send(Frame { at, text: Err(end) });
        return;
    }
}

const PATH: &str = "/socket.io/?EIO=4&transport=polling";

/// One connection that is kept.
pub(super) struct Http {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    pub(super) path: String,
}

impl Http {
    pub(super) async fn open(way: Way, tasks: &mut JoinSet<()>) -> Result<Self> {
        let (requests, connection) =
            handshake(TokioIo::new(way.dial().await?)).await.context("cannot speak HTTP")?;
        tasks.spawn(async move {
            // Its requests tell of its end.
            _ = connection.await;
        });
        Ok(Self { requests, host: way.server.to_string(), path: PATH.to_owned() })
    }

    pub(super) async fn ask(&mut self, method: Method, body: String) -> Result<(StatusCode, String)> {
        self.requests.ready().await.context("an HTTP connection has ended")?;
        let mut request = Request::builder().method(&method).uri(&self.path).header(header::HOST, &self.host);
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "text/plain;charset=UTF-8");
        }
        let request = request.body(Full::from(body)).context("not a request")?;
        let response = self.requests.send_request(request).await.context("a request is not answered")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("an answer ends early")?.to_bytes();
        Ok((status, String::from_utf8(body.into()).context("an answer is not text")?))
    }
}
