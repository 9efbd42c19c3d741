//! Faults of the lab that need the whole server.

use std::time::Duration;

use serde_json::json;

use crate::{
    client::{Client, get, get_until, post, soon},
    program::lab,
};

/// A seal that waited for what the client does not take would leave it, and what it is sent, in memory for ever.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_all_the_same() {
    let (_running, server) = lab(&[]);
    let (mut deaf, mut bystander) = (Client::open(server, &[]).await, Client::open(server, &[]).await);
    for client in [&mut deaf, &mut bystander] {
        client.enter("/lab", &json!({})).await.expect("the lab is open");
    }
    assert_eq!(deaf.ask("never_read", &json!({})).await, "armed");
    deaf.emit("echo", &json!("hello?")).await;
    // The server goes on reading: what comes after the echo is done.
    deaf.emit("join", &json!("deaf")).await;
    let joined = async {
        while bystander.ask("stats", &json!({})).await["rooms"]["deaf"] != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the join", joined).await;

    deaf.emit("panic_async", &json!({})).await;
    assert_eq!(deaf.events_to_the_end().await, [], "neither its echo nor its incident reached it");
    get_until(server, "/metrics", |answer| answer.body.contains("\nwatertight_sealed_total 1\n")).await;
    let metrics = get(server, "/metrics", "").await.body;
    assert!(metrics.contains("\nwatertight_seal_overdue_total 0\n"), "{metrics}");
    assert_eq!(bystander.ask("stats", &json!({})).await["rooms"], json!({}));
}

/// Its own fault or its network's: it costs memory here, so it is not kept for ever.
#[tokio::test]
async fn a_client_that_takes_nothing_is_found_by_its_conduct() {
    let (_running, server) = lab(&["--set", "monitoring.sweep_interval_ms=20"]);
    let mut deaf = Client::open(server, &[]).await;
    deaf.enter("/lab", &json!({})).await.expect("the lab is open");
    assert_eq!(deaf.ask("never_read", &json!({})).await, "armed");
    deaf.emit("echo", &json!("hello?")).await;
    assert_eq!(deaf.events_to_the_end().await, []);
    let counted = "{fault=\"slow_consumer\",verdict=\"disconnect\"} 1\n";
    get_until(server, "/metrics", |answer| answer.body.contains(counted)).await;
}

#[tokio::test]
async fn a_session_that_polls_cannot_stop_reading() {
    let (_running, server) = lab(&[]);
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = get(server, path, "").await.body;
    let session =
        opened.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a session");
    let path = format!("{path}&sid={session}");
    assert_eq!(post(server, &path, "40/lab,").await.body, "ok");
    // A client is in a namespace when it has been told so, and may send events there from then on.
    get_until(server, &path, |answer| answer.body.contains("40/lab,{")).await;
    assert_eq!(post(server, &path, "42/lab,0[\"never_read\"]").await.body, "ok");
    let answer = get_until(server, &path, |answer| answer.body.contains("43/lab,0")).await.body;
    assert!(answer.contains("43/lab,0[{\"error\":\"websocket only\"}]"), "{answer}");
}
