//! The wrapper around a connection, over pipes in memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use watertight::{Attribution, CloseMode, Lease, Registry, Seal, ServerId, TransportTasks};
use watertight_axum::GuardedIo;

use crate::server::{DEADLINE, Left, turn, within};

const CAPACITY: usize = 64;

/// A guarded pipe, its other end, and its compartment with the pipe as its one part.
fn linked() -> (GuardedIo<DuplexStream>, DuplexStream, Lease, Arc<dyn Seal>) {
    let (near, far) = duplex(CAPACITY);
    let io = GuardedIo::new(near, None, ServerId::new());
    let lease = io.connection().linked();
    let part = lease.parts().into_iter().next().expect("linking attaches the pipe");
    (io, far, lease, part)
}

/// Would reveal a polite close that cuts the words of goodbye off, or that a parked reader sleeps through.
#[tokio::test]
async fn polite_ends_reading_and_lets_writing_go_on() {
    let _turn = turn().await;
    let (io, mut far, lease, part) = linked();
    let (mut reader, mut writer) = tokio::io::split(io);
    let reading = tokio::spawn(async move { reader.read(&mut [0; 8]).await });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished(), "it is parked");

    part.close(CloseMode::Polite);
    assert_eq!(within(DEADLINE, "woken", reading).await.expect("no panic").expect("an end, not an error"), 0);
    writer.write_all(b"goodbye").await.expect("writing works");
    let mut heard = [0; 7];
    within(DEADLINE, "goodbye", far.read_exact(&mut heard)).await.expect("it is open");
    assert_eq!(&heard, b"goodbye");
    assert!(!part.is_gone() && !lease.is_empty());
    drop(writer);
    assert_eq!(within(DEADLINE, "the end", far.read(&mut [0; 8])).await.expect("an end"), 0);
    assert!(part.is_gone() && lease.is_empty());
}

/// Would reveal bytes that arrive after the compartment has been told to end: no new work may start.
#[tokio::test]
async fn nothing_is_read_after_polite() {
    let _turn = turn().await;
    let (mut io, mut far, _lease, part) = linked();
    far.write_all(b"one more").await.expect("it is open");
    part.close(CloseMode::Polite);
    assert_eq!(io.read(&mut [0; 8]).await.expect("an end"), 0);
}

/// Would reveal a connection that needs its own, possibly dead, tasks to be closed; or tasks that are parked for ever.
#[tokio::test]
async fn forced_cuts_it_while_both_ends_are_parked() {
    let _turn = turn().await;
    let (io, mut far, lease, part) = linked();
    let (mut reader, mut writer) = tokio::io::split(io);
    let reading = tokio::spawn(async move { (reader.read(&mut [0; 8]).await, reader) });
    let writing = tokio::spawn(async move { (writer.write_all(&[1; CAPACITY * 2]).await, writer) });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished() && !writing.is_finished(), "both are parked");
    let open = TransportTasks::connections();

    part.close(CloseMode::Forced);
    assert_eq!(TransportTasks::connections(), open - 1);
    assert!(part.is_gone() && lease.is_empty());
    // Nobody has polled the near end since.
    let mut rest = Vec::new();
    within(DEADLINE, "the far end sees the end", far.read_to_end(&mut rest)).await.expect("an end");
    assert_eq!(rest.len(), CAPACITY);
    let (read, _reader) = within(DEADLINE, "the reader is woken", reading).await.expect("no panic");
    let (written, mut writer) = within(DEADLINE, "the writer is woken", writing).await.expect("no panic");
    assert_eq!(read.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(written.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
    // Later calls do not hang either.
    assert!(writer.flush().await.is_err() && writer.shutdown().await.is_err());
}

/// Panics when it is read.
struct PanicsInRead;

impl AsyncRead for PanicsInRead {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        panic!("panic of what is guarded")
    }
}

impl AsyncWrite for PanicsInRead {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Would reveal a task that is known only when a read of it has come to an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_read_of_a_task_may_panic() {
    let turn = turn().await;
    let mut io = GuardedIo::new(PanicsInRead, None, ServerId::new());
    let lease = io.connection().linked();
    let reading = tokio::spawn(async move { io.read(&mut [0; 8]).await });
    assert!(within(DEADLINE, "an end", reading).await.is_err_and(|error| error.is_panic()));
    let incident = turn.incident(|incident| {
        incident.message == "panic of what is guarded"
            && incident.offender.as_ref().is_some_and(|offender| offender.id == lease.id())
    });
    assert_eq!(incident.attribution, Attribution::Transport);
}

/// Would reveal a forced close that cannot follow a polite one, or a second one that does harm.
#[tokio::test]
async fn forced_may_follow_polite() {
    let _turn = turn().await;
    let (mut io, mut far, _lease, part) = linked();
    part.close(CloseMode::Polite);
    part.close(CloseMode::Forced);
    part.close(CloseMode::Forced);
    part.close(CloseMode::Polite);
    assert!(io.read(&mut [0; 8]).await.is_err());
    assert_eq!(within(DEADLINE, "the end", far.read(&mut [0; 8])).await.expect("an end"), 0);
}

/// Would reveal entries that stay in the task table, and connections that are counted for ever.
#[tokio::test]
async fn the_counts_come_back() {
    let _turn = turn().await;
    let left = Left::now();
    let (io, mut far, lease, _part) = linked();
    assert_eq!(TransportTasks::connections(), 1);
    let echo = tokio::spawn(async move {
        let (mut io, mut word) = (io, [0; 5]);
        io.read_exact(&mut word).await.expect("it is open");
        io.write_all(&word).await.expect("it is open");
    });
    far.write_all(b"hello").await.expect("it is open");
    within(DEADLINE, "an echo", far.read_exact(&mut [0; 5])).await.expect("it is open");
    echo.await.expect("no panic");
    assert!(Registry::global().by_id(&lease.id()).is_none(), "its last part has gone");
    drop(lease);
    assert_eq!(Left::now(), left);
}

/// Would reveal a panic of the task that polls a connection which is nobody's, or a blamed one before it is known
/// whose connection it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_task_that_polls_it_is_traced() {
    let turn = turn().await;
    for is_linked in [true, false] {
        let (near, mut far) = duplex(CAPACITY);
        let mut io = GuardedIo::new(near, None, ServerId::new());
        let lease = is_linked.then(|| io.connection().linked());
        let id = lease.as_ref().map(|lease| lease.id());
        let polls = tokio::spawn(async move {
            io.read_exact(&mut [0; 5]).await.expect("it is open");
            // As long as the task holds the connection it is the transport's.
            panic!("polled, linked: {is_linked}");
        });
        far.write_all(b"hello").await.expect("it is open");
        let joined: Result<(), _> = polls.await;
        joined.expect_err("it panicked");
        let incident = turn.incident(|incident| incident.message == format!("polled, linked: {is_linked}"));
        assert_eq!(incident.offender.as_ref().map(|offender| offender.id.clone()), id);
        let expected = if is_linked { Attribution::Transport } else { Attribution::Unattributed };
        assert_eq!(incident.attribution, expected);
        let end = within(Duration::from_secs(1), "the end", far.read(&mut [0; 8])).await;
        assert_eq!(end.expect("an end"), 0);
    }
}
