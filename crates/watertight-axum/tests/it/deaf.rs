//! Connections that nobody reads, over real sockets; and those that somebody does, however slowly.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use watertight::{Attribution, Fault, Lease, Location, Registry, ServerId, Verdict};
use watertight_axum::GuardedIo;

use crate::server::{DEADLINE, Turn, turn, until, within};

/// A guarded connection of a session, as the engine has one, and its client.
async fn session() -> (GuardedIo<TcpStream>, TcpStream, Lease) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let (near, peer) = listener.accept().await.expect("a connection");
    let (io, lease) = guarded(near, Some(peer));
    (io, client, lease)
}

/// A guarded connection of a session over any IO.
fn guarded<IO>(io: IO, peer: Option<SocketAddr>) -> (GuardedIo<IO>, Lease)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let io = GuardedIo::new(io, peer, ServerId::new());
    let lease = io.connection().linked();
    let name = format!("deaf-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    assert!(Registry::global().name(&lease, &name));
    (io, lease)
}

/// Some fault that is nobody's starts recovery mode, in which deaf connections are looked for all the time.
fn enter_recovery_mode(turn: &Turn) {
    let report =
        watertight::Report::new(Fault::Panic, Attribution::Unattributed, None, None, "a background task");
    watertight::submit(Box::new(report));
    turn.incident(|incident| incident.message == "a background task");
    assert!(turn.watertight.is_recovering());
}

fn deaf(turn: &Turn, lease: &Lease) -> bool {
    let id = lease.id();
    turn.sink.incidents().iter().any(|incident| {
        incident.fault == Fault::Deaf && incident.offender.as_ref().is_some_and(|offender| offender.id == id)
    })
}

/// Would reveal a reader that is stuck for ever while its client believes that it is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_read_is_found_within_two_seconds_in_recovery_mode() {
    let turn = turn().await;
    let (mut io, mut client, lease) = session().await;
    // It reads once, and then it is stuck with the connection in its hands.
    let (waits, reader_waits) = oneshot::channel();
    let stuck = tokio::spawn(async move {
        let mut words = [0; 5];
        let mut reading = pin!(io.read_exact(&mut words));
        let nothing_yet = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await;
        waits.send(nothing_yet).expect("somebody asks");
        reading.await.expect("the first words");
        std::future::pending::<()>().await;
        drop(io);
    });
    enter_recovery_mode(&turn);
    assert!(within(DEADLINE, "the reader waits", reader_waits).await.expect("its task lives"));
    client.write_all(b"hello").await.expect("it is open");
    client.write_all(b"is anybody there?").await.expect("it is open");

    within(Duration::from_secs(2), "cut", client.read(&mut [0; 8])).await.ok();
    let incident = turn.incident(|incident| incident.fault == Fault::Deaf);
    assert_eq!(incident.verdict, Verdict::Disconnect);
    assert_eq!(incident.offender.as_ref().map(|offender| offender.id.clone()), Some(lease.id()));
    assert!(incident.message.contains("nobody has read"), "{}", incident.message);
    until("nothing left", || lease.is_empty()).await;
    stuck.abort();
}

/// A connection whose news reach nobody: it never wakes who waits for it, so that only who looks finds what has come. Over
/// a real socket the reader is awake long before anybody looks.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Come>>);

/// What has come.
#[derive(Default)]
struct Come {
    bytes: VecDeque<u8>,
    /// Nothing more will.
    end: Option<io::Result<()>>,
}

