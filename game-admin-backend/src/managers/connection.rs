//! The list of connected sockets, and the decision that one of them has to go.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    ops::Bound,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{error, warn};

use super::disconnector::{Cause, DisconnectError, Disconnector};

/// Longest reason that is kept and sent, in characters; longer ones are cut.
const LONGEST_REASON: usize = 200;

/// Knows every connected socket from its first namespace to its last, and ends those that are marked as problematic.
///
/// A connection has one id in all its namespaces. It is forgotten, with its mark, when it has left all of them; so the
/// size of this list is bounded by `capacity` connections with [`MAX_ROOMS`](Self::MAX_ROOMS) rooms in each namespace.
pub struct ConnectionManager {
    // No call to the outside is made under this lock. It does not poison: a panic elsewhere must not cost the list.
    connections: Mutex<BTreeMap<String, Connection>>,
    capacity: usize,
    disconnector: Arc<dyn Disconnector>,
}

#[derive(Debug)]
struct Connection {
    peer: Option<SocketAddr>,
    since: SystemTime,
    /// The rooms in each namespace that the connection has entered.
    namespaces: BTreeMap<String, BTreeSet<String>>,
    /// Why the connection is problematic, once it is marked.
    mark: Option<String>,
}

/// One connection as [`ConnectionManager::list`] shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The socket's id, the same in all namespaces.
    pub id: String,
    /// The namespaces it is in, sorted.
    pub namespaces: Vec<String>,
    /// The address of the client or of the proxy in front of it, if known.
    pub peer: Option<SocketAddr>,
    /// When it entered its first namespace, in milliseconds since 1970-01-01 UTC.
    pub connected_since_ms: u64,
    /// The rooms it is in, of all namespaces, sorted.
    pub rooms: Vec<String>,
    /// Why it is marked for disconnection, if it is.
    pub problematic: Option<String>,
}

/// There are as many connections as the manager may track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is full: it has {capacity} connections")]
pub struct Full {
    /// How many connections that is.
    pub capacity: usize,
}

/// Why a socket may not join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// It is not in the namespace, or no longer.
    #[error("the socket is not connected")]
    NotConnected,
    /// It is in as many rooms as one socket may be.
    #[error("a socket may be in at most {max} rooms", max = ConnectionManager::MAX_ROOMS)]
    TooManyRooms,
}

impl ConnectionManager {
    /// How many rooms of one namespace a socket may be in.
    pub const MAX_ROOMS: usize = 32;

    /// How many connections the server tracks, and therefore accepts.
    pub const DEFAULT_CAPACITY: usize = 100_000;

    /// An empty list with room for [`DEFAULT_CAPACITY`](Self::DEFAULT_CAPACITY) connections.
    pub fn new(disconnector: Arc<dyn Disconnector>) -> Self {
        Self::with_capacity(Self::DEFAULT_CAPACITY, disconnector)
    }

    /// An empty list with room for `capacity` connections. Nothing is allocated in advance.
    pub fn with_capacity(capacity: usize, disconnector: Arc<dyn Disconnector>) -> Self {
        Self { connections: Mutex::default(), capacity, disconnector }
    }

    /// Notes that a socket has entered a namespace.
    ///
    /// # Errors
    ///
    /// [`Full`] if it is a new connection and there is no room; it is then not tracked and must be disconnected.
    pub fn connected(&self, socket_id: &str, namespace: &str, peer: Option<SocketAddr>) -> Result<(), Full> {
        let mut connections = self.connections.lock();
        let count = connections.len();
        let connection = match connections.entry(socket_id.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if count >= self.capacity => {
                return Err(Full { capacity: self.capacity });
            }
            Entry::Vacant(entry) => entry.insert(Connection {
                peer,
                since: SystemTime::now(),
                namespaces: BTreeMap::new(),
                mark: None,
            }),
        };
        connection.namespaces.entry(namespace.to_owned()).or_default();
        Ok(())
    }

    /// Notes that a socket has left a namespace, and answers the rooms that it was in there. A connection that is in no
    /// namespace any more is forgotten. Unknown sockets and namespaces are in no rooms.
    pub fn disconnected(&self, socket_id: &str, namespace: &str) -> Vec<String> {
        let mut connections = self.connections.lock();
        let Some(connection) = connections.get_mut(socket_id) else {
            return Vec::new();
        };
        let rooms = connection.namespaces.remove(namespace).unwrap_or_default();
        if connection.namespaces.is_empty() {
            connections.remove(socket_id);
        }
        rooms.into_iter().collect()
    }

