//! Transports as attribution sees them: which tasks poll which connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use papaya::HashMap;
use tokio::task::Id;

use crate::registry::{Lease, Registry};
use crate::scope;
use crate::seal::Seal;

/// The tasks that poll a connection, and whose it is. Read by the panic hook, so without locks.
static TASKS: LazyLock<HashMap<Id, Weak<Transport>>> = LazyLock::new(HashMap::new);

/// How many connections are open.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// One connection (TCP, TLS or anything that can be read and written) and the compartment it belongs
/// to alone.
///
/// A connection is linked to a compartment once it has been upgraded: before that, a reverse proxy may
/// send the requests of many clients over it, and a panic of its task is nobody's in particular.
pub struct Transport {
    peer: Option<SocketAddr>,
    lease: OnceLock<Lease>,
    /// The key of its compartment, 0 while there is none: every read asks for it.
    key: AtomicU64,
}

impl Transport {
    /// A connection from `peer`.
    #[must_use]
    pub fn new(peer: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { peer, lease: OnceLock::new(), key: AtomicU64::new(0) })
    }

    /// The address at its other end.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Links it to its compartment, for ever. `false` when it is linked to another one already.
    pub fn link(&self, lease: Lease) -> bool {
        let key = lease.key();
        let linked = self.lease.get_or_init(|| lease).key();
        self.key.store(linked, Ordering::Relaxed);
        linked == key
    }

    /// The compartment it belongs to alone.
    #[must_use]
    #[inline]
    pub fn compartment(&self) -> Option<&Lease> {
        self.lease.get()
    }

    /// The [key](crate::Compartment::key) of the compartment it belongs to alone; 0 while there is none.
    #[must_use]
    #[inline]
    pub fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    /// Notes that the calling thread has bytes of the client with this [key](Self::key) before it, and is about to make sense
    /// of them; 0 when there are no more. If the process dies meanwhile, it was this client's transport.
    #[inline]
    pub fn reads(key: u64) {
        scope::reads(key);
    }

    /// The transport that the given task polls. Takes no lock.
    pub(crate) fn of_task(id: Id) -> Option<Arc<Self>> {
        TASKS.pin().get(&id)?.upgrade()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("peer", &self.peer)
            .field("compartment", &self.lease.get().map(|lease| lease.id()))
            .finish()
    }
}

/// A connection as requests carry it in their extensions: what an integration needs to find whose it is
/// and to close it.
#[derive(Clone)]
pub struct Connection {
    transport: Arc<Transport>,
    part: Arc<dyn Seal>,
    server: ServerId,
}

impl Connection {
    /// A connection that `server` accepted, closed through `part`.
    pub fn new(transport: Arc<Transport>, part: Arc<dyn Seal>, server: ServerId) -> Self {
        Self { transport, part, server }
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// The server that accepted it.
    #[must_use]
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// Gives the connection to one compartment alone, from an upgrade on. `false` when it belongs to another.
    pub fn link(&self, lease: &Lease) -> bool {
        if self.transport.compartment().is_some_and(|linked| linked.key() == lease.key()) {
            return true;
        }
        let linked = self.transport.link(lease.clone());
        if linked {
            lease.attach_part(&self.part);
            if let Some(peer) = self.transport.peer() {
                lease.set_peer(peer);
            }
        }
        linked
    }

    /// The compartment it belongs to alone; opens one when there is none yet.
    pub fn linked(&self) -> Lease {
        if let Some(lease) = self.transport.compartment() {
            return lease.clone();
        }
        let lease = Registry::global().open(Some(self));
        self.link(&lease);
        // Another thread may have been faster.
        self.transport.compartment().cloned().unwrap_or(lease)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("transport", &self.transport)
            .field("server", &self.server)
            .finish()
    }
}

/// Tells the servers of one process apart, so that one can be drained alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(u64);

impl ServerId {
    /// An id that no other server of this process has.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every call answers another value")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How many tasks poll one connection over its life: hyper's, the engine's reader and writer, one to spare.
const TASKS_PER_TRANSPORT: usize = 4;

/// The entries of one transport in the task table. Belongs to the wrapper around its IO, which tells it
/// who polls; dropping it removes the entries.
#[derive(Debug)]
#[repr(C)]
pub struct TransportTasks {
    /// First, for it is all that a task which is known is looked up in.
    known: [Option<Id>; TASKS_PER_TRANSPORT],
    transport: Weak<Transport>,
    oldest: usize,
}

impl TransportTasks {
    /// No entries yet; counts as one open connection until dropped.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "creating one is an event that is counted")]
    pub fn new() -> Self {
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self { transport: Weak::new(), known: [None; TASKS_PER_TRANSPORT], oldest: 0 }
    }

    /// How many connections are open in the whole process.
    #[must_use]
    pub fn connections() -> usize {
        CONNECTIONS.load(Ordering::Relaxed)
    }

    /// Notes that the task that runs now polls `transport`. Costs a comparison when it is known.
    #[inline]
    pub fn note(&mut self, transport: &Arc<Transport>) {
        let id = tokio::task::try_id();
        if id.is_some() && !self.known.contains(&id) {
            self.add(id, transport);
        }
    }

    #[cold]
    fn add(&mut self, id: Option<Id>, transport: &Arc<Transport>) {
        self.transport = Arc::downgrade(transport);
        if let Some(old) = std::mem::replace(&mut self.known[self.oldest], id) {
            self.remove(old);
        }
        self.oldest = (self.oldest + 1) % TASKS_PER_TRANSPORT;
        if let Some(id) = id {
            // A task that polls several connections says nothing about whose work it does: nobody's, then.
            TASKS.pin().update_or_insert_with(
                id,
                |known| if known.ptr_eq(&self.transport) { known.clone() } else { Weak::new() },
                || self.transport.clone(),
            );
        }
    }

    fn remove(&self, id: Id) {
        let tasks = TASKS.pin();
        let ours_alone =
            tasks.get(&id).is_some_and(|known| known.ptr_eq(&self.transport) || known.ptr_eq(&Weak::new()));
        if ours_alone {
            tasks.remove(&id);
        }
    }

    /// How many tasks the table of the whole process knows.
    #[must_use]
    pub fn count() -> usize {
        TASKS.len()
    }
}

impl Drop for TransportTasks {
    fn drop(&mut self) {
        CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        for id in self.known.into_iter().flatten() {
            self.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_is_known_until_the_entries_are_dropped() {
        let transport = Transport::new(None);
        let other = Arc::clone(&transport);
        let (id, tasks) = tokio::spawn(async move {
            let mut tasks = TransportTasks::new();
            tasks.note(&other);
            tasks.note(&other);
            (tokio::task::id(), tasks)
        })
        .await
        .expect("no panic");
        assert!(Transport::of_task(id).is_some_and(|found| Arc::ptr_eq(&found, &transport)));
        drop(tasks);
        assert!(Transport::of_task(id).is_none());
    }

    #[tokio::test]
    async fn only_the_latest_tasks_are_kept() {
        let transport = Transport::new(None);
        let mut tasks = TransportTasks::new();
        let mut ids = Vec::new();
        for _ in 0..TASKS_PER_TRANSPORT + 2 {
            let transport = Arc::clone(&transport);
            let polled = tokio::spawn(async move {
                tasks.note(&transport);
                (tokio::task::id(), tasks)
            });
            let id;
            (id, tasks) = polled.await.expect("no panic");
            ids.push(id);
        }
        let known = ids.iter().map(|id| Transport::of_task(*id).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [false, false, true, true, true, true]);
    }
}
