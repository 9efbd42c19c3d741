//! Requests over plain TCP, so that every byte is ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exhibit::Stage;
use crate::observation::{After, Fate, Watched};

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server answers.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks for a path.
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    let asking =
        ask(TcpStream::connect(server).await.context("cannot connect")?, server, "GET", path, "", b"");
    let raw = timeout(PATIENCE, asking).await.with_context(|| format!("{path} is not answered"))??;
    answer(&raw).with_context(|| format!("{path} is answered with nothing"))
}

/// Opens a session that polls; answers its id.
pub async fn open_polling(server: SocketAddr, version: u8) -> Result<String> {
    let open = get(server, &format!("/socket.io/?EIO={version}&transport=polling")).await?;
    let id = open.body.split(r#""sid":""#).nth(1).and_then(|rest| rest.split('"').next());
    Ok(id.with_context(|| format!("no session in {:?}", open.body))?.to_owned())
}

/// Posts `body` into a session that polls, and looks what becomes of that request.
pub async fn post(stage: &Stage, version: u8, session: &str, content: &str, body: &[u8]) -> Result<Fate> {
    let tcp = TcpStream::connect(stage.server).await.context("cannot connect")?;
    let mut watched = Watched::new(tcp.local_addr().context("cannot connect")?, stage.watch);
    let path = format!("/socket.io/?EIO={version}&transport=polling&sid={session}");
    let start = Instant::now();
    match timeout(stage.watch, ask(tcp, stage.server, "POST", &path, content, body)).await {
        Err(_) => {}
        Ok(Ok(raw)) if !raw.is_empty() => {
            let status = answer(&raw).context("an answer is HTTP")?.status;
            watched.told = Some(After::new(start.elapsed(), format!("HTTP status {status}")));
        }
        Ok(Ok(_)) => watched.closed = Some(After::new(start.elapsed(), "no answer".to_owned())),
        Ok(Err(error)) => watched.closed = Some(After::new(start.elapsed(), format!("{error:#}"))),
    }
    Ok(Fate::Watched(watched))
}

async fn ask(
    mut tcp: TcpStream,
    server: SocketAddr,
    method: &str,
    path: &str,
    content: &str,
    body: &[u8],
) -> Result<Vec<u8>> {
    let length = body.len();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
    if method == "POST" {
        request += &format!("content-type: {content}\r\ncontent-length: {length}\r\n");
    }
    request += "\r\n";
    tcp.write_all(&[request.as_bytes(), body].concat()).await.context("cannot write")?;
    let mut raw = Vec::new();
    tcp.read_to_end(&mut raw).await.context("cannot read")?;
    Ok(raw)
}

fn answer(raw: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer() {
        let answer = answer(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nhello").expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        assert!(super::answer(b"").is_none());
    }
}