impl AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut come = self.0.lock();
        if come.bytes.is_empty() {
            return come.end.take().map_or(Poll::Pending, Poll::Ready);
        }
        let length = come.bytes.len().min(buf.remaining());
        for byte in come.bytes.drain(..length) {
            buf.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Would reveal that looking takes bytes away, changes their order, swallows the end, or wakes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_read_loses_nothing_by_being_looked_at() {
    let turn = turn().await;
    enter_recovery_mode(&turn);
    for end in [Ok(()), Err(io::ErrorKind::ConnectionReset)] {
        let silent = Silent::default();
        let (mut io, lease) = guarded(silent.clone(), None);
        let read = Arc::new(Mutex::new(Vec::new()));
        let reading = Arc::clone(&read);
        let reader = tokio::spawn(async move {
            // Fewer than are looked at at once.
            let mut piece = [0; 100];
            loop {
                match io.read(&mut piece).await.map_err(|error| error.kind())? {
                    0 => return Ok(()),
                    length => reading.lock().extend_from_slice(&piece[..length]),
                }
            }
        });
        let mut sent = Vec::new();
        // One, as many as are looked at at once and one more, and many.
        for length in [1, 1024, 1025, 5000] {
            until("the reader waits", || *read.lock() == sent).await;
            let piece = (0..length).map(|n: u32| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]);
            sent.extend(piece.clone());
            silent.0.lock().bytes.extend(piece);
        }
        until("all that was sent", || read.lock().len() >= sent.len()).await;
        silent.0.lock().end = Some(end.map_err(io::Error::from));
        assert_eq!(within(DEADLINE, "the end", reader).await.expect("no panic"), end);
        assert!(*read.lock() == sent, "it came in another order");
        assert!(!deaf(&turn, &lease));
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The same over a real socket, whose reader takes its time: would reveal that what is read there on its behalf comes in
/// another order, or without its end.
#[tokio::test]
async fn what_is_found_on_a_socket_is_read_whole() {
    let turn = turn().await;
    enter_recovery_mode(&turn);
    let (mut io, mut client, lease) = session().await;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut piece = [0; 8];
    let waits = Pin::new(&mut io).poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut piece));
    assert!(waits.is_pending(), "nothing has been sent");
    // More than is looked at at once.
    let sent: Vec<u8> = (0..3000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    client.write_all(&sent).await.expect("it is open");
    client.shutdown().await.expect("it is open");
    // Once because something has come, and once more because it was read on behalf of who waits.
    until("what has come is found", || woken.0.load(Ordering::SeqCst) >= 2).await;
    let mut read = Vec::new();
    within(DEADLINE, "the end", io.read_to_end(&mut read)).await.expect("an end");
    assert!(read == sent, "{} of {} bytes, or in another order", read.len(), sent.len());
    assert!(!deaf(&turn, &lease));
}

/// Would reveal that who reads all that comes is taken for deaf because there is something new at every look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_what_is_found_is_not_deaf_though_more_is_found_at_every_look() {
    let turn = turn().await;
    enter_recovery_mode(&turn);
    let silent = Silent::default();
    let (mut io, lease) = guarded(silent.clone(), None);
    let read = Arc::new(Mutex::new(0));
    let reading = Arc::clone(&read);
    let reader = tokio::spawn(async move {
        while io.read(&mut [0; 100]).await? > 0 {
            *reading.lock() += 1;
        }
        io::Result::Ok(())
    });
    // Longer than it takes to be found deaf, by some looks.
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        silent.0.lock().bytes.push_back(0);
        sent += 1;
        until("it is read", || *read.lock() >= sent).await;
    }
    assert!(sent >= 5, "looked at {sent} times only");
    assert!(!reader.is_finished() && !deaf(&turn, &lease), "after {sent} pieces");
    silent.0.lock().end = Some(Ok(()));
    within(DEADLINE, "the end", reader).await.expect("no panic").expect("no error");
}

/// A connection whose own code panics when it is read after its first bytes.
struct Breaks {
    has_read: bool,
}

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        assert!(!std::mem::replace(&mut self.has_read, true), "a broken transport");
        Poll::Pending
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Would reveal a panic of the transport that nobody is told of, because it came when the recovery looked and not when its
/// reader read; and one that ends the look at all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transport_that_panics_when_it_is_looked_at_is_sealed_for_it() {
    let turn = turn().await;
    let before = turn.watertight.stats();
    let broken: Vec<_> = (0..3).map(|_| guarded(Breaks { has_read: false }, None)).collect();
    let (readers, leases): (Vec<_>, Vec<_>) = broken
        .into_iter()
        .map(|(mut io, lease)| (tokio::spawn(async move { io.read(&mut [0; 8]).await.is_ok() }), lease))
        .unzip();
    enter_recovery_mode(&turn);
    for lease in &leases {
        let incident = turn.incident(|incident| {
            let of_it = incident.offender.as_ref().is_some_and(|offender| offender.id == lease.id());
            of_it && incident.attribution == Attribution::Transport
        });
        assert_eq!(incident.fault, Fault::Panic);
        assert_eq!((incident.verdict, &*incident.message), (Verdict::Disconnect, "a broken transport"));
        assert_eq!(incident.location.as_ref().map(Location::file_name), Some("deaf.rs"));
        until("nothing left", || lease.is_empty()).await;
    }
    for reader in readers {
        assert!(!within(DEADLINE, "the end", reader).await.expect("its reader does not panic"));
    }
    let panics = || turn.watertight.stats().panics - before.panics;
    until("what they send before they hang up is not read either", || panics() >= 6).await;
    let stats = turn.watertight.stats();
    let others = (stats.unattributed, stats.recovery_panics);
    assert_eq!((panics(), others), (6, (before.unattributed + 1, before.recovery_panics)));
}

/// Would reveal a false alarm about one that reads seldom, or whose client says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_or_is_idle_is_not_deaf() {
    let turn = turn().await;
    enter_recovery_mode(&turn);
    let (mut slow, mut talker, slow_lease) = session().await;
    let (mut idle, silent, idle_lease) = session().await;
    talker.write_all(&[7; 64 * 1024]).await.expect("it is open");
    let reading = tokio::spawn(async move {
        let mut piece = [0; 64];
        loop {
            slow.read_exact(&mut piece).await.expect("there is more");
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    });
    let waiting = tokio::spawn(async move { idle.read(&mut [0; 8]).await });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!deaf(&turn, &slow_lease) && !deaf(&turn, &idle_lease));
    assert!(!waiting.is_finished(), "nothing came");
    reading.abort();
    drop(silent);
    assert_eq!(within(DEADLINE, "the end", waiting).await.expect("no panic").expect("an end"), 0);
}
