//! Graceful shutdown: clients are told, and nobody holds it up.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::http::Http;
use crate::server::{ANSWER, DEADLINE, Left, STUCK, Server, WAITS, turn, within};

/// On top of the drain timeout: for last responses (500 ms), and for a busy machine.
const SPARE: Duration = Duration::from_millis(1000);

/// Would reveal clients that see their connection break without a reason, or a server that waits for its timeout
/// though everybody has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_1001() {
    let turn = turn().await;
    let server = Server::start().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect(server.address, "/echo").await;
        client.echoes("before").await;
        clients.push(client);
    }
    let idle = TcpStream::connect(server.address).await.expect("the server listens");
    let known = turn.sink.incidents().len();
    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    for client in &mut clients {
        let frame = client.close_frame().await;
        assert_eq!(u16::from(frame.code), 1001);
        assert_eq!(frame.reason.len(), 26, "the id of the notice: {:?}", frame.reason);
    }
    let took = stopping.await.expect("no panic");
    println!("shut down ten clients in {took:.1?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(turn.sink.incidents().len(), known, "an end is not an incident");
    drop(idle);
    Left::default().is_back(DEADLINE).await;
}

/// Would reveal a shutdown that lasts as long as a client pleases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_client_does_not_hold_it_up() {
    let _turn = turn().await;
    // To seal a client that does not read takes 400 ms. The first server does not wait for that, the second does.
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(2));
    for (drain_timeout, bound) in [(short, Duration::from_millis(350)), (long, Duration::from_secs(1))] {
        let server = Server::start_with(drain_timeout).await;
        let mut stuck = Client::connect(server.address, "/echo").await;
        stuck.send("fill").await;
        let mut client = Client::connect(server.address, "/echo").await;
        client.echoes("before").await;
        let took = server.stop().await;
        println!("with a stuck client and {drain_timeout:?}: {took:.1?}");
        assert!(took < bound, "{took:?}");
        assert_eq!(u16::from(client.close_frame().await.code), 1001);
        Left::default().is_back(DEADLINE).await;
    }
}

/// Would reveal a request that holds the shutdown up, or that goes on after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_request_is_cut_off() {
    let _turn = turn().await;
    let drain_timeout = Duration::from_millis(100);
    let server = Server::start_with(drain_timeout).await;
    let mut http = TcpStream::connect(server.address).await.expect("the server listens");
    let request = format!("GET /stuck HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    http.write_all(request.as_bytes()).await.expect("it is open");
    within(DEADLINE, "the request in its handler", STUCK.notified()).await;
    let took = server.stop().await;
    assert!(took < drain_timeout + SPARE, "{took:?}");
    let mut answer = Vec::new();
    // An error is as good as an end.
    let _ = within(DEADLINE, "the end of the connection", http.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{answer:?}");
    Left::default().is_back(DEADLINE).await;
}

/// Would reveal an idle connection that is not woken when the server ends, and a request that is lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_end_at_once_and_a_request_under_way_is_answered() {
    let _turn = turn().await;
    for server in [Server::start().await, Server::start_each().await] {
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut http = Http::connect(server.address).await;
            assert_eq!(http.get("/health").await, (200, "OK".to_owned()));
            idle.push(http);
        }
        let mut busy = Http::connect(server.address).await;
        let answered = tokio::spawn(async move {
            let answer = busy.get("/waits").await;
            (answer, busy.ends().await)
        });
        within(DEADLINE, "the request in its handler", WAITS.notified()).await;
        let stopping = tokio::spawn(server.stop());
        for mut http in idle {
            within(Duration::from_secs(1), "an idle connection ends", http.ends()).await;
        }
        assert!(!stopping.is_finished(), "a request is under way");
        ANSWER.notify_one();
        let (answer, ()) = within(DEADLINE, "an answer and an end", answered).await.expect("no panic");
        assert_eq!(answer, (200, "OK".to_owned()));
        let took = stopping.await.expect("no panic");
        assert!(took < Duration::from_secs(2), "{took:?}");
        Left::default().is_back(DEADLINE).await;
    }
}

/// Would reveal connections that are served for ever by a server that nobody waits for any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_with_a_server_that_is_dropped() {
    let _turn = turn().await;
    for server in [Server::start().await, Server::start_each().await] {
        let mut idle = Http::connect(server.address).await;
        assert_eq!(idle.get("/health").await, (200, "OK".to_owned()));
        let mut busy = Http::connect(server.address).await;
        let answered = tokio::spawn(async move {
            let answer = busy.get("/waits").await;
            (answer, busy.ends().await)
        });
        within(DEADLINE, "the request in its handler", WAITS.notified()).await;
        drop(server);
        within(Duration::from_secs(1), "an idle connection ends", idle.ends()).await;
        ANSWER.notify_one();
        let (answer, ()) = within(DEADLINE, "an answer and an end", answered).await.expect("no panic");
        assert_eq!(answer, (200, "OK".to_owned()));
        Left::default().is_back(DEADLINE).await;
    }
}
