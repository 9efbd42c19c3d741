//! Clients that do not read what they are sent, and those that do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;
use watertight::{Compartment, Fault, Registry, Verdict};
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};
use watertight_socketioxide::{SendError, SocketError, SocketIo};

use crate::client::{Bystander, Client, DEADLINE};
use crate::polling::PollingClient;
use crate::server::{echo, incidents_of, is_gone, serve};

/// The engine's send buffer, in packets.
const BUFFER: usize = 128;
/// Found after two seconds in which nothing was taken, at the next sweep; a buffer with room would be given five.
const FOUND: Duration = Duration::from_millis(3500);

/// What became of the packets that were sent to one session.
#[derive(Default, Clone, Copy)]
struct Sent {
    taken: usize,
    refused: usize,
    /// Since when.
    full: Option<Instant>,
}

type Counts = Arc<Mutex<HashMap<String, Sent>>>;

/// A server that sends more than a buffer holds at once, again and again, to who asks for it.
async fn serve_floods() -> (SocketAddr, SocketIo, Counts) {
    let counts = Counts::default();
    let counting = Arc::clone(&counts);
    let (server, io) = serve(move |io| {
        io.ns("/flooded", async move |socket: SocketRef| {
            echo(&socket);
            socket.on("identify", async |socket: SocketRef, Data::<String>(name), ack: AckSender| {
                ack.send(&socket.identify(name).is_ok()).ok();
            });
            let flooding =
                async move |socket: SocketRef, Data::<Flood>(what)| flood(&socket, &what, &counting).await;
            socket.on("flood", flooding);
        });
    })
    .await;
    (server, io, counts)
}

/// So many packets at once, and so many milliseconds until the next.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Flood {
    packets: usize,
    pause: u64,
}

/// The bytes of a packet: of less than a buffer full the connection's own buffers are full as well.
const BYTES: usize = 16 * 1024;
/// More than the buffer holds.
const BURSTS: Flood = Flood { packets: 3 * BUFFER, pause: 100 };
/// What its client takes is replaced at once: the buffer is full whenever somebody looks.
const STEADY: Flood = Flood { packets: BUFFER / 4, pause: 5 };

async fn flood(socket: &SocketRef, what: &Flood, counts: &Counts) {
    let text = "x".repeat(BYTES);
    let until = Instant::now() + DEADLINE;
    while socket.connected() && Instant::now() < until {
        for _ in 0..what.packets {
            let sent = socket.emit("much", &text);
            let mut counts = counts.lock();
            let count = counts.entry(socket.id.to_string()).or_default();
            match sent {
                Ok(()) => count.taken += 1,
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    count.refused += 1;
                    count.full.get_or_insert_with(Instant::now);
                }
                Err(_) => return,
            }
        }
        tokio::time::sleep(Duration::from_millis(what.pause)).await;
    }
}

fn sent_to(counts: &Counts, sid: &str) -> Sent {
    counts.lock().get(sid).copied().unwrap_or_default()
}

