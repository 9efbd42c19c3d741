//! Attribution under load: many sockets panic at once and each is named, and only it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use watertight::Attribution;
use watertight_faults::panic_now;
use watertight_socketioxide::extract::{Data, SocketRef};

use crate::client::{Bystander, Client, Packet};
use crate::server::{echo, incidents_of, is_gone, serve};

/// A wrong name, a missing one or one too many would show here: each socket panics with its own id as the text.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_sockets_at_once() {
    let (server, io) = serve(|io| {
        io.ns("/thousand", async |socket: SocketRef| {
            echo(&socket);
            socket.on("boom", async |Data::<String>(sid)| {
                tokio::task::yield_now().await;
                panic_now(&sid)
            });
        });
    })
    .await;
    let bystanders =
        [Bystander::start(server, "/thousand").await, Bystander::start(server, "/thousand").await];
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(Client::join(server, "/thousand").await);
    }
    let sids: HashSet<String> = clients.iter().map(|client| client.sid.clone()).collect();
    assert_eq!(sids.len(), 1000);
    let offenders: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                client.emit("/thousand", "boom", Value::from(client.sid.clone())).await;
                let told = client.until(|packet| packet.is_event("incident")).await;
                assert_eq!(client.next().await, Packet::Closed);
                (client.sid, told.data()["id"].as_str().unwrap().to_owned())
            })
        })
        .collect();
    let mut told = HashMap::new();
    for offender in offenders {
        let (sid, id) = offender.await.expect("told and closed");
        told.insert(sid, id);
    }
    for (sid, id) in told {
        let incidents = incidents_of(&sid, 1).await;
        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].id.to_string(), id);
        assert_eq!(incidents[0].attribution, Attribution::Exact);
        assert!(
            incidents[0].message.ends_with(&sid),
            "{} is said to have panicked as {sid}",
            incidents[0].message
        );
        is_gone(&io, &sid, std::time::Duration::from_secs(1)).await;
    }
    for bystander in bystanders {
        bystander.finish().await;
    }
}
