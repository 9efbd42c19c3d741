//! What hyper reads into, for clients that poll.

use std::future::IntoFuture;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::http::Http;
use crate::server::{turn, until};

const POLLS: &str = "/socket.io/?EIO=4&transport=polling&t=x&sid=AAAAAAAAAAAAAAHs";
/// hyper's buffer when it is new.
const NEW: usize = 8192;

/// What is seen of all connections.
#[derive(Default)]
struct Seen {
    /// How much room each read had, and whether there was anything.
    rooms: Mutex<Vec<(usize, bool)>>,
    /// How much was to be written by each write of several pieces.
    in_pieces: Mutex<Vec<usize>>,
}

impl Seen {
    fn rooms(&self) -> MutexGuard<'_, Vec<(usize, bool)>> {
        self.rooms.lock().expect("nobody panics")
    }
}

/// How many reads that found something had room for a small piece.
fn pieces(reads: &[(usize, bool)]) -> usize {
    reads.iter().filter(|(room, found)| *found && *room < 64).count()
}

/// A listener whose connections note what is read and written.
struct Noting(TcpListener, Arc<Seen>);

struct NotingIo(TcpStream, Arc<Seen>);

impl Listener for Noting {
    type Io = NotingIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (NotingIo, SocketAddr) {
        let (io, address) = Listener::accept(&mut self.0).await;
        (NotingIo(io, Arc::clone(&self.1)), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl AsyncRead for NotingIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.rooms().push((room, polled.is_ready()));
        polled
    }
}

impl AsyncWrite for NotingIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        self.1.in_pieces.lock().expect("nobody panics").push(length);
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A server that answers what it is sent, and what is seen of it.
async fn serve() -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, seen) = (listener.local_addr().expect("it is bound"), Arc::<Seen>::default());
    let answers = get(async || "OK").post(async |body: String| body);
    let app = Router::new()
        .route("/socket.io/", answers.clone())
        .route("/other", answers)
        .route("/upgrade", get(upgrade));
    let listener = Noting(listener, Arc::clone(&seen));
    tokio::spawn(watertight_axum::serve(listener, app.layer(DefaultBodyLimit::disable())).into_future());
    (address, seen)
}

/// Gives the connection to what echoes lines, and reads like many do: with a buffer of 8 KiB.
async fn upgrade(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut lines = BufReader::new(TokioIo::new(upgrade.await.expect("an upgrade")));
        let mut line = String::new();
        while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
            lines.write_all(line.as_bytes()).await.expect("it is open");
            line.clear();
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("lines"));
    response
}

/// Asks often enough that the first buffer, which is larger, is used up. Answers the rooms of the latter half.
async fn rooms_of(path: &str) -> Vec<(usize, bool)> {
    let (server, seen) = serve().await;
    let mut http = Http::connect(server).await;
    let mut half = 0;
    for round in 0..400 {
        assert_eq!(http.get(path).await, (200, "OK".to_owned()));
        if round == 200 {
            half = seen.rooms().len();
        }
    }
    let rooms = seen.rooms();
    rooms[half..].to_vec()
}

#[tokio::test]
async fn a_busy_client_that_polls_has_room_for_many_requests() {
    let _turn = turn().await;
    let rooms = rooms_of(POLLS).await;
    let large = rooms.iter().filter(|(room, _)| *room > NEW).count();
    assert!(large * 2 > rooms.len(), "{large} of {}", rooms.len());
    let pieces = pieces(&rooms);
    assert!((1..rooms.len() / 10).contains(&pieces), "{pieces} of {}", rooms.len());
    // Of others hyper has what it takes by itself: this test sees the difference.
    let rooms = rooms_of("/other").await;
    assert!(rooms.iter().all(|(room, _)| *room <= NEW), "{rooms:?}");
}

/// Would reveal a body that is cut into the small pieces that heads are cut into, or that loses one, and an answer that is
/// written in several though it is small.
#[tokio::test]
async fn bodies_arrive_whole_and_in_large_pieces() {
    let _turn = turn().await;
    let (server, seen) = serve().await;
    let mut http = Http::connect(server).await;
    let text: String = (0..300_000).map(|number| char::from(b'a' + (number % 23) as u8)).collect();
    for round in 0..20 {
        for size in [0, 1, 100, 8000, NEW, 8200, 20_000, 300_000] {
            let body = &text[..size];
            // With the head, after it, and in two.
            for cut in [None, Some(0), Some(size / 2)] {
                let before = seen.rooms().len();
                let reads = || seen.rooms().len() - before;
                // Of its head, and before or after that of what is not there yet.
                let is_read = || until("it has been read", || size == 0 || reads() > 1);
                let (status, answer) = http.send("POST", POLLS, body, cut.map(|cut| (cut, is_read()))).await;
                assert_eq!(status, 200);
                assert!(answer == body, "{size} bytes in round {round}: {} came back", answer.len());
                let rooms = &seen.rooms()[before..];
                // At most one of the head, which makes room: of a body it would only be one read more.
                assert!(pieces(rooms) <= 1, "{size} bytes: {rooms:?}");
                for two in rooms.windows(2).filter(|two| pieces(&two[..1]) == 1) {
                    assert!(two[1].0 > NEW, "{size} bytes: {rooms:?}");
                }
            }
        }
    }
    let in_pieces = seen.in_pieces.lock().expect("nobody panics");
    assert!(!in_pieces.is_empty(), "what is large is not put together");
    assert!(in_pieces.iter().all(|&length| length > 4096), "{in_pieces:?}");
}

/// What follows an upgrade is no head, and comes as it is.
#[tokio::test]
async fn an_upgraded_connection_is_read_as_it_is() {
    let _turn = turn().await;
    let (server, seen) = serve().await;
    for requests in 200..240 {
        let mut http = Http::connect(server).await;
        for _ in 0..requests {
            assert_eq!(http.get(POLLS).await, (200, "OK".to_owned()));
        }
        http.upgrade("/upgrade").await;
        let before = seen.rooms().len();
        assert_eq!(
            http.echo("a line that is long enough to be cut").await,
            "a line that is long enough to be cut"
        );
        let rooms = &seen.rooms()[before..];
        assert_eq!(pieces(rooms), 0, "{rooms:?}");
    }
}
