//! The gate of one socket in one namespace: holds early events back, knows the application's own fallback and
//! disconnect handlers, and is how the socket is sealed.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use socketioxide::SocketError;
use socketioxide::adapter::Adapter;
use socketioxide::extract::Event;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::Notify;
use watertight::{Activity, ActivityKind, Compartment, Notice, Registry, Scope, Seal, SealMode, Told};

use crate::handler::disconnect::DisconnectGuard;
use crate::handler::message::{Dispatch, FallbackGuard, MessageGuard, MessageHandler, Scoped};
use crate::session;

/// How many early events are held for one socket: twice what a client's send buffer usually holds.
const MAX_EARLY: usize = 256;
/// How many bytes of them.
const MAX_EARLY_BYTES: usize = 1024 * 1024;

pub(crate) type DisconnectFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type DisconnectCall<A> = Box<dyn FnOnce(Arc<Socket<A>>, DisconnectReason) -> Option<DisconnectFuture> + Send>;

/// A handler under its event's name.
type Registered<A> = (Cow<'static, str>, Arc<dyn Dispatch<A>>);

/// What happens to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    /// The connect handler has not come to its first pause: every event waits.
    Holding,
    /// It is running: events whose handler is not registered yet wait.
    Late,
    /// It is done: every event goes to its handler, the fallback, or nowhere.
    Open,
}

pub(crate) struct Gate<A: Adapter> {
    compartment: Arc<Compartment>,
    socket: Weak<Socket<A>>,
    phase: AtomicU8,
    state: Mutex<State<A>>,
    noticed: Notify,
}

struct State<A: Adapter> {
    /// Present until the phase is `Open`.
    hold: Option<Box<Hold<A>>>,
    /// What is registered. socketioxide looks a handler up before it calls, so that an event may come here although
    /// its handler has been registered meanwhile.
    handlers: Vec<Registered<A>>,
    fallback: Option<Arc<dyn Dispatch<A>>>,
    disconnect: Option<DisconnectCall<A>>,
    notice: Option<Box<Notice>>,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Its middlewares are running.
    Connecting,
    Connected,
    /// Its disconnect handler is running.
    Disconnecting,
    Gone,
}

struct Hold<A: Adapter> {
    early: VecDeque<Early<A>>,
    bytes: usize,
    /// Whether the connect handler has a future that is watched.
    spawned: bool,
    /// Whether somebody is delivering, and to which phase that leads.
    delivering: bool,
    /// Whether somebody else wanted to meanwhile.
    again: bool,
    next: Phase,
}

/// An event that waits.
struct Early<A: Adapter> {
    /// `None` while nobody is registered for it.
    handler: Option<Arc<dyn Dispatch<A>>>,
    value: Value,
    ack_id: Option<i64>,
}

impl<A: Adapter> Gate<A> {
    /// Opens the gate of a socket that is about to connect, and registers the guards with it.
    pub(crate) fn open(socket: &Arc<Socket<A>>, compartment: Arc<Compartment>) -> Arc<Self> {
        let gate = Self::new(Arc::downgrade(socket), compartment, Phase::Holding);
        socket.on_fallback(FallbackGuard(Arc::clone(&gate)));
        socket.on_disconnect(DisconnectGuard(Arc::clone(&gate)));
        gate.compartment.attach(&gate);
        gate
    }

    /// The gate of a socket that connected to a namespace that is not guarded.
    pub(crate) fn adopt(compartment: Arc<Compartment>) -> Arc<Self> {
        // Without a handle of the socket it is no part that can be told; its transport still is.
        Self::new(Weak::new(), compartment, Phase::Open)
    }

    fn new(socket: Weak<Socket<A>>, compartment: Arc<Compartment>, phase: Phase) -> Arc<Self> {
        let hold = Hold {
            early: VecDeque::new(),
            bytes: 0,
            spawned: false,
            delivering: false,
            again: false,
            next: Phase::Holding,
        };
        Arc::new(Self {
            compartment,
            socket,
            phase: AtomicU8::new(phase as u8),
            state: Mutex::new(State {
                hold: (phase != Phase::Open).then(|| Box::new(hold)),
                handlers: Vec::new(),
                fallback: None,
                disconnect: None,
                notice: None,
                life: Life::Connecting,
            }),
            noticed: Notify::new(),
        })
    }