    /// Notes that a socket joins a room, before it does; answers whether it was not in there yet.
    ///
    /// # Errors
    ///
    /// If the socket is not in that namespace (any more), or is in [`MAX_ROOMS`](Self::MAX_ROOMS) rooms there already.
    pub fn joins(&self, socket_id: &str, namespace: &str, room: &str) -> Result<bool, JoinRefusal> {
        let mut connections = self.connections.lock();
        let rooms = connections
            .get_mut(socket_id)
            .and_then(|connection| connection.namespaces.get_mut(namespace))
            .ok_or(JoinRefusal::NotConnected)?;
        if rooms.contains(room) {
            return Ok(false);
        }
        if rooms.len() >= Self::MAX_ROOMS {
            return Err(JoinRefusal::TooManyRooms);
        }
        rooms.insert(room.to_owned());
        Ok(true)
    }

    /// Notes that a socket has left a room.
    pub fn left(&self, socket_id: &str, namespace: &str, room: &str) {
        let mut connections = self.connections.lock();
        let rooms =
            connections.get_mut(socket_id).and_then(|connection| connection.namespaces.get_mut(namespace));
        if let Some(rooms) = rooms {
            rooms.remove(room);
        }
    }

    /// Marks a socket as problematic, for a reason that its client is told, and disconnects it.
    ///
    /// Marking it again logs nothing and tries the disconnection again.
    ///
    /// # Errors
    ///
    /// If the socket is not connected, nothing is marked. If it cannot be disconnected, the mark stays.
    pub fn mark_problematic_socket(&self, socket_id: &str, reason: &str) -> Result<(), DisconnectError> {
        let reason = cut(reason);
        let first = {
            let mut connections = self.connections.lock();
            let connection = connections.get_mut(socket_id).ok_or_else(|| unknown(socket_id))?;
            let first = connection.mark.is_none();
            connection.mark.get_or_insert_with(|| reason.to_owned());
            first
        };
        if first {
            warn!(socket_id, reason, "⚠️ Marking socket {socket_id} as problematic for disconnection");
            error!(
                socket_id,
                reason, "🔌 Socket {socket_id} marked for disconnection due to problematic behavior"
            );
        }
        self.disconnector.disconnect(socket_id, Cause::Problematic, reason)
    }

    /// Whether a socket is marked as problematic and still connected.
    #[must_use]
    pub fn should_disconnect_socket(&self, socket_id: &str) -> bool {
        self.connections.lock().get(socket_id).is_some_and(|connection| connection.mark.is_some())
    }

    /// Disconnects a socket because an operator says so, for a reason that its client is told.
    ///
    /// # Errors
    ///
    /// If the socket is not connected or cannot be disconnected.
    pub fn kick(&self, socket_id: &str, reason: &str) -> Result<(), DisconnectError> {
        if !self.connections.lock().contains_key(socket_id) {
            return Err(unknown(socket_id));
        }
        self.disconnector.disconnect(socket_id, Cause::Kicked, cut(reason))
    }

    /// All connections, sorted by id.
    #[must_use]
    pub fn list(&self) -> Vec<ConnectionInfo> {
        self.page(None, usize::MAX)
    }

    /// At most `limit` connections, sorted by id, beginning with the first after `after`.
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<ConnectionInfo> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let connections = self.connections.lock();
        connections
            .range::<str, _>((start, Bound::Unbounded))
            .take(limit)
            .map(|(id, connection)| connection.info(id))
            .collect()
    }

    /// How many connections there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.lock().len()
    }
}

impl Connection {
    fn info(&self, id: &str) -> ConnectionInfo {
        let Self { peer, since, namespaces, mark } = self;
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let rooms: BTreeSet<&String> = namespaces.values().flatten().collect();
        ConnectionInfo {
            id: id.to_owned(),
            namespaces: namespaces.keys().cloned().collect(),
            peer: *peer,
            connected_since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            rooms: rooms.into_iter().cloned().collect(),
            problematic: mark.clone(),
        }
    }
}

fn unknown(socket_id: &str) -> DisconnectError {
    DisconnectError::NotConnected { socket_id: socket_id.to_owned() }
}

fn cut(reason: &str) -> &str {
    reason.char_indices().nth(LONGEST_REASON).map_or(reason, |(end, _)| &reason[..end])
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
