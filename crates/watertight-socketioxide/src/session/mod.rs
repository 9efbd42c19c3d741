//! Engine.IO sessions: which compartment a session is, and how one that polls is closed.

mod known;
mod polls;

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::{ArcWake, WakerRef, waker_ref};
use parking_lot::Mutex;
use socketioxide::adapter::Adapter;
use socketioxide::socket::Socket;
use watertight::{Activity, CloseMode, Compartment, Lease, Notice, Registry, Scope, Seal};

pub(crate) use self::polls::Look;
use self::polls::{Parked, Polls};

/// The compartment of a socket's session. Opens one for a session whose request did not pass through our
/// service; makes the session's id known.
pub(crate) fn compartment_of<A: Adapter>(socket: &Socket<A>) -> Arc<Compartment> {
    let registry = Registry::global();
    let session = socket.id.as_str();
    if let Some(lease) = socket.req_parts().extensions.get::<Lease>() {
        registry.name(lease, session);
        return Arc::clone(lease);
    }
    if let Some(known) = registry.by_session(session) {
        return known;
    }
    let lease = registry.open(None);
    registry.name(&lease, session);
    let compartment = Arc::clone(&lease);
    // Nothing of ours lives as long as that session does: it is forgotten when its last socket is gone.
    registry.keep(lease);
    compartment
}

/// As [`compartment_of`], and opens nothing.
pub(crate) fn known_compartment_of<A: Adapter>(socket: &Socket<A>) -> Option<Arc<Compartment>> {
    match socket.req_parts().extensions.get::<Lease>() {
        Some(lease) => Some(Arc::clone(lease)),
        None => Registry::global().by_session(socket.id.as_str()),
    }
}

/// The engine, for what a session that polls asks of it.
pub(crate) trait Engine: Send {
    /// Closes the session, as its own client would, and calls back when that is done.
    fn close(self: Box<Self>, session: &str, done: Box<dyn FnOnce() + Send>);

    /// Whether it has the session; `None` when it does not say at once.
    fn knows(&self, session: &str) -> Option<bool>;
}

/// A session that was opened by polling: a part of its compartment. The request that opened it owns it.
pub(crate) struct PollingSession {
    this: Weak<Self>,
    lease: Lease,
    /// The lease's, for every request asks for it.
    compartment: Arc<Compartment>,
    /// The scope of the engine's own work on the session's requests.
    scope: Scope,
    /// Engine.IO 3 frames its packets differently.
    is_v3: bool,
    polls: Polls,
    /// Present until the session is closed or upgraded.
    engine: Mutex<Option<Box<dyn Engine>>>,
}

impl PollingSession {
    pub(crate) fn new(lease: Lease, is_v3: bool, engine: Box<dyn Engine>) -> Arc<Self> {
        let scope = Scope::new(Arc::clone(&lease), Activity::transport());
        let session = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            compartment: Arc::clone(&lease),
            lease,
            scope,
            is_v3,
            polls: Polls::new(Instant::now()),
            engine: Mutex::new(Some(engine)),
        });
        session.lease.attach(&session);
        session
    }

    /// The session with this id, if it was opened by polling.
    pub(crate) fn find(session: &str) -> Option<Arc<Self>> {
        if let Some(known) = known::find(session).filter(|known| !known.compartment.is_forgotten()) {
            return Some(known);
        }
        Registry::global().by_session(session)?.find_part(|_: &Self| true)
    }

    /// The engine has named it.
    pub(crate) fn name(self: &Arc<Self>, session: &str) {
        if Registry::global().name(&self.lease, session) {
            known::add(session, self);
        }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether it is not being sealed.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.compartment.is_live()
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The Engine.IO packet that tells a client that its session is closed.
    pub(crate) fn close_packet(&self) -> &'static str {
        if self.is_v3 { "1:1" } else { "1" }
    }

    /// A poll request begins.
    pub(crate) fn begin_poll(self: Arc<Self>) -> PollRequest {
        let number = self.polls.begin();
        PollRequest { session: self, number }
    }

    /// A poll request is about to ask the engine for something to send.
    pub(crate) fn look(&self) -> Look {
        self.polls.look()
    }

    fn park(&self, number: u32, look: Look, waker: &Waker) -> bool {
        let parked = self.polls.park(number, look, waker);
        if parked == Parked::Drained {
            self.lease.progress();
        }
        parked != Parked::Refused
    }

    /// The session's transport is a WebSocket from now on.
    pub(crate) fn upgraded(&self) {
        if self.polls.upgrade() {
            *self.engine.lock() = None;
            self.forget();
        }
    }

    fn forget(&self) {
        if let Some(session) = self.lease.session() {
            known::remove(session);
        }
    }

    fn closed(&self) {
        self.polls.closed();
        self.lease.progress();
    }
}