    /// The gate of a socket; `None` for one whose namespace is not guarded.
    pub(crate) fn of(socket: &Socket<A>) -> Option<Arc<Self>> {
        let compartment = session::known_compartment_of(socket)?;
        compartment.find_part(|gate: &Self| std::ptr::eq(gate.socket.as_ptr(), socket))
    }

    pub(crate) fn compartment(&self) -> &Arc<Compartment> {
        &self.compartment
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Holding,
            1 => Phase::Late,
            _ => Phase::Open,
        }
    }

    // Registering.

    /// Registers a handler for an event.
    pub(crate) fn on<H, T>(self: &Arc<Self>, socket: &Socket<A>, event: Cow<'static, str>, handler: H)
    where
        H: MessageHandler<A, T>,
        T: 'static,
    {
        let activity = Activity::new(ActivityKind::Event, socket.ns().to_owned(), event.clone());
        let handler = Scoped::new(handler, Scope::new(Arc::clone(&self.compartment), activity));
        let handler: Arc<dyn Dispatch<A>> = Arc::new(handler);
        {
            let handlers = &mut self.state.lock().handlers;
            match handlers.iter_mut().find(|(registered, _)| *registered == event) {
                Some((_, registered)) => *registered = Arc::clone(&handler),
                None => handlers.push((event.clone(), Arc::clone(&handler))),
            }
        }
        socket.on(event, MessageGuard::new(Arc::clone(self), handler));
        // Registered late: what came for it already has waited for this.
        if self.phase() == Phase::Late {
            self.deliver(Phase::Late);
        }
    }

    /// Registers the handler of all other events.
    pub(crate) fn on_fallback<H, T>(self: &Arc<Self>, socket: &Socket<A>, handler: H)
    where
        H: MessageHandler<A, T>,
        T: 'static,
    {
        let activity = Activity::new(ActivityKind::Fallback, socket.ns().to_owned(), "");
        let handler = Scoped::new(handler, Scope::new(Arc::clone(&self.compartment), activity));
        self.state.lock().fallback = Some(Arc::new(handler));
        socket.on_fallback(FallbackGuard(Arc::clone(self)));
    }

    /// Registers what runs when the socket has left.
    pub(crate) fn on_disconnect(self: &Arc<Self>, socket: &Socket<A>, call: DisconnectCall<A>) {
        self.state.lock().disconnect = Some(call);
        socket.on_disconnect(DisconnectGuard(Arc::clone(self)));
    }

    // Events.

    /// Whether an event for `handler` may go to it now; else it is held, or dropped for ever.
    pub(crate) fn pass(
        &self,
        value: Value,
        ack_id: Option<i64>,
        handler: &Arc<dyn Dispatch<A>>,
    ) -> Option<(Value, Option<i64>)> {
        if !self.compartment.is_live() {
            return None;
        }
        if self.phase() == Phase::Open {
            return Some((value, ack_id));
        }
        let mut state = self.state.lock();
        match &mut state.hold {
            Some(hold) if self.phase() == Phase::Holding || hold.delivering => {
                hold.push(Early { handler: Some(Arc::clone(handler)), value, ack_id });
                None
            }
            _ => Some((value, ack_id)),
        }
    }

    /// An event that nobody was registered for when socketioxide looked.
    pub(crate) fn unknown_event(&self, socket: Arc<Socket<A>>, mut value: Value, ack_id: Option<i64>) {
        if !self.compartment.is_live() {
            return;
        }
        let handler = {
            let mut state = self.state.lock();
            let State { hold, handlers, fallback, .. } = &mut *state;
            let mut registered = None;
            let holds = match hold {
                None => false,
                Some(hold) => hold.delivering || self.phase() == Phase::Holding,
            };
            if !holds {
                registered = named(&socket, &mut value, ack_id, handlers).or_else(|| fallback.clone());
            }
            match (hold, registered) {
                (_, Some(handler)) => handler,
                (Some(hold), None) => {
                    hold.push(Early { handler: None, value, ack_id });
                    return;
                }
                (None, None) => return,
            }
        };
        handler.dispatch(socket, value, ack_id);
    }

    /// Delivers the events that wait and can be delivered, in the order they came, and then goes on to `phase`.
    fn deliver(&self, phase: Phase) {
        let Some(socket) = self.socket.upgrade() else {
            return;
        };
        {
            let mut state = self.state.lock();
            let Some(hold) = &mut state.hold else { return };
            hold.next = hold.next.max(phase);
            // One at a time, or the order is lost. Whoever delivers sees what is registered meanwhile.
            if mem::replace(&mut hold.delivering, true) {
                hold.again = true;
                return;
            }
        }
        let mut passed_over = 0;
        loop {
            let next = {
                let mut state = self.state.lock();
                let State { hold, handlers, fallback, .. } = &mut *state;
                let Some(waiting) = hold else { return };
                match waiting.take(passed_over, handlers, fallback.as_ref(), &socket) {
                    Taken::Event(handler, early) => Some((handler, early)),
                    Taken::Stays => None,
                    // A handler was registered for what has been passed over.
                    Taken::Nothing if mem::take(&mut waiting.again) => {
                        passed_over = 0;
                        continue;
                    }
                    Taken::Nothing => {
                        // Under the lock that newcomers wait for: none of them can overtake.
                        waiting.delivering = false;
                        self.phase.store(waiting.next as u8, Ordering::Release);
                        if waiting.next == Phase::Open {
                            *hold = None;
                        }
                        return;
                    }
                }
            };
            match next {
                // Called without the lock: extractors are the application's code.
                Some((handler, Early { value, ack_id, .. })) => {
                    if self.compartment.is_live() {
                        handler.dispatch(Arc::clone(&socket), value, ack_id);
                    }
                }
                None => passed_over += 1,
            }
        }
    }

    // The connect handler's progress.

    /// The client has been let in. `false` when it was sealed meanwhile: the handler is not called then.
    pub(crate) fn connected(&self, socket: &Arc<Socket<A>>) -> bool {
        let notice = {
            let mut state = self.state.lock();
            state.life = Life::Connected;
            state.notice.take()
        };
        if let Some(notice) = notice {
            emit(socket, &notice);
        }
        self.compartment.is_live()
    }

    /// The handler's future is about to be spawned.
    pub(crate) fn watch_handler<F>(self: &Arc<Self>, future: F) -> Watched<A, F> {
        if let Some(hold) = &mut self.state.lock().hold {
            hold.spawned = true;
        }
        Watched { future, progress: Progress { gate: Arc::clone(self), paused: false } }
    }

    /// The handler has been called. One that spawned nothing is done.
    pub(crate) fn handler_called(&self) {
        let spawned = self.state.lock().hold.as_ref().is_some_and(|hold| hold.spawned);
        if !spawned {
            self.deliver(Phase::Open);
        }
    }

    // The end.

    /// A middleware refused the client.
    pub(crate) fn refused(&self) {
        self.end(Life::Gone);
    }

    /// The socket has been disconnected. `false` when it had been already: whoever came first cleans up.
    pub(crate) fn disconnecting(self: &Arc<Self>, socket: &Socket<A>) -> bool {
        self.phase.store(Phase::Open as u8, Ordering::Release);
        // socketioxide takes the guard away to call it; a second disconnect would then clean up at once, while the
        // application's handler still runs.
        socket.on_disconnect(DisconnectGuard(Arc::clone(self)));
        let mut state = self.state.lock();
        state.hold = None;
        let first = matches!(state.life, Life::Connecting | Life::Connected);
        if first {
            state.life = Life::Disconnecting;
        }
        first
    }

    /// Takes the application's disconnect handler.
    pub(crate) fn take_disconnect(&self) -> Option<DisconnectCall<A>> {
        self.state.lock().disconnect.take()
    }

    /// It has left its namespace and rooms.
    pub(crate) fn gone(&self) {
        self.end(Life::Gone);
    }

    fn end(&self, life: Life) {
        {
            let mut state = self.state.lock();
            state.life = life;
            state.hold = None;
            state.fallback = None;
            state.handlers = Vec::new();
        }
        self.compartment.progress();
        Registry::global().forget_if_empty(&self.compartment);
    }

    /// Waits for the notice that a client gets while it is not connected yet, as the one line that a refused
    /// connect can carry.
    pub(crate) async fn noticed(&self) -> String {
        loop {
            let noticed = self.noticed.notified();
            if let Some(notice) = &self.state.lock().notice {
                return notice.line();
            }
            noticed.await;
        }
    }
}

