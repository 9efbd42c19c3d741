//! Engine.IO sessions: which compartment a session is, and how one that polls is closed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use parking_lot::Mutex;
use socketioxide::adapter::Adapter;
use socketioxide::socket::Socket;
use watertight::{Activity, CloseMode, Compartment, Lease, Notice, Registry, Scope, Seal};

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

/// Closes a session in the engine, and calls back when that is done.
pub(crate) type Closer = Box<dyn FnOnce(String, Box<dyn FnOnce() + Send>) + Send>;

/// A session that was opened by polling: a part of its compartment. The request that opened it owns it.
pub(crate) struct PollingSession {
    this: Weak<Self>,
    lease: Lease,
    /// The scope of the engine's own work on the session's requests.
    scope: Scope,
    /// Engine.IO 3 frames its packets differently.
    is_v3: bool,
    /// Counts the poll requests.
    polls: AtomicU32,
    state: Mutex<State>,
}

struct State {
    closer: Option<Closer>,
    /// The poll request that waits for something to be sent.
    parked: Option<Waker>,
    /// The number of poll requests when the client had just been told.
    told_at: Option<u32>,
    /// A poll request came after that and found nothing more to be sent.
    drained: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Open,
    /// It is a WebSocket now; that connection is another part.
    Upgraded,
    Closing,
    Closed,
}

impl PollingSession {
    pub(crate) fn new(lease: Lease, is_v3: bool, closer: Closer) -> Arc<Self> {
        let scope = Scope::new(Arc::clone(&lease), Activity::transport());
        let state =
            State { closer: Some(closer), parked: None, told_at: None, drained: false, end: End::Open };
        let polls = AtomicU32::new(0);
        let session = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            lease,
            scope,
            is_v3,
            polls,
            state: Mutex::new(state),
        });
        session.lease.attach(&session);
        session
    }

    /// The session with this id, if it was opened by polling.
    pub(crate) fn find(session: &str) -> Option<Arc<Self>> {
        Registry::global().by_session(session)?.find_part(|_: &Self| true)
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The Engine.IO packet that tells a client that its session is closed.
    pub(crate) fn close_packet(&self) -> &'static str {
        if self.is_v3 { "1:1" } else { "1" }
    }

    /// A poll request begins; answers its number.
    pub(crate) fn begin_poll(&self) -> u32 {
        self.polls.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The poll request `number` has nothing to send and waits. `false`: the session is closed, so it is to be
    /// answered at once.
    pub(crate) fn park(&self, number: u32, waker: &Waker) -> bool {
        let progressed = {
            let mut state = self.state.lock();
            if state.end >= End::Closing {
                return false;
            }
            match &mut state.parked {
                Some(parked) => parked.clone_from(waker),
                parked => *parked = Some(waker.clone()),
            }
            // Its client has read all that was sent before it asked again.
            let drained = state.told_at.is_some_and(|told_at| number > told_at);
            drained && !std::mem::replace(&mut state.drained, drained)
        };
        if progressed {
            self.lease.progress();
        }
        true
    }

    /// The session's transport is a WebSocket from now on.
    pub(crate) fn upgraded(&self) {
        let mut state = self.state.lock();
        if state.end == End::Open {
            state.end = End::Upgraded;
            state.closer = None;
        }
    }

    fn closed(&self) {
        self.state.lock().end = End::Closed;
        self.lease.progress();
    }
}

impl Seal for PollingSession {
    fn watch(&self, _notice: &Notice) {
        self.state.lock().told_at = Some(self.polls.load(Ordering::Acquire));
    }

    fn delivered(&self, _notice: &Notice, _copies: usize) -> Option<bool> {
        let state = self.state.lock();
        if state.end == End::Upgraded {
            return None;
        }
        Some(state.drained)
    }

    fn close(&self, _mode: CloseMode) {
        let (closer, parked) = {
            let mut state = self.state.lock();
            if state.end != End::Open {
                return;
            }
            state.end = End::Closing;
            (state.closer.take(), state.parked.take())
        };
        if let Some(parked) = parked {
            parked.wake();
        }
        match (closer, self.lease.session()) {
            (Some(closer), Some(session)) => {
                let weak = Weak::clone(&self.this);
                let done = Box::new(move || {
                    if let Some(session) = weak.upgrade() {
                        session.closed();
                    }
                });
                closer(session.to_owned(), done);
            }
            _ => self.closed(),
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.state.lock().end, End::Upgraded | End::Closed)
    }
}
