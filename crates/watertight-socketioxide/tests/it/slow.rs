//! Clients that do not read what they are sent, and those that do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;
use watertight::{Fault, Registry, Verdict};
use watertight_socketioxide::extract::{Data, SocketRef};
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
            let flooding =
                async move |socket: SocketRef, Data::<Flood>(what)| flood(&socket, &what, &counting).await;
            socket.on("flood", flooding);
        });
    })
    .await;
    (server, io, counts)
}

/// So many packets at once, of so many bytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Flood {
    packets: usize,
    bytes: usize,
}

/// More than a connection's buffers hold as well.
const LARGE: Flood = Flood { packets: 3 * BUFFER, bytes: 16 * 1024 };
/// Made more quickly than anybody can take them.
const SMALL: Flood = Flood { packets: 20 * BUFFER, bytes: 1 };

async fn flood(socket: &SocketRef, what: &Flood, counts: &Counts) {
    let text = "x".repeat(what.bytes);
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
        tokio::time::sleep(Duration::from_millis(100)).await;
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
    client.emit("/flooded", "flood", json!(LARGE)).await;
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
    client.emit("/flooded", "flood", json!(LARGE)).await;
    is_cut(&client.sid, &counts).await;
    is_gone(&io, &client.sid, DEADLINE).await;
    assert!(sent_to(&counts, &client.sid).refused > BUFFER, "its buffer was full");
    bystander.finish().await;
}

/// Reads as fast as it can, through several sweeps, and is sent more than the buffer holds all the while. Answers what was
/// counted against it, and its points.
async fn is_not_struck(sid: &str, counts: &Counts, reads: JoinHandle<()>) {
    let until = Instant::now() + Duration::from_secs(5);
    let compartment = Registry::global().by_session(sid).expect("it is connected");
    while Instant::now() < until {
        assert_eq!(compartment.conduct().reasons(), "", "a prompt client is blamed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    client.emit("/flooded", "flood", json!(SMALL)).await;
    let reads = tokio::spawn(async move {
        loop {
            assert!(client.next().await.is_event("much"));
        }
    });
    is_not_struck(&sid, &counts, reads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_fetches_promptly_is_not_struck() {
    let (server, _io, counts) = serve_floods().await;
    let client = PollingClient::join(server, "/flooded").await;
    let sid = client.sid.clone();
    client.emit("/flooded", "flood", json!(SMALL)).await;
    let reads = tokio::spawn(async move {
        loop {
            assert_eq!(client.poll("").await.status, 200);
        }
    });
    is_not_struck(&sid, &counts, reads).await;
}
