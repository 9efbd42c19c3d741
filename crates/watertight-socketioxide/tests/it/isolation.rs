//! A panic anywhere costs exactly its own socket: who is told, who is named, what is left.

use std::future::Ready;
use std::time::Duration;

use serde_json::{Value, json};
use watertight::{ActivityKind, Attribution, Outcome, Verdict};
use watertight_faults::{PANIC_TEXT, PanicsWhenDeserialized, PanicsWhenDropped, panic_now};
use watertight_socketioxide::extract::{AckSender, Data, Event, SocketRef};
use watertight_socketioxide::handler::ConnectHandler;

use crate::client::{Bystander, Client, Packet};
use crate::server::{echo, incidents_of, is_gone, serve};

const SOON: Duration = Duration::from_secs(1);

/// Registers one event for each place that can panic.
fn faults(socket: &SocketRef) {
    socket.on("sync", |_: SocketRef| -> Ready<()> { panic_now("a handler, before its future") });
    socket.on("async0", async || panic_now("a handler, before its first await"));
    socket.on("async", async || {
        tokio::task::yield_now().await;
        panic_now("a handler")
    });
    socket.on("extract", async |_: Data<PanicsWhenDeserialized>| ());
    socket.on("drop", async || {
        let _held = PanicsWhenDropped;
        tokio::task::yield_now().await;
    });
    socket.on("spawned", async || {
        watertight::spawn(async {
            tokio::task::yield_now().await;
            panic_now("a child task")
        });
    });
    socket.on("ack", async |socket: SocketRef| {
        let answer = socket.emit_with_ack::<_, Value>("ask", &1).unwrap().await;
        assert!(answer.is_err(), "{PANIC_TEXT} after the client's acknowledgement");
    });
    socket.on_fallback(async |Event(name): Event, ack: AckSender| {
        if name == "unregistered" {
            panic_now("the fallback handler");
        }
        ack.send(&name).ok();
    });
}

/// What every panic must look like from the client's side, and in the record.
async fn costs_one_socket(event: &str, ack_asked: bool, kind: ActivityKind) {
    let (server, io) = serve(|io| {
        io.ns("/faults", async |socket: SocketRef| {
            echo(&socket);
            faults(&socket);
            socket.join("room");
        });
    })
    .await;
    let bystanders = [Bystander::start(server, "/faults").await, Bystander::start(server, "/faults").await];
    let mut offender = Client::join(server, "/faults").await;
    if ack_asked {
        offender.emit_with_ack("/faults", event, Value::Null).await;
    } else {
        offender.emit("/faults", event, Value::Null).await;
    }
    if event == "ack" {
        let asked = offender.until(|packet| packet.is_event("ask")).await;
        assert_eq!(asked.data(), &json!(1));
        offender.send("43/faults,1[2]".to_owned()).await;
    }

    let told = offender.until(|packet| packet.is_event("incident")).await;
    let notice = told.data();
    assert_eq!(notice["code"], "panic");
    assert_eq!(notice["retry"], true);
    assert_eq!(notice["retryAfterMs"], 1000);
    assert!(!notice.to_string().contains(PANIC_TEXT), "details are not exposed by default: {notice}");
    assert_eq!(offender.next().await, Packet::Closed, "the close follows, and nothing else");

    let sid = offender.sid.clone();
    is_gone(&io, &sid, SOON).await;
    let incidents = incidents_of(&sid, 1).await;
    assert_eq!(incidents.len(), 1);
    let incident = &incidents[0];
    assert_eq!(Value::from(incident.id.to_string()), notice["id"]);
    assert!(incident.message.contains(PANIC_TEXT), "{}", incident.message);
    assert_eq!(
        (incident.attribution, incident.outcome, incident.verdict),
        (Attribution::Exact, Outcome::Escaped, Verdict::Disconnect)
    );
    let activity = incident.activity.as_ref().unwrap();
    assert_eq!((activity.kind(), activity.namespace()), (kind, "/faults"));
    assert!(incident.sealed_after.unwrap() < SOON);
    for bystander in bystanders {
        bystander.finish().await;
    }
}

macro_rules! sites {
    ($($test:ident: $event:literal, $kind:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            costs_one_socket($event, false, ActivityKind::$kind).await;
            costs_one_socket($event, true, ActivityKind::$kind).await;
        })*
    };
}

sites! {
    handler_before_its_future: "sync", Event;
    handler_before_its_first_await: "async0", Event;
    handler_after_its_first_await: "async", Event;
    message_extractor: "extract", Event;
    destructor: "drop", Event;
    child_task: "spawned", Event;
    code_waiting_for_an_ack: "ack", Event;
    fallback_handler: "unregistered", Fallback;
}