impl Drop for PollingSession {
    fn drop(&mut self) {
        self.forget();
    }
}

/// What the engine wakes when it has something for the poll request that waits. It stands between the engine and whoever
/// polls that: as long as one waits and the engine has not woken it, the engine has the session.
impl ArcWake for PollingSession {
    fn wake_by_ref(this: &Arc<Self>) {
        this.polls.ring();
    }
}

/// A poll request of a session, until it is answered or given up.
pub(crate) struct PollRequest {
    session: Arc<PollingSession>,
    number: u32,
}

impl PollRequest {
    /// What the engine is to wake.
    pub(crate) fn bell(&self) -> WakerRef<'_> {
        waker_ref(&self.session)
    }

    pub(crate) fn session(&self) -> &Arc<PollingSession> {
        &self.session
    }

    /// It has nothing to send and waits. `false`: the session is closed, so it is to be answered at once.
    pub(crate) fn park(&self, look: Look, waker: &Waker) -> bool {
        self.session.park(self.number, look, waker)
    }
}

impl Drop for PollRequest {
    fn drop(&mut self) {
        self.session.polls.end(self.number, Instant::now());
    }
}

impl Seal for PollingSession {
    fn carries(&self) -> bool {
        true
    }

    fn watch(&self, _notice: &Notice) {
        self.polls.telling();
    }

    fn delivered(&self, _notice: &Notice, _copies: usize) -> Option<bool> {
        // First asked when every part has told.
        self.polls.drained()
    }

    fn absent(&self) -> Option<Duration> {
        self.polls.absent(Instant::now())
    }

    fn is_lost(&self) -> bool {
        // To ask the engine takes a request; most clients poll at all times.
        if self.polls.are_served() {
            return false;
        }
        let engine = self.engine.lock();
        let asked = engine.as_ref().zip(self.lease.session());
        asked.is_some_and(|(engine, session)| engine.knows(session) == Some(false))
    }

    fn close(&self, _mode: CloseMode) {
        if !self.polls.close() {
            return;
        }
        let engine = self.engine.lock().take();
        match (engine, self.lease.session()) {
            (Some(engine), Some(session)) => {
                let weak = Weak::clone(&self.this);
                let done = Box::new(move || {
                    if let Some(session) = weak.upgrade() {
                        session.closed();
                    }
                });
                engine.close(session, done);
            }
            _ => self.closed(),
        }
    }

    fn is_gone(&self) -> bool {
        self.polls.are_over()
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    /// Is never asked.
    struct Silent;

    impl Engine for Silent {
        fn close(self: Box<Self>, _: &str, done: Box<dyn FnOnce() + Send>) {
            done();
        }

        fn knows(&self, _: &str) -> Option<bool> {
            None
        }
    }

    fn session(id: &str) -> Arc<PollingSession> {
        let session = PollingSession::new(Registry::global().open(None), false, Box::new(Silent));
        session.name(id);
        session
    }

    fn finds(session: &Arc<PollingSession>, id: &str) -> bool {
        PollingSession::find(id).is_some_and(|found| Arc::ptr_eq(&found, session))
    }

    #[test]
    fn is_found_by_its_id_until_it_is_dropped() {
        // The second is not of the form that the engine gives.
        for id in ["0123456789abcdef", "short"] {
            let session = session(id);
            assert!(finds(&session, id));
            drop(session);
            assert!(PollingSession::find(id).is_none() && known::find(id).is_none());
        }
    }

    #[test]
    fn one_that_the_registry_has_forgotten_is_not_found() {
        let session = session("forgotten-------");
        assert!(finds(&session, "forgotten-------"));
        Registry::global().forget(session.lease());
        assert!(PollingSession::find("forgotten-------").is_none());
    }

    #[test]
    fn one_that_is_a_websocket_by_now_is_only_in_the_registry() {
        let session = session("upgraded--------");
        assert!(known::find("upgraded--------").is_some());
        session.upgraded();
        assert!(known::find("upgraded--------").is_none());
        assert!(finds(&session, "upgraded--------"));
    }
}
