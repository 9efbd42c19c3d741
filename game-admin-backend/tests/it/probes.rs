//! What load balancers and monitoring ask.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    client::{Client, TestServer, get, get_until},
    program::lab,
};

async fn guest(server: SocketAddr) -> Client {
    let mut client = Client::open(server, &[]).await;
    client.enter("/lab", &json!({})).await.expect("the lab is open");
    client
}

#[tokio::test]
async fn a_server_that_works_is_ready() {
    let server = TestServer::start(&[]).await;
    let answer = get(server.address, "/ready", "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    let expected = json!({
        "ready": true, "draining": false, "recovering": false, "held": [], "quarantined": 0, "breakers": []
    });
    let mut found = answer.json();
    // Other tests of this process may have had an incident.
    found["recovering"] = json!(false);
    found["quarantined"] = json!(0);
    assert_eq!(found, expected);
    server.stop().await;
}

/// Without an answer of its own the server would look dead; with a good one it would be sent clients that wait.
#[tokio::test]
async fn while_all_lanes_are_held_it_says_that_it_is_not_ready() {
    let (_running, server) =
        lab(&["--lanes", "on", "--set", "server.lane_threads=1", "--set", "server.lane_spares=1"]);
    let (mut ada, mut bob) = (guest(server).await, guest(server).await);
    assert_eq!(get(server, "/ready", "").await.status, 200);

    ada.emit("block", &json!({"ms": 1_900})).await;
    let one = get_until(server, "/ready", |answer| answer.json()["held"][0].is_object()).await;
    assert_eq!((one.status, &one.json()["ready"]), (200, &json!(true)), "there is a spare: {one:?}");
    bob.emit("block_sync", &json!({"ms": 1_900})).await;
    let both = get_until(server, "/ready", |answer| answer.status == 503).await.json();
    assert_eq!(both["ready"], false);
    let of = |client: &Client| -> Value {
        let held = both["held"].as_array().expect("a list");
        held.iter().find(|held| held["socket"] == client.id.as_str()).expect("it is listed").clone()
    };
    assert_eq!(
        (&of(&ada)["activity"], &of(&bob)["activity"]),
        (&json!("event /lab block"), &json!("event /lab block_sync"))
    );
    assert!(of(&ada)["thread"].as_str().is_some_and(|thread| thread.starts_with("lane-")), "{both}");
    assert!(of(&ada)["heldMs"].as_u64().is_some_and(|held| (250..10_000).contains(&held)), "{both}");

    let metrics = get(server, "/metrics", "").await.body;
    assert!(metrics.contains("\nwatertight_stalls 2\n"), "{metrics}");
    assert!(metrics.contains("\nwatertight_lane_threads 2\n"), "{metrics}");
    assert_eq!(get(server, "/health", "").await.body, "OK");
    // Who knows the id of a session that polls can speak in its name.
    let stranger = get(server, "/ready", "x-forwarded-for: 192.0.2.7\r\n").await;
    assert_eq!((stranger.status, stranger.body.contains("socket")), (503, false), "{stranger:?}");

    assert_eq!(get_until(server, "/ready", |answer| answer.status == 200).await.json()["ready"], true);
}

#[tokio::test]
async fn the_metrics_count_what_has_happened() {
    let (_running, server) = lab(&[]);
    let names = [
        "panics_total",
        "incidents_total",
        "unattributed_total",
        "sealed_total",
        "seal_overdue_total",
        "reports_lost_total",
        "recovery_panics_total",
        "warnings_total",
        "quarantines_total",
        "connects_refused_total",
        "breakers_tripped_total",
        "messages_limited_total",
        "compartments",
        "connections",
        "transport_tasks",
        "recovery_mode",
        "stalls",
        "lane_threads",
        "lane_jobs_waiting",
        "quarantined",
        "breakers_open",
    ];
    let answer = get(server, "/metrics", "").await;
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer:?}");
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    for name in names {
        let (family, kind) = match name.strip_suffix("_total") {
            Some(family) => (family, "counter"),
            None => (name, "gauge"),
        };
        for line in [
            format!("# HELP watertight_{family} "),
            format!("# TYPE watertight_{family} {kind}\n"),
            format!("\nwatertight_{name} "),
        ] {
            assert!(answer.body.contains(&line), "{line}:\n{}", answer.body);
        }
    }
    assert!(answer.body.contains("\nwatertight_panics_total 0\n"), "{}", answer.body);

    let mut bystander = guest(server).await;
    let mut offender = guest(server).await;
    offender.emit("panic_async", &json!({})).await;
    offender.events_to_the_end().await;
    let counted = "watertight_incidents_by_kind_total{fault=\"panic\",verdict=\"disconnect\"} 1\n";
    let metrics = get_until(server, "/metrics", |answer| answer.body.contains(counted)).await.body;
    for line in ["panics_total 1", "incidents_total 1", "sealed_total 1", "compartments 1", "recovery_mode 1"]
    {
        assert!(metrics.contains(&format!("\nwatertight_{line}\n")), "{line}:\n{metrics}");
    }
    assert_eq!(bystander.ask("echo", &json!("here")).await, "here");
}
