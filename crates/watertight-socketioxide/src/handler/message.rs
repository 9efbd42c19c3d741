//! Message handlers and their guard.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use socketioxide::adapter::Adapter;
use socketioxide::handler::{FromMessage, FromMessageParts, Value};
use socketioxide::socket::Socket;
use watertight::{Activity, Admission, Compartment, Guarded, Misbehaviour, Notice, Scope};

use super::macros::extract;
use super::refusal::{Refusal, refuse};
use super::{boxed, start};
use crate::gate::Gate;

/// A handler of an event: a clonable async closure or function of up to 16 extractors, the last of which may
/// consume the message.
///
/// You can implement it for a type of your own, as you could socketioxide's. What such a
/// [`call`](Self::call) does itself is guarded; tasks that it spawns are guarded when it spawns them with
/// [`watertight::spawn`].
#[diagnostic::on_unimplemented(
    note = "This function is not a MessageHandler. Check that:
* It is a clonable async `FnOnce` that returns nothing.
* All its arguments are valid message extractors: `SocketRef` and `SocketIo` must be those of watertight_socketioxide.
* If you use a custom adapter, it must be generic over the adapter type.",
    label = "Invalid MessageHandler"
)]
pub trait MessageHandler<A: Adapter, T>: Send + Sync + 'static {
    /// Calls the handler with a message. Runs inside the scope of the socket's compartment.
    fn call(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>);

    #[doc(hidden)]
    fn phantom(&self) -> PhantomData<T> {
        PhantomData
    }
}

/// Answers a message whose handler failed, when it waits for an answer.
pub(crate) struct AckError<A: Adapter> {
    socket: Arc<Socket<A>>,
    ack_id: i64,
}

impl<A: Adapter> AckError<A> {
    fn new(socket: &Arc<Socket<A>>, ack_id: Option<i64>) -> Option<Self> {
        ack_id.map(|ack_id| Self { socket: Arc::clone(socket), ack_id })
    }

    fn send(self, notice: &Notice) {
        refuse(&self.socket, Some(self.ack_id), notice);
    }

    fn responder(this: Option<Self>) -> Option<impl FnOnce(&Notice) + Send + 'static> {
        this.map(|this| move |notice: &Notice| this.send(notice))
    }
}

/// Spawns a handler's future in the scope that the guard around the call has entered.
#[inline]
fn spawn<A: Adapter>(future: impl Future<Output = ()> + Send + 'static, ack: Option<AckError<A>>) {
    match Scope::current() {
        Some(scope) => start(Guarded::new(scope, future, AckError::responder(ack)).as_handler()),
        None => start(boxed(future)),
    }
}

/// An extractor refused what the client sent.
fn failed_extraction<E>(_: E) {
    watertight::misbehaved(Misbehaviour::FailedExtraction);
}

impl<A, F, Fut> MessageHandler<A, ()> for F
where
    F: FnOnce() -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
    A: Adapter,
{
    fn call(&self, s: Arc<Socket<A>>, _: Value, ack_id: Option<i64>) {
        spawn((self.clone())(), AckError::new(&s, ack_id));
    }
}

macro_rules! impl_message_handler {
    ([$($ty:ident),*], $last:ident) => {
        #[allow(non_snake_case, unused_mut)]
        #[diagnostic::do_not_recommend]
        impl<A, F, M, $($ty,)* $last, Fut> MessageHandler<A, (M, $($ty,)* $last,)> for F
        where
            F: FnOnce($($ty,)* $last) -> Fut + Send + Sync + Clone + 'static,
            Fut: Future<Output = ()> + Send + 'static,
            A: Adapter,
            $($ty: FromMessageParts<A> + Send,)*
            $last: FromMessage<A, M> + Send,
        {
            fn call(&self, s: Arc<Socket<A>>, mut v: Value, ack_id: Option<i64>) {
                let ack = AckError::new(&s, ack_id);
                $(let $ty = extract!($ty::from_message_parts(&s, &mut v, &ack_id), failed_extraction);)*
                let last = extract!($last::from_message(s, v, ack_id), failed_extraction);
                spawn((self.clone())($($ty,)* last), ack);
            }
        }
    };
}

impl_message_handler!([], T1);
impl_message_handler!([T1], T2);
impl_message_handler!([T1, T2], T3);
impl_message_handler!([T1, T2, T3], T4);
impl_message_handler!([T1, T2, T3, T4], T5);
impl_message_handler!([T1, T2, T3, T4, T5], T6);
impl_message_handler!([T1, T2, T3, T4, T5, T6], T7);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7], T8);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8], T9);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9], T10);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10], T11);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11], T12);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12], T13);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13], T14);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14], T15);
impl_message_handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14, T15], T16);

