//! The gate of one socket in one namespace: holds early events back, knows the application's own disconnect handler,
//! and is how the socket is sealed.

mod hold;
#[cfg(all(test, watertight_loom))]
mod hold_models;
mod line;
mod send;

use std::borrow::Cow;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use socketioxide::adapter::Adapter;
use socketioxide::extract::Event;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::Notify;
use watertight::{
    Activity, ActivityKind, Attribution, Compartment, Fault, Misbehaviour, Notice, Probe, Registry, Report,
    Seal, SealMode, Strand, Told,
};

use self::hold::{Hold, Outcome, Phase, Size};
use self::line::{LIMITS, Line, Work};
use crate::handler::disconnect::DisconnectGuard;
use crate::handler::message::{AnyHandler, FallbackGuard, MessageGuard, MessageHandler};
use crate::handler::refusal::{Refusal, refuse};
use crate::session;

type DisconnectFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
type DisconnectCall<A> = Box<dyn FnOnce(Arc<Socket<A>>, DisconnectReason) -> Option<DisconnectFuture> + Send>;

pub(crate) struct Gate<A: Adapter> {
    compartment: Arc<Compartment>,
    socket: Weak<Socket<A>>,
    hold: Hold<Arc<AnyHandler<A>>, Message>,
    /// Its work, when that is done on lanes.
    line: Option<Arc<Line<A>>>,
    state: Mutex<State<A>>,
    noticed: Notify,
}

