//! Connections that nobody reads, over real sockets; and those that somebody does, however slowly.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use watertight::{Attribution, Fault, Lease, Registry, ServerId, Verdict};
use watertight_axum::GuardedIo;

use crate::server::{DEADLINE, Turn, turn, within};

/// A guarded connection of a session, as the engine has one, and its client.
async fn session() -> (GuardedIo<TcpStream>, TcpStream, Lease) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let (near, peer) = listener.accept().await.expect("a connection");
    let io = GuardedIo::new(near, Some(peer), ServerId::new());
    let lease = io.connection().linked();
    let name = format!("deaf-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    assert!(Registry::global().name(&lease, &name));
    (io, client, lease)
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
    let stuck = tokio::spawn(async move {
        io.read_exact(&mut [0; 5]).await.expect("the first words");
        std::future::pending::<()>().await;
        drop(io);
    });
    enter_recovery_mode(&turn);
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.write_all(b"hello").await.expect("it is open");
    client.write_all(b"is anybody there?").await.expect("it is open");

    within(Duration::from_secs(2), "cut", client.read(&mut [0; 8])).await.ok();
    let incident = turn.incident(|incident| incident.fault == Fault::Deaf);
    assert_eq!(incident.verdict, Verdict::Disconnect);
    assert_eq!(incident.offender.as_ref().map(|offender| offender.id.clone()), Some(lease.id()));
    assert!(incident.message.contains("nobody has read"), "{}", incident.message);
    within(DEADLINE, "nothing left", async {
        while !lease.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    stuck.abort();
}

/// Would reveal that looking takes bytes away, changes their order, or wakes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_read_loses_nothing_by_being_looked_at() {
    let turn = turn().await;
    enter_recovery_mode(&turn);
    let (mut io, mut client, lease) = session().await;
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.expect("an end, not an error");
        all
    });
    let mut sent = Vec::new();
    // Through five looks: small pieces, large ones, and silence.
    for round in 0..250_u32 {
        let piece: Vec<u8> = (0..=(round * 97) % 5000).map(|n| n.to_le_bytes()[0]).collect();
        client.write_all(&piece).await.expect("it is open");
        sent.extend_from_slice(&piece);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(client);
    let read = within(DEADLINE, "all of it", reader).await.expect("no panic");
    assert!(read == sent, "{} bytes instead of {}", read.len(), sent.len());
    assert!(!deaf(&turn, &lease));
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
