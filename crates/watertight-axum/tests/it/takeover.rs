//! Another process takes over: two servers on one socket stand for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::{DEADLINE, turn};

/// Serves its own name on a socket that others serve as well.
fn serve(
    listener: &std::net::TcpListener,
    name: &'static str,
    taken_over: Arc<AtomicBool>,
) -> (oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let listener = listener.try_clone().expect("another handle of the socket");
    let listener = TcpListener::from_std(listener).expect("a listener");
    let app = Router::new().route("/", get(move || async move { name }));
    let (stop, stopped) = oneshot::channel();
    let serving = watertight_axum::serve(listener, app)
        .drain_timeout(Duration::from_secs(5))
        .taken_over(move || taken_over.load(Ordering::SeqCst))
        .with_graceful_shutdown(async move {
            // Its sender is dropped when the test fails.
            let _ = stopped.await;
        });
    (stop, tokio::spawn(serving.into_future()))
}

/// One request on an open connection. Answers the head and the body.
async fn ask(connection: &mut TcpStream) -> String {
    connection.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.expect("it is open");
    let mut answer = Vec::new();
    let body = |answer: &[u8]| answer.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
    let whole = |answer: &[u8]| body(answer).is_some_and(|at| answer.len() > at);
    while !whole(&answer) {
        let read = timeout(DEADLINE, connection.read_buf(&mut answer)).await.expect("an answer in time");
        assert_ne!(
            read.expect("it is open"),
            0,
            "closed without an answer: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_another_takes_over() {
    let _turn = turn().await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("a flag");
    let address = socket.local_addr().expect("an address");
    let taken_over = Arc::new(AtomicBool::new(false));
    let (stop_old, old) = serve(&socket, "old", Arc::clone(&taken_over));

    let mut idle = TcpStream::connect(address).await.expect("it listens");
    assert!(ask(&mut idle).await.ends_with("old"));
    let (stop_new, new) = serve(&socket, "new", Arc::default());
    taken_over.store(true, Ordering::SeqCst);
    stop_old.send(()).expect("it runs");
    // From some moment on nobody but the new one is reached; until then the old one answers as ever.
    let mut reached = 0;
    while reached < 50 {
        let mut fresh = TcpStream::connect(address).await.expect("somebody listens");
        let answer = ask(&mut fresh).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        reached = if answer.ends_with("new") { reached + 1 } else { 0 };
    }
    // Whoever still has a connection to the old one is answered there, and told to open another.
    let answer = ask(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("old"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(idle.read(&mut [0; 1]).await.expect("closed in peace"), 0);
    timeout(DEADLINE, old).await.expect("it ends").expect("no panic").expect("no error");

    let mut fresh = TcpStream::connect(address).await.expect("the other one listens");
    assert!(ask(&mut fresh).await.ends_with("new"));
    drop(fresh);
    stop_new.send(()).expect("it runs");
    timeout(DEADLINE, new).await.expect("it ends").expect("no panic").expect("no error");
}