/// A message handler whose argument types nobody asks about any more.
pub(crate) trait Callable<A: Adapter>: Send + Sync + 'static {
    /// As [`MessageHandler::call`].
    fn call(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>);
}

struct Typed<H, T> {
    handler: H,
    _arguments: PhantomData<fn() -> T>,
}

impl<A, H, T> Callable<A> for Typed<H, T>
where
    A: Adapter,
    H: MessageHandler<A, T>,
    T: 'static,
{
    fn call(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        self.handler.call(s, v, ack_id);
    }
}

/// A handler and the scope it runs in. All that is done before the handler itself is called is compiled once and not for each
/// handler.
pub(crate) struct Scoped<H: ?Sized> {
    compartment: Arc<Compartment>,
    activity: Activity,
    /// Made for the first message: most sockets never send most events.
    scope: OnceLock<Scope>,
    /// See [`open`](Scoped::open).
    is_open: AtomicBool,
    handler: H,
}

/// A handler, whichever it is.
pub(crate) type AnyHandler<A> = Scoped<dyn Callable<A>>;

impl<A: Adapter> AnyHandler<A> {
    pub(crate) fn new<H, T>(handler: H, compartment: Arc<Compartment>, activity: Activity) -> Arc<Self>
    where
        H: MessageHandler<A, T>,
        T: 'static,
    {
        let handler = Typed { handler, _arguments: PhantomData };
        let (scope, is_open) = (OnceLock::new(), AtomicBool::new(false));
        Arc::new(Scoped { compartment, activity, scope, is_open, handler })
    }

    /// Lets its events come to it without asking the gate, for ever: that would let them pass.
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    #[inline]
    fn scope(&self) -> &Scope {
        self.scope.get_or_init(|| Scope::for_handler(Arc::clone(&self.compartment), self.activity.clone()))
    }

    /// Runs the handler in its scope.
    pub(crate) fn dispatch(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        // It may have waited for a lane while its socket was sealed.
        if self.compartment.is_live() {
            self.dispatch_in(self.scope(), s, v, ack_id);
        }
    }

    fn dispatch_in(&self, scope: &Scope, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        let scope = match watertight::admission(&self.activity) {
            Admission::Pass => scope.clone(),
            Admission::Probe(probe) => scope.trying(probe),
            Admission::Refused { retry_after } => {
                return refuse(&s, ack_id, &Refusal::breaker_open(retry_after));
            }
            // A kind of admission that is not known here yet.
            _ => return,
        };
        let ack = AckError::responder(AckError::new(&s, ack_id));
        // A panic has been reported; who called goes on.
        let _ = watertight::run(scope, ack, || self.handler.call(s, v, ack_id));
    }
}

/// What is registered with socketioxide for one event. Holds the message back while the connect handler is
/// still registering events, and drops it once the compartment is being sealed.
#[repr(C)]
pub(crate) struct MessageGuard<A: Adapter> {
    /// The handler's scope, once the handler is [open](Scoped::open). Every message comes by here: that it is open, and its
    /// scope, would be one more place in memory, of which a server with many clients finds none in the processor's cache.
    open: OnceLock<Scope>,
    handler: Arc<AnyHandler<A>>,
    gate: Arc<Gate<A>>,
}

impl<A: Adapter> MessageGuard<A> {
    pub(crate) fn new(gate: Arc<Gate<A>>, handler: Arc<AnyHandler<A>>) -> Self {
        Self { open: OnceLock::new(), handler, gate }
    }

    #[inline(never)]
    fn ask(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        if self.handler.is_open.load(Ordering::Acquire) {
            if self.handler.compartment.is_live() {
                let scope = self.open.get_or_init(|| self.handler.scope().clone());
                self.handler.dispatch_in(scope, s, v, ack_id);
            }
        } else {
            self.gate.event(s, v, ack_id, &self.handler);
        }
    }
}

/// Marks the guards' implementations of socketioxide's traits.
#[derive(Debug)]
pub(crate) enum ViaGuard {}

impl<A: Adapter> socketioxide::handler::MessageHandler<A, ViaGuard> for MessageGuard<A> {
    fn call(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        match self.open.get() {
            Some(scope) if scope.compartment().is_live() => self.handler.dispatch_in(scope, s, v, ack_id),
            // It came while its socket was sealed.
            Some(_) => {}
            None => self.ask(s, v, ack_id),
        }
    }
}

/// What is registered with socketioxide as the fallback: the application's own, or nothing yet.
pub(crate) struct FallbackGuard<A: Adapter>(pub(crate) Arc<Gate<A>>);

impl<A: Adapter> socketioxide::handler::MessageHandler<A, ViaGuard> for FallbackGuard<A> {
    fn call(&self, s: Arc<Socket<A>>, v: Value, ack_id: Option<i64>) {
        self.0.unknown_event(s, v, ack_id);
    }
}