/// Sends the client its notice; past a full buffer as well.
fn emit<A: Adapter>(socket: &Arc<Socket<A>>, notice: &Notice) -> Told {
    match socket.emit("incident", notice) {
        Ok(()) => Told::Sent,
        Err(socketioxide::SendError::Socket(SocketError::InternalChannelFull)) => {
            match socket.volatile().emit("incident", notice) {
                Ok(()) => Told::Sent,
                Err(_) => Told::Refused,
            }
        }
        Err(_) => Told::Refused,
    }
}

impl<A: Adapter> Seal for Gate<A> {
    fn serves(&self) -> bool {
        self.socket.strong_count() > 0 && matches!(self.state.lock().life, Life::Connecting | Life::Connected)
    }

    fn tell(&self, notice: &Notice) -> Told {
        let Some(socket) = self.socket.upgrade() else {
            return Told::Refused;
        };
        {
            let mut state = self.state.lock();
            match state.life {
                Life::Connected => {}
                Life::Connecting => {
                    state.notice.get_or_insert_with(|| Box::new(notice.clone()));
                    self.noticed.notify_one();
                    return Told::Sent;
                }
                Life::Disconnecting | Life::Gone => return Told::Refused,
            }
        }
        emit(&socket, notice)
    }

    fn delivered(&self, _notice: &Notice, _copies: usize) -> Option<bool> {
        let state = self.state.lock();
        // A refusal is sent once the middleware's task has been woken.
        (state.life == Life::Connecting && state.notice.is_some() && self.socket.strong_count() > 0)
            .then_some(false)
    }