/// A session that does not read is found soon after its buffer is full: a warning, then the end.
async fn is_cut(sid: &str, counts: &Counts) {
    incidents_of(sid, 1).await;
    let full = sent_to(counts, sid).full.expect("its buffer is full");
    assert!(full.elapsed() < FOUND, "found after {:?}", full.elapsed());
    let incidents = incidents_of(sid, 2).await;
    assert!(incidents.iter().all(|incident| incident.fault == Fault::SlowConsumer), "{incidents:?}");
    let verdicts: Vec<_> = incidents.iter().map(|incident| incident.verdict).collect();
    assert_eq!(verdicts, [Verdict::Warn, Verdict::Disconnect]);
    assert!(incidents[1].message.contains("slow reads 2"), "{}", incidents[1].message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_fetch_is_cut_and_holds_no_more_than_its_buffer() {
    let (server, io, counts) = serve_floods().await;
    let bystander = Bystander::start(server, "/flooded").await;
    let client = PollingClient::join(server, "/flooded").await;
    client.emit("/flooded", "flood", json!(BURSTS)).await;
    is_cut(&client.sid, &counts).await;
    is_gone(&io, &client.sid, DEADLINE).await;
    let Sent { taken, refused, .. } = sent_to(&counts, &client.sid);
    assert!(taken <= BUFFER && refused > BUFFER, "{taken} packets were held, {refused} were not");
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut_when_its_buffer_is_full() {
    let (server, io, counts) = serve_floods().await;
    let bystander = Bystander::start(server, "/flooded").await;
    let mut client = Client::join(server, "/flooded").await;
    client.emit("/flooded", "flood", json!(BURSTS)).await;
    is_cut(&client.sid, &counts).await;
    is_gone(&io, &client.sid, DEADLINE).await;
    assert!(sent_to(&counts, &client.sid).refused > BUFFER, "its buffer was full");
    bystander.finish().await;
}

/// In a bad network. Would reveal that two ends in a minute, as of a client that crashes its handlers, are held against it:
/// only its score is, and that of these is not enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_twice_for_being_slow_may_come_back() {
    let (server, _io, counts) = serve_floods().await;
    let name = || json!("user:slow");
    for verdicts in [vec![Verdict::Warn, Verdict::Disconnect], vec![Verdict::Disconnect]] {
        let mut client = Client::join(server, "/flooded").await;
        assert_eq!(client.ask("/flooded", "identify", name()).await, json!(true));
        client.emit("/flooded", "flood", json!(BURSTS)).await;
        let incidents = incidents_of(&client.sid, verdicts.len()).await;
        assert_eq!(incidents.iter().map(|incident| incident.verdict).collect::<Vec<_>>(), verdicts);
        assert!(sent_to(&counts, &client.sid).refused > 0);
    }
    let mut back = Client::join(server, "/flooded").await;
    assert_eq!(back.ask("/flooded", "identify", name()).await, json!(true));
}

/// Whether whoever looks now sees a client that takes nothing at the moment, and a full buffer.
fn looks_slow(compartment: &Compartment) -> bool {
    let parts = compartment.parts();
    parts.iter().any(|part| part.absent().is_some()) && parts.iter().any(|part| part.is_full())
}

/// Takes what it is sent all the time, through several sweeps, and is sent more than that. Only for how long it took
/// nothing tells it from one that does not read.
async fn is_not_struck(sid: &str, counts: &Counts, reads: JoinHandle<()>) {
    let until = Instant::now() + Duration::from_secs(5);
    let compartment = Registry::global().by_session(sid).expect("it is connected");
    let (mut looks, mut slow) = (0, 0);
    while Instant::now() < until {
        assert_eq!(compartment.conduct().reasons(), "", "a prompt client is blamed");
        looks += 1;
        slow += usize::from(looks_slow(&compartment));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(slow * 4 > looks, "its buffer was full at {slow} of {looks} looks");
    let Sent { taken, refused, .. } = sent_to(counts, sid);
    assert!(taken > BUFFER && refused > BUFFER, "{taken} fit and {refused} did not: that is no burst");
    assert!(!reads.is_finished(), "it was cut");
    reads.abort();
}

/// Was struck for each packet that did not fit, as if it did not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_client_is_not_struck_however_much_comes_at_once() {
    let (server, _io, counts) = serve_floods().await;
    let mut client = Client::join(server, "/flooded").await;
    let sid = client.sid.clone();
    client.emit("/flooded", "flood", json!(STEADY)).await;
    let reads = tokio::spawn(async move {
        loop {
            // 1.3 MB/s at most, in pieces.
            for _ in 0..16 {
                assert!(client.next().await.is_event("much"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    is_not_struck(&sid, &counts, reads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_fetches_promptly_is_not_struck() {
    let (server, _io, counts) = serve_floods().await;
    let client = PollingClient::join(server, "/flooded").await;
    let sid = client.sid.clone();
    client.emit("/flooded", "flood", json!(STEADY)).await;
    let reads = tokio::spawn(async move {
        loop {
            assert_eq!(client.poll("").await.status, 200);
            // As long as a slow network takes.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    is_not_struck(&sid, &counts, reads).await;
}
