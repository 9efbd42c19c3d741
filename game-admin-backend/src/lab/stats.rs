//! What there is in the process, for those who check that nothing was left behind.

use std::collections::BTreeMap;

use serde::Serialize;
use watertight_socketioxide::SocketIo;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::{AckSender, SocketRef};
use watertight_socketioxide::operators::BroadcastOperators;

use super::NAMESPACE;

/// The answer to `stats`.
#[derive(Debug, Serialize)]
struct Stats {
    /// Sockets in `/lab`.
    sockets: usize,
    /// Rooms of `/lab` and how many sockets are in each.
    rooms: BTreeMap<String, usize>,
    /// Compartments of the process.
    compartments: usize,
    /// Open connections of the process.
    connections: usize,
    /// Entries of the task table.
    tasks: usize,
    /// Panics since the start.
    panics: u64,
    /// Handlers that hold their thread right now.
    stalls: usize,
    /// All namespaces.
    ns: BTreeMap<String, Namespace>,
}

#[derive(Debug, Serialize)]
struct Namespace {
    sockets: usize,
}

pub(super) fn register(socket: &SocketRef) {
    socket.on("stats", async |io: SocketIo, ack: AckSender| {
        ack.send(&stats(&io).await).ok();
    });
}

async fn stats(io: &SocketIo) -> Stats {
    let namespaces: Vec<BroadcastOperators<LocalAdapter>> = io.nsps();
    let ns: BTreeMap<String, Namespace> = namespaces
        .into_iter()
        .map(|namespace| (namespace.ns_path().to_owned(), Namespace { sockets: namespace.sockets().len() }))
        .collect();
    let mut rooms = BTreeMap::new();
    if let Some(lab) = io.of(NAMESPACE) {
        let Ok(names) = lab.rooms().await;
        for name in names {
            let sockets = io.of(NAMESPACE).map_or(0, |lab| lab.within(name.clone()).sockets().len());
            rooms.insert(name.into_owned(), sockets);
        }
    }
    let watertight = watertight::ensure_installed();
    let process = watertight.stats();
    Stats {
        sockets: ns.get(NAMESPACE).map_or(0, |lab| lab.sockets),
        rooms,
        compartments: process.compartments,
        connections: process.connections,
        tasks: process.tasks,
        panics: process.panics,
        stalls: watertight.stalls().len(),
        ns,
    }
}
