use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::client::{TestServer, get_until, soon};

#[tokio::test]
async fn every_client_is_told_before_it_is_closed() {
    let server = TestServer::start(&["recovery.retry_after_ms=1234"]).await;
    let (mut player, mut operator) = (server.client("/").await, server.client("/admin").await);
    let (ended, to_player, to_operator) =
        tokio::join!(server.stop(), player.events_to_the_end(), operator.events_to_the_end());
    () = ended;
    for events in [to_player, to_operator] {
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].0, "incident");
        assert_eq!(events[0].1["code"], "shutdown");
        assert_eq!(events[0].1["retryAfterMs"], 1234);
    }
}

/// A request that is never finished would hold an ordinary graceful shutdown for ever.
#[tokio::test]
async fn a_client_that_does_not_close_cannot_hold_the_end() {
    let server = TestServer::start(&["server.drain_timeout_ms=100"]).await;
    let mut stream = soon("a connection", TcpStream::connect(server.address)).await.expect("accepted");
    let session = open_polling_session(&mut stream).await;
    // The server waits for a body that never comes.
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n4"
    );
    stream.write_all(request.as_bytes()).await.expect("open");
    let _player = server.client("/").await;

    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// A load balancer that gets no answer, or one that says nothing, goes on sending clients here.
#[tokio::test]
async fn who_asks_whether_it_is_ready_is_answered_to_the_end() {
    let server = TestServer::start(&[]).await;
    let mut stream = soon("a connection", TcpStream::connect(server.address)).await.expect("accepted");
    // It is told by its next poll, which never comes: the drain waits for it.
    let session = open_polling_session(&mut stream).await;
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n40"
    );
    stream.write_all(request.as_bytes()).await.expect("open");
    server.wait_for_connections(1).await;
    assert!(
        get_until(server.address, "/ready", |answer| answer.status == 200)
            .await
            .body
            .contains("\"draining\":false")
    );

    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    let answer = get_until(address, "/ready", |answer| answer.status == 503).await;
    assert_eq!(answer.json()["ready"], false);
    assert_eq!(answer.json()["draining"], true);
    assert_eq!(get_until(address, "/health", |_| true).await.status, 503);
    assert_eq!(get_until(address, "/metrics", |_| true).await.status, 200);
    stopping.await.expect("no panic");
}

/// Opens a session and leaves the connection ready for its next request.
async fn open_polling_session(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .expect("open");
    let mut answer = String::new();
    loop {
        let mut bytes = [0; 1024];
        let length = soon("an answer", stream.read(&mut bytes)).await.expect("open");
        answer.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
        let session = answer.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((session, _)), true) = (session, answer.ends_with('}')) {
            return session.to_owned();
        }
    }
}
