//! What faults and misbehaviour mean beyond one connection: warnings, quarantine, breakers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight::{Attribution, BreakerState, Fault, Identity, Verdict};
use watertight_faults::panic_now;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};
use watertight_socketioxide::handler::ConnectHandler;
use watertight_socketioxide::service::Visit;

use crate::client::{Bystander, Client, DEADLINE, Packet};
use crate::server::{echo, incidents_of, is_gone, serve, serve_with};

const SOON: Duration = Duration::from_secs(1);

/// A namespace in which clients say who they are and may crash.
fn crashing(io: &SocketIo<LocalAdapter>) {
    io.ns("/crashing", async |socket: SocketRef| {
        echo(&socket);
        socket.on("identify", async |socket: SocketRef, Data::<String>(name), ack: AckSender| {
            let answer = socket.identify(name).err().map(|quarantined| quarantined.to_string());
            ack.send(&answer).ok();
        });
        socket.on("typed", async |_: Data<bool>| ());
        socket.on("boom", async || panic_now("a handler of a client with a name"));
        socket.on("maybe", async |Data::<bool>(crash), ack: AckSender| {
            if crash {
                panic_now("a handler that works for others");
            }
            tokio::task::yield_now().await;
            ack.send("worked").ok();
        });
    });
}

async fn named(server: std::net::SocketAddr, name: &str) -> (Client, Value) {
    let mut client = Client::join(server, "/crashing").await;
    let answer = client.ask("/crashing", "identify", name.into()).await;
    (client, answer)
}

