//! Plain WebSockets whose handlers panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use watertight::{ActivityKind, Attribution, Incident, Notice, Registry, SealMode, Verdict};

use crate::bystanders::Bystanders;
use crate::client::Client;
use crate::server::{Left, Server, turn};

/// One second after a fault nothing of the offender is left.
const GONE: Duration = Duration::from_secs(1);
/// The same for a client that does not read: it gets its grace first.
const GONE_WITHOUT_READING: Duration = Duration::from_millis(1500);

fn assert_exact(incident: &Incident, path: &str) {
    assert_eq!((incident.attribution, incident.verdict), (Attribution::Exact, Verdict::Disconnect));
    let activity = incident.activity.as_ref().expect("a scope has an activity");
    assert_eq!((activity.kind(), activity.namespace()), (ActivityKind::WebSocket, path));
}

/// Would reveal a client that is not told, is told something else than the log says, or leaves something behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_closes_with_1011_and_the_incidents_id() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let left = Left::now();
    let mut told_after = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(server.address, "/echo").await;
        client.echoes("before").await;
        let start = Instant::now();
        client.send("panic").await;
        let frame = client.close_frame().await;
        told_after.push(start.elapsed());
        let incident = turn.incident_of(&client);
        assert_exact(&incident, "/echo");
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*incident.id.to_string()));
    }
    let gone = left.is_back(GONE).await;
    told_after.sort_unstable();
    let slowest = bystanders.noticed_nothing().await;
    println!(
        "closed after: median {:.1?}, slowest of 50 {:.1?}; gone {gone:.1?} later; bystanders' slowest echo {slowest:.1?}",
        told_after[25], told_after[49]
    );
}

/// Would reveal a client that says in its query that it polls, and has no connection here that could be cut then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_changes_nothing() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let left = Left::now();
    let path = "/echo?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA";
    let mut client = Client::connect(server.address, path).await;
    client.echoes("before").await;
    client.send("panic").await;
    let frame = client.close_frame().await;
    let incident = turn.incident_of(&client);
    assert_exact(&incident, "/echo");
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*incident.id.to_string()));
    left.is_back(GONE).await;
    bystanders.noticed_nothing().await;
}

/// Would reveal a scope or a socket that is set up only with the first message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_before_the_first_message_does_as_well() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let left = Left::now();
    for path in ["/first", "/sync"] {
        let mut client = Client::connect(server.address, path).await;
        let frame = client.close_frame().await;
        let incident = turn.incident_of(&client);
        assert_exact(&incident, path);
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*incident.id.to_string()));
        left.is_back(GONE).await;
    }
    bystanders.noticed_nothing().await;
}

/// Would reveal a seal that waits for a client to read: its descriptor would stay for as long as it pleases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_gone_in_time() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let left = Left::now();
    let mut client = Client::connect(server.address, "/echo").await;
    client.send("fill and panic").await;
    let incident = turn.incident_of(&client);
    let sealed_after = incident.sealed_after.expect("sealed");
    assert!(sealed_after < GONE_WITHOUT_READING, "{sealed_after:?}");
    left.is_back(GONE_WITHOUT_READING - sealed_after).await;
    let slowest = bystanders.noticed_nothing().await;
    println!("a full connection was sealed after {sealed_after:.1?}; bystanders' slowest echo {slowest:.1?}");
}

/// Would reveal a close frame that is lost because the server closes while it has unread messages of the client: the
/// system then resets the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_on_sending_is_told() {
    let turn = turn().await;
    let server = Server::start().await;
    for _ in 0..20 {
        let mut client = Client::connect(server.address, "/echo").await;
        client.send("panic").await;
        for _ in 0..50 {
            if !client.try_send("and another thing").await {
                break;
            }
        }
        let frame = client.close_frame().await;
        let incident = turn.incident_of(&client);
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*incident.id.to_string()));
    }
}

/// Would reveal a seal that works only when the handler itself has failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_sealed_from_outside() {
    let turn = turn().await;
    let server = Server::start().await;
    let bystanders = Bystanders::start(server.address).await;
    let left = Left::now();
    let mut client = Client::connect(server.address, "/echo").await;
    client.echoes("before").await;
    let compartment = Registry::global().all().into_iter().find(|known| known.peer() == Some(client.address));
    let compartment = compartment.expect("a connection that was upgraded has a compartment");
    let known = turn.sink.incidents().len();
    let notice = Notice::new("kicked", "An operator has closed this connection.");
    let seal = turn.watertight.seal(&compartment, notice.clone(), SealMode::Disconnect);
    let (frame, ()) = tokio::join!(client.close_frame(), seal);
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*notice.id.to_string()));
    // Once more does no harm, and answers at once.
    turn.watertight.seal(&compartment, notice, SealMode::Disconnect).await;
    left.is_back(GONE).await;
    assert_eq!(turn.sink.incidents().len(), known, "an operator's wish is not an incident");
    bystanders.noticed_nothing().await;
}

/// Would reveal a compartment that outlives a client who simply leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_clients_that_leave() {
    let turn = turn().await;
    let server = Server::start().await;
    let left = Left::now();
    let incidents = turn.sink.incidents().len();
    for _ in 0..20 {
        let mut client = Client::connect(server.address, "/echo").await;
        client.echoes("hello").await;
        // Without a word.
        drop(client);
    }
    left.is_back(GONE).await;
    assert_eq!(turn.sink.incidents().len(), incidents);
    assert!(
        turn.sink.incidents().iter().all(|incident: &Arc<Incident>| incident.verdict != Verdict::FailEvent)
    );
}