/// A connect handler or connect extractor that panics: the client is in the namespace already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_handlers_and_extractors() {
    let (server, io) = serve(|io| {
        io.ns("/good", async |socket: SocketRef| echo(&socket));
        io.ns("/sync", |_: SocketRef| -> Ready<()> { panic_now("a connect handler, before its future") });
        io.ns("/async", async || {
            tokio::task::yield_now().await;
            panic_now("a connect handler")
        });
        io.ns("/extract", async |_: Data<PanicsWhenDeserialized>| ());
    })
    .await;
    let bystander = Bystander::start(server, "/good").await;
    for ns in ["/sync", "/async", "/extract"] {
        let mut offender = Client::join(server, ns).await;
        let told = offender.until(|packet| packet.is_event("incident")).await;
        assert_eq!(told.data()["code"], "panic");
        assert_eq!(offender.next().await, Packet::Closed);
        is_gone(&io, &offender.sid, SOON).await;
        let incident = &incidents_of(&offender.sid, 1).await[0];
        assert_eq!(
            incident.activity.as_ref().map(|activity| activity.kind()),
            Some(ActivityKind::Connect),
            "{ns}"
        );
    }
    bystander.finish().await;
}

/// A middleware that panics: the client is refused at once, with the incident's id, and never gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn middlewares_and_their_extractors() {
    let (server, io) = serve(|io| {
        io.ns("/good", async |socket: SocketRef| echo(&socket));
        let never = async |_: SocketRef| unreachable!("nobody gets in");
        io.ns("/sync", never.with(|_: SocketRef| -> Ready<Result<(), String>> { panic_now("a middleware") }));
        let late = async || -> Result<(), String> {
            tokio::task::yield_now().await;
            panic_now("a middleware, late")
        };
        io.ns("/async", never.with(late));
        io.ns("/extract", never.with(async |_: Data<PanicsWhenDeserialized>| Ok::<(), String>(())));
    })
    .await;
    let bystander = Bystander::start(server, "/good").await;
    for ns in ["/sync", "/async", "/extract"] {
        let mut offender = Client::open(server).await;
        let refused = offender.connect(ns).await.expect_err("it is refused");
        let incident = &incidents_of(&offender.sid, 1).await[0];
        assert_eq!(refused, format!("panic; retry after 1000 ms (incident {})", incident.id), "{ns}");
        assert_eq!(
            incident.activity.as_ref().map(|activity| activity.kind()),
            Some(ActivityKind::Middleware)
        );
        assert_eq!(offender.next().await, Packet::Closed);
        is_gone(&io, &offender.sid, SOON).await;
    }
    bystander.finish().await;
}

/// The verdict `FailEvent`: the ack gets the notice, the socket stays, until it has failed too often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_only_the_event() {
    let (server, io) = serve(|io| {
        io.ns("/fail", async |socket: SocketRef| {
            echo(&socket);
            socket.on("boom", async || panic_now("an event that may fail"));
        });
    })
    .await;
    let bystander = Bystander::start(server, "/fail").await;
    let mut client = Client::join(server, "/fail").await;
    for _ in 0..2 {
        let error = client.ask("/fail", "boom", Value::Null).await;
        assert_eq!(error["code"], "panic");
        assert_eq!(error["id"].as_str().map(str::len), Some(26));
        assert_eq!(client.ask("/fail", "echo", json!("still here")).await, json!("still here"));
    }
    client.emit_with_ack("/fail", "boom", Value::Null).await;
    client.until(|packet| packet.is_event("incident")).await;
    assert_eq!(client.next().await, Packet::Closed);
    is_gone(&io, &client.sid, SOON).await;
    let mut incidents = incidents_of(&client.sid, 3).await;
    // Each is complete when its location has a name, which takes a while the first time.
    incidents.sort_by_key(|incident| incident.time);
    let verdicts: Vec<_> = incidents.iter().map(|incident| incident.verdict).collect();
    assert_eq!(verdicts, [Verdict::FailEvent, Verdict::FailEvent, Verdict::Disconnect]);
    bystander.finish().await;
}

/// Background work that panics is recorded as nobody's and disconnects nobody; what an application catches
/// itself is recorded and costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_faults() {
    let (server, _io) = serve(|io| {
        io.ns("/nobody", async |socket: SocketRef| {
            echo(&socket);
            socket.on("background", async |ack: AckSender| {
                let background = tokio::spawn(async { panic!("{PANIC_TEXT} of nobody") });
                ack.send(&background.await.is_err()).ok();
            });
            socket.on("caught", async |ack: AckSender| {
                let caught = std::panic::catch_unwind(|| panic_now("a library that is expected to panic"));
                ack.send(&caught.is_err()).ok();
            });
        });
    })
    .await;
    let bystander = Bystander::start(server, "/nobody").await;
    let mut client = Client::join(server, "/nobody").await;
    assert_eq!(client.ask("/nobody", "background", Value::Null).await, json!(true));
    assert_eq!(client.ask("/nobody", "caught", Value::Null).await, json!(true));
    let incidents = incidents_of(&client.sid, 1).await;
    assert_eq!(incidents.len(), 1, "the background panic is not this client's");
    assert_eq!((incidents[0].outcome, incidents[0].verdict), (Outcome::Caught, Verdict::Ignore));
    assert_eq!(client.ask("/nobody", "echo", json!(7)).await, json!(7));
    bystander.finish().await;
}