/// The milliseconds in `quarantined; retry after N ms (incident ID)`.
fn retry_after(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("quarantined; retry after ")?;
    let (millis, id) = rest.split_once(" ms (incident ")?;
    (id.strip_suffix(')')?.len() == 26).then(|| millis.parse().ok())?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_refused_after_its_second_fault_and_let_in_again_later() {
    let (server, io) = serve(crashing).await;
    let bystander = Bystander::start(server, "/crashing").await;

    let (mut first, answer) = named(server, "user:poison").await;
    assert_eq!(answer, Value::Null);
    first.emit("/crashing", "boom", Value::Null).await;
    first.until(|packet| packet.is_event("incident")).await;
    assert_eq!(first.next().await, Packet::Closed, "asked to come back, it is not told to leave");
    assert_eq!(incidents_of(&first.sid, 1).await[0].verdict, Verdict::Disconnect);

    let (mut second, answer) = named(server, "user:poison").await;
    assert_eq!(answer, Value::Null, "one fault is forgiven");
    second.emit("/crashing", "boom", Value::Null).await;
    let told = second.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "panic");
    assert!(told.data()["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 300), "{told:?}");
    assert_eq!(second.next().await, Packet::Disconnect { ns: "/crashing".into() });
    let until = Instant::now() + Duration::from_millis(300);
    assert_eq!(incidents_of(&second.sid, 1).await[0].verdict, Verdict::Quarantine);

    let mut third = Client::join(server, "/crashing").await;
    third.emit_with_ack("/crashing", "identify", "user:poison".into()).await;
    // The answer of the handler and the end of its client, in either order.
    for _ in 0..2 {
        match third.until(|packet| packet.is_event("incident") || matches!(packet, Packet::Ack { .. })).await
        {
            Packet::Ack { data, .. } => {
                let line = data.as_str().expect("refused");
                assert!(retry_after(line).is_some_and(|ms| (1..=300).contains(&ms)), "{line}");
            }
            told => assert_eq!(told.data()["code"], "quarantined"),
        }
    }
    is_gone(&io, &third.sid, SOON).await;
    let (_other, answer) = named(server, "user:innocent").await;
    assert_eq!(answer, Value::Null);

    tokio::time::sleep_until(until.into()).await;
    let (_back, answer) = named(server, "user:poison").await;
    assert_eq!(answer, Value::Null, "its time is over");
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_from_the_request_is_refused_before_any_code_of_the_applications() {
    let builder = SocketIo::builder().identify(|visit: &Visit<'_>| {
        let query = visit.uri.query()?;
        query.split('&').find_map(|pair| pair.strip_prefix("user=")).map(|name| format!("query:{name}"))
    });
    static CALLED: AtomicU32 = AtomicU32::new(0);
    let (server, io) = serve_with(builder, |io| {
        let check = async || -> Result<(), String> {
            CALLED.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let connect = async |socket: SocketRef| {
            CALLED.fetch_add(1, Ordering::Relaxed);
            echo(&socket);
        };
        io.ns("/guarded", connect.with(check));
    })
    .await;
    let watertight = watertight::ensure_installed();
    let identity = Identity::Named("query:mallory".into());
    let mut inside = Client::open_with(server, "&user=mallory").await;
    assert_eq!(inside.connect("/guarded").await, Ok(()));
    assert_eq!(inside.ask("/guarded", "echo", json!(1)).await, json!(1));

    watertight.quarantine(&identity, Duration::from_secs(30), "an operator").expect("it is on");
    let told = inside.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "quarantined");
    assert_eq!(inside.next().await, Packet::Disconnect { ns: "/guarded".into() });
    is_gone(&io, &inside.sid, SOON).await;
    assert!(watertight.quarantined().iter().any(|entry| entry.identity == identity));

    let called = CALLED.load(Ordering::Relaxed);
    let mut refused = Client::open_with(server, "&user=mallory").await;
    let line = refused.connect("/guarded").await.expect_err("it is quarantined");
    assert!(retry_after(&line).is_some_and(|ms| ms > 25_000), "{line}");
    assert_eq!(CALLED.load(Ordering::Relaxed), called, "no code of the application's has run");
    assert_eq!(Client::open_with(server, "&user=alice").await.connect("/guarded").await, Ok(()));

    assert!(watertight.lift(&identity));
    assert_eq!(Client::open_with(server, "&user=mallory").await.connect("/guarded").await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_events_warn_and_then_disconnect() {
    let (server, io) = serve(crashing).await;
    let bystander = Bystander::start(server, "/crashing").await;
    let mut client = Client::join(server, "/crashing").await;
    // By then its connect handler is done, and events without a handler are unknown.
    client.ask("/crashing", "echo", Value::Null).await;
    for _ in 0..10 {
        client.emit("/crashing", "nobody", Value::Null).await;
    }
    let warned = client.until(|packet| packet.is_event("warning")).await;
    assert_eq!(warned.data()["code"], "protocol");
    assert_eq!(client.ask("/crashing", "echo", json!(1)).await, json!(1), "warned, and still there");
    for _ in 0..12 {
        client.emit("/crashing", "nobody", Value::Null).await;
    }
    let told = client.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "protocol");
    assert_eq!(client.next().await, Packet::Closed);
    is_gone(&io, &client.sid, SOON).await;
    let incidents = incidents_of(&client.sid, 2).await;
    assert_eq!(
        incidents.iter().map(|one| one.verdict).collect::<Vec<_>>(),
        [Verdict::Warn, Verdict::Disconnect]
    );
    assert!(incidents[1].message.contains("unknown events"), "{}", incidents[1].message);
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_with_the_wrong_data_count() {
    let (server, _io) = serve(crashing).await;
    let mut client = Client::join(server, "/crashing").await;
    for _ in 0..11 {
        client.emit("/crashing", "typed", json!({ "not": "a boolean" })).await;
    }
    let told = client.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "protocol");
    let last = incidents_of(&client.sid, 2).await;
    assert_eq!(last[1].fault, Fault::Protocol);
    assert!(last[1].message.contains("failed extractions"), "{}", last[1].message);
}

/// The engine closes the session for it; without a fault whoever does so could go on for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_cannot_be_parsed_is_its_clients_fault() {
    let (server, io) = serve(crashing).await;
    let bystander = Bystander::start(server, "/crashing").await;
    for verdict in [Verdict::Disconnect, Verdict::Quarantine] {
        let (mut client, answer) = named(server, "user:nonsense").await;
        assert_eq!(answer, Value::Null);
        client.send("4no packet".into()).await;
        let incident = &incidents_of(&client.sid, 1).await[0];
        assert_eq!((incident.fault, incident.verdict), (Fault::Protocol, verdict));
        // Its task has ended: nothing can be said to it any more.
        assert_eq!(incident.attribution, Attribution::Transport);
        assert!(incident.message.contains("cannot be parsed"), "{}", incident.message);
        is_gone(&io, &client.sid, SOON).await;
    }
    bystander.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_crashes_for_different_clients_is_switched_off_and_tried_again() {
    let (server, _io) = serve(|io| {
        crashing(io);
    })
    .await;
    let bystander = Bystander::start(server, "/crashing").await;
    let crash = async |name: String| {
        let (mut client, _) = named(server, &name).await;
        client.emit("/crashing", "maybe", true.into()).await;
        client.until(|packet| packet.is_event("incident")).await;
        incidents_of(&client.sid, 1).await;
    };
    let (mut user, _) = named(server, "user:breaker-user").await;
    let mut ask = async |crash: bool| user.ask("/crashing", "maybe", crash.into()).await;
    crash("user:breaker-1".into()).await;
    crash("user:breaker-2".into()).await;
    assert_eq!(ask(false).await, json!("worked"), "two are not enough");
    crash("user:breaker-3".into()).await;

    let refused = ask(true).await;
    assert_eq!(refused["code"], "breaker_open");
    let wait = refused["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=400).contains(&wait), "{refused}");
    // Refused until then, and the first that is let through decides.
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = ask(false).await;
        if answer == json!("worked") {
            break;
        }
        assert_eq!(answer["code"], "breaker_open");
        assert!(Instant::now() < until, "it stays off");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_on_again("/crashing").await;
    assert_eq!(ask(false).await, json!("worked"), "it is on again");
    bystander.finish().await;
}

/// Three clients crash in `maybe` of a namespace, so that it is switched off.
async fn switch_off(server: std::net::SocketAddr, ns: &str) {
    for number in 0..3 {
        let mut client = Client::join(server, ns).await;
        client.ask(ns, "identify", format!("{ns}:{number}").into()).await;
        client.emit(ns, "maybe", true.into()).await;
        client.until(|packet| packet.is_event("incident")).await;
        incidents_of(&client.sid, 1).await;
    }
}

/// A namespace with `identify`, and with `maybe`, which crashes at its first poll for `true` and hangs for `"hang"`.
fn maybe(io: &SocketIo<LocalAdapter>, ns: &'static str) {
    io.ns(ns, async |socket: SocketRef| {
        socket.on("identify", async |socket: SocketRef, Data::<String>(name), ack: AckSender| {
            ack.send(&socket.identify(name).is_ok()).ok();
        });
        socket.on("maybe", async |Data::<Maybe>(what), ack: AckSender| {
            match what {
                Maybe::Crash(true) => panic_now("a handler at its first poll"),
                Maybe::Crash(false) => {}
                Maybe::Hang(Hang::Hang) => std::future::pending().await,
            }
            ack.send("worked").ok();
        });
    });
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Maybe {
    Crash(bool),
    Hang(Hang),
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hang {
    Hang,
}

/// What the breaker of `maybe` in a namespace says; `None` when it is on.
fn breaker_of(ns: &str) -> Option<BreakerState> {
    let states = watertight::ensure_installed().breakers().states(Instant::now());
    states.into_iter().find(|state| state.activity.namespace() == ns)
}

fn is_off(ns: &str) -> bool {
    breaker_of(ns).is_some()
}

/// Waits until an event that is off is open to a try.
async fn may_be_tried(ns: &str) {
    let until = Instant::now() + DEADLINE;
    while breaker_of(ns).is_some_and(|state| !state.retry_after.is_zero()) {
        assert!(Instant::now() < until, "it stays off");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_off(ns));
}

/// Waits until an event is on whose try has worked: its handler answers before it is done.
async fn is_on_again(ns: &str) {
    let until = Instant::now() + DEADLINE;
    while is_off(ns) {
        assert!(Instant::now() < until, "it stays off");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Asks until the event is not refused any more, or for too long.
async fn asks_until_tried(client: &mut Client, ns: &str, data: Value) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = client.ask(ns, "maybe", data.clone()).await;
        if answer["code"] != "breaker_open" || Instant::now() > until {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_crashes_keeps_the_event_off() {
    let (server, _io) = serve(|io| maybe(io, "/tries")).await;
    let mut user = Client::join(server, "/tries").await;
    switch_off(server, "/tries").await;
    assert_eq!(user.ask("/tries", "maybe", false.into()).await["code"], "breaker_open");
    // Crashes as soon as it is let in, and is told so.
    let mut tries = Client::join(server, "/tries").await;
    while incidents_of(&tries.sid, 0).await.is_empty() {
        tries.try_emit("/tries", "maybe", true.into()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = user.ask("/tries", "maybe", false.into()).await;
    assert_eq!(refused["code"], "breaker_open", "{refused}");
    assert!(refused["retryAfterMs"].as_u64().is_some_and(|ms| ms > 400), "twice as long: {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_never_reaches_its_handler_decides_nothing() {
    let (server, _io) = serve(|io| maybe(io, "/nonsense")).await;
    let mut user = Client::join(server, "/nonsense").await;
    switch_off(server, "/nonsense").await;
    may_be_tried("/nonsense").await;
    user.emit("/nonsense", "maybe", json!(7)).await;
    assert_eq!(user.ask("/nonsense", "identify", "nonsense:user".into()).await, json!(true));
    assert!(is_off("/nonsense"), "no handler has run");
    assert_eq!(asks_until_tried(&mut user, "/nonsense", false.into()).await, json!("worked"));
    is_on_again("/nonsense").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_hangs_is_not_waited_for_for_ever() {
    let (server, _io) = serve(|io| maybe(io, "/hangs")).await;
    switch_off(server, "/hangs").await;
    let mut hangs = Client::join(server, "/hangs").await;
    may_be_tried("/hangs").await;
    hangs.emit("/hangs", "maybe", "hang".into()).await;
    hangs.ask("/hangs", "identify", "hangs:user".into()).await;
    let mut user = Client::join(server, "/hangs").await;
    assert_eq!(user.ask("/hangs", "maybe", false.into()).await["code"], "breaker_open");
    assert_eq!(asks_until_tried(&mut user, "/hangs", false.into()).await, json!("worked"));
}

/// What waits for a lane, or for the reader, when its socket is sealed is refused as what comes later is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_of_a_sealed_socket_does_not_run() {
    static RAN_DEAD: AtomicU32 = AtomicU32::new(0);
    let (server, io) = serve(|io| {
        io.ns("/sealed", async |socket: SocketRef| {
            socket.on("first", || {
                std::thread::sleep(Duration::from_millis(2300));
                std::future::ready(())
            });
            socket.on("later", |socket: SocketRef| {
                RAN_DEAD.fetch_add(u32::from(!socket.compartment().is_live()), Ordering::Relaxed);
                std::future::ready(())
            });
        });
    })
    .await;
    let mut client = Client::join(server, "/sealed").await;
    client.emit("/sealed", "first", Value::Null).await;
    for _ in 0..20 {
        client.emit("/sealed", "later", Value::Null).await;
    }
    let told = client.until(|packet| packet.is_event("incident")).await;
    assert_eq!(told.data()["code"], "stall");
    is_gone(&io, &client.sid, DEADLINE).await;
    // Until the first has returned, and the others had their turn.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(RAN_DEAD.load(Ordering::Relaxed), 0);
}