    fn leave(&self, _mode: SealMode) {
        // A handler that runs already will end, or be ended; a second disconnect would cut it short.
        if self.state.lock().life != Life::Connected {
            return;
        }
        if let Some(socket) = self.socket.upgrade() {
            // A full send buffer refuses it: it is tried again once the transport is cut, which empties it.
            let _ = socket.disconnect();
        }
    }

    fn is_gone(&self) -> bool {
        self.socket.strong_count() == 0 || self.state.lock().life == Life::Gone
    }
}

enum Taken<A: Adapter> {
    Event(Arc<dyn Dispatch<A>>, Early<A>),
    Stays,
    Nothing,
}

impl<A: Adapter> Hold<A> {
    fn push(&mut self, early: Early<A>) {
        let size = size_of(&early.value);
        if self.early.len() >= MAX_EARLY || self.bytes + size > MAX_EARLY_BYTES {
            trace::warn!(target: "watertight", "too many early events: one is dropped");
            return;
        }
        self.bytes += size;
        self.early.push_back(early);
    }

    /// Takes the event at `index` when there is a handler for it.
    fn take(
        &mut self,
        index: usize,
        handlers: &[Registered<A>],
        fallback: Option<&Arc<dyn Dispatch<A>>>,
        socket: &Arc<Socket<A>>,
    ) -> Taken<A> {
        let Some(early) = self.early.get_mut(index) else {
            return Taken::Nothing;
        };
        if early.handler.is_none() {
            early.handler =
                named(socket, &mut early.value, early.ack_id, handlers).or_else(|| fallback.cloned());
        }
        match early.handler.take() {
            None => Taken::Stays,
            Some(handler) => match self.early.remove(index) {
                None => Taken::Nothing,
                Some(early) => {
                    self.bytes -= size_of(&early.value);
                    Taken::Event(handler, early)
                }
            },
        }
    }
}

/// The handler that is registered for the event that a message is.
fn named<A: Adapter>(
    socket: &Arc<Socket<A>>,
    value: &mut Value,
    ack_id: Option<i64>,
    handlers: &[Registered<A>],
) -> Option<Arc<dyn Dispatch<A>>> {
    let Event(name) = Event::from_message_parts(socket, value, &ack_id).ok()?;
    handlers.iter().find(|(event, _)| *event == name).map(|(_, handler)| Arc::clone(handler))
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Str(text, binary) => {
            text.len() + binary.iter().flatten().map(bytes::Bytes::len).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.len(),
    }
}

pin_project! {
    /// A connect handler's future, watched: its first pause and its end open the gate.
    pub(crate) struct Watched<A: Adapter, F> {
        #[pin]
        future: F,
        progress: Progress<A>,
    }
}

struct Progress<A: Adapter> {
    gate: Arc<Gate<A>>,
    paused: bool,
}

impl<A: Adapter, F: Future> Future for Watched<A, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        if polled.is_pending() && !mem::replace(&mut this.progress.paused, true) {
            // By now it has registered its events, unless it does so late.
            this.progress.gate.deliver(Phase::Late);
        }
        polled
    }
}

impl<A: Adapter> Drop for Progress<A> {
    fn drop(&mut self) {
        self.gate.deliver(Phase::Open);
    }
}
