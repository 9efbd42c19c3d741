//! What becomes of a client whose sessions end by a missed heartbeat: nothing there, and it adds up in the next ones of
//! the same name.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use watertight::Verdict;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};
use watertight_socketioxide::service::Visit;

use crate::client::{Bystander, Client, DEADLINE, Packet};
use crate::polling::PollingClient;
use crate::server::{all_are_judged, echo, incidents_of, is_gone, serve_with, sink};

/// So many missed heartbeats in a row are not told of, and one more is: 1.5 points each, 10 of which warn.
const FORGIVEN: usize = 6;

/// A server with a quick heartbeat, whose clients may say who they are, in the request or by an event.
async fn serve() -> (SocketAddr, SocketIo<LocalAdapter>) {
    let builder = SocketIo::builder()
        .ping_interval(Duration::from_millis(100))
        .ping_timeout(Duration::from_millis(300))
        .identify(|visit: &Visit<'_>| {
            let name = visit.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("user="))?;
            Some(format!("heart:{name}"))
        });
    serve_with(builder, |io| {
        for ns in ["/beats", "/beats-too", "/beats-as-well"] {
            io.ns(ns, async |socket: SocketRef| {
                echo(&socket);
                socket.on("identify", async |socket: SocketRef, Data::<String>(name), ack: AckSender| {
                    ack.send(&socket.identify(name).is_ok()).ok();
                });
                socket.on("reasons", async |socket: SocketRef, ack: AckSender| {
                    ack.send(&socket.compartment().conduct().reasons()).ok();
                });
            });
        }
    })
    .await
}

/// Waits until the session has ended because its client does not answer, and gives its connection up then.
async fn dies(io: &SocketIo<LocalAdapter>, client: Client) -> String {
    is_gone(io, &client.sid, DEADLINE).await;
    client.sid
}

async fn named(server: SocketAddr, ns: &str, name: &str) -> Client {
    let mut client = Client::join(server, ns).await;
    assert_eq!(client.ask(ns, "identify", name.into()).await, json!(true));
    client
}

async fn nothing_was_recorded_of(sids: &[String]) {
    all_are_judged().await;
    for sid in sids {
        assert!(incidents_of(sid, 0).await.is_empty(), "a verdict on {sid}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lets_session_after_session_die_is_warned() {
    let (server, io) = serve().await;
    let bystander = Bystander::start(server, "/beats").await;
    let mut dead = Vec::new();
    for _ in 0..=FORGIVEN {
        dead.push(dies(&io, named(server, "/beats", "heart:dying").await).await);
    }
    let mut next = Client::join(server, "/beats").await;
    // The warning may come before the answer.
    next.emit("/beats", "identify", "heart:dying".into()).await;
    let warned = next.until(|packet| packet.is_event("warning")).await;
    assert_eq!(warned.data()["code"], "protocol");
    let incident = &incidents_of(&next.sid, 1).await[0];
    assert_eq!(incident.verdict, Verdict::Warn);
    let reasons = format!("missed heartbeats {}", FORGIVEN + 1);
    assert!(incident.message.ends_with(&reasons), "{}", incident.message);
    nothing_was_recorded_of(&dead).await;
    assert_eq!(next.ask("/beats", "echo", json!(1)).await, json!(1), "warned, and still there");
    bystander.finish().await;
}

/// Known from its request, and so before it can be told anything: it is warned when it has been let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_from_the_request_is_warned_once_it_is_let_in() {
    let (server, io) = serve().await;
    let bystander = Bystander::start(server, "/beats").await;
    let open = async || {
        let mut client = Client::open_with(server, "&user=request").await;
        assert_eq!(client.connect("/beats").await, Ok(()));
        client
    };
    for _ in 0..=FORGIVEN {
        dies(&io, open().await).await;
    }
    let mut next = open().await;
    let warned = next.until(|packet| packet.is_event("warning")).await;
    assert_eq!(warned.data()["code"], "protocol");
    bystander.finish().await;
}

/// Was counted once for each namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_counts_once_however_many_namespaces_it_has_joined() {
    let (server, io) = serve().await;
    let mut client = named(server, "/beats", "heart:many").await;
    for ns in ["/beats-too", "/beats-as-well"] {
        assert_eq!(client.connect(ns).await, Ok(()));
    }
    dies(&io, client).await;
    let mut next = named(server, "/beats-too", "heart:many").await;
    assert_eq!(next.ask("/beats-too", "reasons", Value::Null).await, json!("missed heartbeats 1"));
}

/// A client that polls and stays away misses its heartbeat as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_polls_counts_too() {
    let (server, io) = serve().await;
    let client = PollingClient::join(server, "/beats").await;
    client.emit("/beats", "identify", "heart:polls".into()).await;
    is_gone(&io, &client.sid, DEADLINE).await;
    let mut next = named(server, "/beats", "heart:polls").await;
    assert_eq!(next.ask("/beats", "reasons", Value::Null).await, json!("missed heartbeats 1"));
}

/// All clients of this test come from one address, as those behind a NAT do; and so few of one name are forgiven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_network_is_held_against_nobody() {
    let (server, io) = serve().await;
    for _ in 0..FORGIVEN + 2 {
        dies(&io, Client::join(server, "/beats").await).await;
    }
    let mut other = Client::join(server, "/beats").await;
    assert_eq!(other.ask("/beats", "reasons", Value::Null).await, json!(""));

    let mut sids = Vec::new();
    for _ in 0..FORGIVEN {
        sids.push(dies(&io, named(server, "/beats", "heart:tunnel").await).await);
    }
    let mut back = named(server, "/beats", "heart:tunnel").await;
    let reasons = back.ask("/beats", "reasons", Value::Null).await;
    assert_eq!(reasons, json!(format!("missed heartbeats {FORGIVEN}")));
    // Who is warned is so once, in whichever of the sessions its score comes to that.
    sids.push(back.sid);
    nothing_was_recorded_of(&sids).await;
}

/// Would reveal a score that is lost with its connection, or one that is held against who shares an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sheds_a_score_by_coming_again() {
    let (server, io) = serve().await;
    let bystander = Bystander::start(server, "/beats").await;
    let mut first = named(server, "/beats", "heart:sheds").await;
    for _ in 0..15 {
        first.emit("/beats", "nobody", Value::Null).await;
    }
    first.until(|packet| packet.is_event("warning")).await;
    assert_eq!(first.ask("/beats", "reasons", Value::Null).await, json!("unknown events 15"));
    let sid = first.sid.clone();
    drop(first);
    is_gone(&io, &sid, DEADLINE).await;

    let mut other = named(server, "/beats", "heart:other").await;
    assert_eq!(other.ask("/beats", "reasons", Value::Null).await, json!(""));
    let mut second = named(server, "/beats", "heart:sheds").await;
    for _ in 0..7 {
        second.emit("/beats", "nobody", Value::Null).await;
    }
    let told = second
        .until(|packet| {
            assert!(!packet.is_event("warning"), "it has been warned before");
            packet.is_event("incident")
        })
        .await;
    assert_eq!(told.data()["code"], "protocol");
    assert_eq!(second.next().await, Packet::Closed);
    let incident = &incidents_of(&second.sid, 1).await[0];
    assert_eq!(incident.verdict, Verdict::Disconnect);
    assert!(sink().incidents().iter().all(|one| one.offender.as_ref().is_none_or(|o| o.id != other.sid)));
    bystander.finish().await;
}