struct State<A: Adapter> {
    /// Whether the connect handler has a future that is watched.
    spawned: bool,
    disconnect: Option<DisconnectCall<A>>,
    /// Its connect handler is the one try of a namespace that was switched off.
    tries: Option<Probe>,
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

/// An event as it came.
struct Message {
    value: Value,
    ack_id: Option<i64>,
}

impl Message {
    fn name<A: Adapter>(&mut self, socket: &Arc<Socket<A>>) -> Option<String> {
        let Event(name) = Event::from_message_parts(socket, &mut self.value, &self.ack_id).ok()?;
        Some(name)
    }
}

impl Size for Message {
    #[inline]
    fn size(&self) -> usize {
        match &self.value {
            Value::Str(text, binary) => {
                text.len() + binary.iter().flatten().map(bytes::Bytes::len).sum::<usize>()
            }
            Value::Bytes(bytes) => bytes.len(),
        }
    }
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
        Arc::new(Self {
            compartment,
            socket,
            hold: Hold::new(phase),
            line: watertight::lanes().map(|lanes| Strand::new(lanes, LIMITS)),
            state: Mutex::new(State {
                spawned: false,
                disconnect: None,
                tries: None,
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

    // Registering.

    /// Registers a handler for an event.
    pub(crate) fn on<H, T>(self: &Arc<Self>, socket: &Socket<A>, event: Cow<'static, str>, handler: H)
    where
        H: MessageHandler<A, T>,
        T: 'static,
    {
        let activity = Activity::new(ActivityKind::Event, socket.ns().to_owned(), event.clone());
        self.register(socket, event, AnyHandler::new(handler, Arc::clone(&self.compartment), activity));
    }

    fn register(self: &Arc<Self>, socket: &Socket<A>, event: Cow<'static, str>, handler: Arc<AnyHandler<A>>) {
        let delivers = self.hold.register(event.clone(), Arc::clone(&handler));
        socket.on(event, MessageGuard::new(Arc::clone(self), Arc::clone(&handler)));
        // Registered late: what came for it already has waited for this.
        if delivers {
            self.deliver();
        }
        if self.hold.phase() == Phase::Open && self.asks_nothing() {
            handler.open();
        }
    }

    /// Registers the handler of all other events.
    pub(crate) fn on_fallback<H, T>(self: &Arc<Self>, socket: &Socket<A>, handler: H)
    where
        H: MessageHandler<A, T>,
        T: 'static,
    {
        let activity = Activity::new(ActivityKind::Fallback, socket.ns().to_owned(), "");
        let handler = AnyHandler::new(handler, Arc::clone(&self.compartment), activity);
        let delivers = self.hold.register_fallback(handler);
        socket.on_fallback(FallbackGuard(Arc::clone(self)));
        if delivers {
            self.deliver();
        }
    }

    /// Registers what runs when the socket has left.
    pub(crate) fn on_disconnect(self: &Arc<Self>, socket: &Socket<A>, call: DisconnectCall<A>) {
        self.state.lock().disconnect = Some(call);
        socket.on_disconnect(DisconnectGuard(Arc::clone(self)));
    }

    // Events.

    /// Whether nothing about an event is to be asked here once none waits any more: it goes to its handler, here and now.
    fn asks_nothing(&self) -> bool {
        self.line.is_none() && !self.compartment.is_limited()
    }

    /// An event for `handler`: it goes to it now, or is held, or dropped for ever.
    pub(crate) fn event(
        &self,
        socket: Arc<Socket<A>>,
        value: Value,
        ack_id: Option<i64>,
        handler: &Arc<AnyHandler<A>>,
    ) {
        let message = Message { value, ack_id };
        if !self.admits(&socket, &message) {
            return;
        }
        if let Some(message) = self.hold.pass(message, handler) {
            self.dispatch(handler, socket, message);
        }
    }

    /// Whether an event may come in: its compartment is live, and its client keeps to its rate.
    fn admits(&self, socket: &Arc<Socket<A>>, message: &Message) -> bool {
        // Also of one that is being closed: who floods on is not let in again.
        if self.compartment.admit(message.size()).is_ok() {
            return self.compartment.is_live();
        }
        watertight::ensure_installed().count_limited();
        refuse(socket, message.ack_id, &Refusal::RATE_LIMITED);
        self.compartment.misbehaves(Misbehaviour::Flood);
        false
    }

    /// An event that nobody was registered for when socketioxide looked.
    pub(crate) fn unknown_event(&self, socket: Arc<Socket<A>>, value: Value, ack_id: Option<i64>) {
        let message = Message { value, ack_id };
        if !self.admits(&socket, &message) {
            return;
        }
        let known = self.hold.unknown(message, |message| message.name(&socket));
        match known {
            Outcome::Known(handler, message) => self.dispatch(&handler, socket, message),
            Outcome::Held => {}
            Outcome::Unknown => self.compartment.misbehaves(Misbehaviour::UnknownEvent),
        }
    }

    /// Calls the handler, or has a lane do it.
    fn dispatch(&self, handler: &Arc<AnyHandler<A>>, socket: Arc<Socket<A>>, message: Message) {
        let Some(line) = &self.line else {
            return handler.dispatch(socket, message.value, message.ack_id);
        };
        if let Err(Work::Event(_, socket, message)) =
            line.push(Work::Event(Arc::clone(handler), socket, message))
        {
            // Its handlers are so far behind that nothing more may wait.
            watertight::ensure_installed().count_limited();
            refuse(&socket, message.ack_id, &Refusal::BUSY);
            trace::warn!(target: "watertight", "a handler is so far behind its client that an event is dropped");
        }
    }

    /// Calls the application after everything of this socket that came before: on a lane, or here and now.
    pub(crate) fn call(&self, work: impl FnOnce() + Send + 'static) {
        match &self.line {
            Some(line) => line.push_anyway(Work::Call(Box::new(work))),
            None => work(),
        }
    }

    /// Delivers the events that wait and can be delivered, and then goes on to `phase`.
    fn advance(&self, phase: Phase) {
        if self.hold.advance(phase) {
            self.deliver();
        }
    }

    fn deliver(&self) {
        let Some(socket) = self.socket.upgrade() else {
            return;
        };
        let name = |message: &mut Message| message.name(&socket);
        self.hold.deliver(name, |handler, message| {
            if self.compartment.is_live() {
                self.dispatch(&handler, Arc::clone(&socket), message);
            }
        });
        if self.asks_nothing() {
            self.hold.opened(|handler| handler.open());
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
            send::notice(socket, &notice);
        }
        self.compartment.can_be_warned();
        self.compartment.is_live()
    }

    /// The application has said who its client is.
    pub(crate) fn named(&self) {
        let life = self.state.lock().life;
        if life == Life::Connected {
            self.compartment.can_be_warned();
        }
    }

    /// The handler's future is about to be spawned.
    pub(crate) fn watch_handler<F>(self: &Arc<Self>, future: F) -> Watched<A, F> {
        self.state.lock().spawned = true;
        Watched { future, progress: Progress { gate: Arc::clone(self), paused: false } }
    }

    /// The handler has been called. One that spawned nothing is done.
    pub(crate) fn handler_called(&self) {
        let spawned = self.state.lock().spawned;
        if !spawned {
            self.advance(Phase::Open);
        }
    }

    /// Its connect handler is to be the one try of a namespace that was switched off.
    pub(crate) fn tries(&self, probe: Option<Probe>) {
        self.state.lock().tries = probe;
    }

    pub(crate) fn take_try(&self) -> Option<Probe> {
        self.state.lock().tries.take()
    }

    // The end.

    /// A middleware refused the client.
    pub(crate) fn refused(&self) {
        self.end(Life::Gone);
    }

    /// The socket has been disconnected. `false` when it had been already: whoever came first cleans up.
    pub(crate) fn disconnecting(self: &Arc<Self>, socket: &Socket<A>) -> bool {
        self.hold.give_up();
        // socketioxide takes the guard away to call it; a second disconnect would then clean up at once, while the
        // application's handler still runs.
        socket.on_disconnect(DisconnectGuard(Arc::clone(self)));
        let mut state = self.state.lock();
        let first = matches!(state.life, Life::Connecting | Life::Connected);
        if first {
            state.life = Life::Disconnecting;
        }
        first
    }

    /// As [`call`](Self::call), but never here: who calls may be the recovery thread, which runs nobody's code.
    pub(crate) fn call_elsewhere(&self, work: impl FnOnce() + Send + 'static) {
        match &self.line {
            Some(_) => self.call(work),
            None => drop(tokio::spawn(async move { work() })),
        }
    }

    /// Whether the application has nothing to do or say when the socket has left.
    pub(crate) fn leaves_silently(&self) -> bool {
        // In this order: what still runs may be registering one.
        self.line.as_ref().is_none_or(|line| line.is_idle()) && self.state.lock().disconnect.is_none()
    }

    /// Its client sent a packet that is none, for which the engine closes the session. It is a fault: whoever does it
    /// again and again is refused.
    pub(crate) fn sent_nonsense(&self) {
        let compartment = Some(Arc::clone(&self.compartment));
        let message = "its client sent a packet that cannot be parsed";
        let activity = Some(Activity::transport());
        let report = Report::new(Fault::Protocol, Attribution::Transport, compartment, activity, message);
        watertight::submit(Box::new(report));
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
        let tries = {
            let mut state = self.state.lock();
            state.life = life;
            state.tries.take()
        };
        // Says that another may try, which takes a lock of its own.
        drop(tries);
        self.hold.clear();
        self.compartment.progress();
        Registry::global().forget_if_empty(&self.compartment);
    }

    /// Waits for the notice that a client gets while it is not connected yet, as the one line that a refused
    /// connect can carry. `None` when it is [not answered](Self::is_answered).
    pub(crate) async fn noticed(&self) -> Option<String> {
        loop {
            let noticed = self.noticed.notified();
            if let Some(notice) = &self.state.lock().notice {
                return self.is_answered(notice).then(|| notice.line());
            }
            noticed.await;
        }
    }

    /// Whether a client that is sealed before it is connected is refused with the notice. An official client gives up a
    /// namespace that refuses it, and comes back to one whose connection closes: who has done nothing, and is asked to come
    /// back, is only closed.
    fn is_answered(&self, notice: &Notice) -> bool {
        self.compartment.faults() > 0 || !notice.retry
    }
}

impl<A: Adapter> Seal for Gate<A> {
    fn serves(&self) -> bool {
        self.socket.strong_count() > 0 && matches!(self.state.lock().life, Life::Connecting | Life::Connected)
    }

    fn warn(&self, notice: &Notice) {
        if let Some(socket) = self.socket.upgrade()
            && self.state.lock().life == Life::Connected
        {
            // One that has no room for it will be told when it is closed.
            let _ = socket.emit("warning", notice);
        }
    }

    fn is_full(&self) -> bool {
        let Some(socket) = self.socket.upgrade() else { return false };
        send::is_full(&socket)
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
                    return if self.is_answered(notice) { Told::Sent } else { Told::NoChannel };
                }
                Life::Disconnecting | Life::Gone => return Told::Refused,
            }
        }
        send::notice(&socket, notice)
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
            this.progress.gate.advance(Phase::Late);
        }
        polled
    }
}

impl<A: Adapter> Drop for Progress<A> {
    fn drop(&mut self) {
        self.gate.advance(Phase::Open);
    }
}
