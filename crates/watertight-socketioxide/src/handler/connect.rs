//! Connect handlers, middlewares and their guard.

use std::fmt::Display;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use socketioxide::adapter::Adapter;
use socketioxide::handler::{FromConnectParts, Value};
use socketioxide::socket::Socket;
use watertight::{
    Activity, ActivityKind, Admission, Caught, Compartment, Guarded, Misbehaviour, NoResponder, Notice,
    Scope, ensure_installed,
};

use super::macros::{all_tuples, extract};
use super::message::ViaGuard;
use super::{boxed, start};
use crate::gate::Gate;
use crate::session;

type MiddlewareResult = Result<(), Box<dyn Display + Send>>;
type MiddlewareFuture<'a> = Pin<Box<dyn Future<Output = MiddlewareResult> + Send + 'a>>;

/// What a client is told to wait that joins namespaces faster than it may send.
const AGAIN: Duration = Duration::from_secs(1);

/// How long it may take until a connection that is being closed is closed: more than the 1.3 s that a seal takes by default
/// when nothing goes by itself.
const CLOSED: Duration = Duration::from_secs(2);
/// Rarely asked for: who comes while its connection is being closed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a client whose middleware failed waits for the verdict, at most.
const VERDICT: Duration = Duration::from_millis(500);

/// Runs before a client is let into a namespace: a clonable async closure or function of up to 16 connect
/// extractors that returns `Result<(), E> where E: Display`.
#[diagnostic::on_unimplemented(
    note = "This function is not a ConnectMiddleware. Check that:
* It is a clonable async `FnOnce` that returns `Result<(), E> where E: Display`.
* All its arguments are valid connect extractors: `SocketRef` and `SocketIo` must be those of watertight_socketioxide.
* If you use a custom adapter, it must be generic over the adapter type.",
    label = "Invalid ConnectMiddleware"
)]
pub trait ConnectMiddleware<A: Adapter, T>: Sized + Clone + Send + Sync + 'static {
    /// Calls the middleware.
    fn call<'a>(
        &'a self,
        s: Arc<Socket<A>>,
        auth: &'a Option<Value>,
    ) -> impl Future<Output = MiddlewareResult> + Send;

    #[doc(hidden)]
    fn phantom(&self) -> PhantomData<(A, T)> {
        PhantomData
    }
}

/// Runs when a client has been let into a namespace: a clonable async closure or function of up to 16 connect
/// extractors.
#[diagnostic::on_unimplemented(
    note = "This function is not a ConnectHandler. Check that:
* It is a clonable async `FnOnce` that returns nothing.
* All its arguments are valid connect extractors: `SocketRef` and `SocketIo` must be those of watertight_socketioxide.
* If you use a custom adapter, it must be generic over the adapter type.",
    label = "Invalid ConnectHandler"
)]
pub trait ConnectHandler<A: Adapter, T>: Sized + Clone + Send + Sync + 'static {
    /// Calls the handler. Runs inside the scope of the socket's compartment.
    fn call(&self, s: Arc<Socket<A>>, auth: Option<Value>);

    /// Calls the middlewares.
    fn call_middleware<'a>(&'a self, _: Arc<Socket<A>>, _: &'a Option<Value>) -> MiddlewareFuture<'a> {
        Box::pin(async move { Ok(()) })
    }

    /// Adds a middleware, which is called before those that are there already.
    fn with<M, T1>(self, middleware: M) -> impl ConnectHandler<A, T>
    where
        M: ConnectMiddleware<A, T1> + Send + Sync + 'static,
        T: Send + Sync + 'static,
        T1: Send + Sync + 'static,
    {
        Layered { handler: self, middleware, _types: PhantomData }
    }

    #[doc(hidden)]
    fn phantom(&self) -> PhantomData<T> {
        PhantomData
    }
}

/// Types that a wrapper only passes on.
type Types<T> = PhantomData<fn() -> T>;

/// A handler with a middleware before it.
struct Layered<A, H, M, T, T1> {
    handler: H,
    middleware: M,
    _types: Types<(A, T, T1)>,
}

impl<A, H: Clone, M: Clone, T, T1> Clone for Layered<A, H, M, T, T1> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), middleware: self.middleware.clone(), _types: PhantomData }
    }
}

#[diagnostic::do_not_recommend]
impl<A, H, M, T, T1> ConnectHandler<A, T> for Layered<A, H, M, T, T1>
where
    A: Adapter,
    H: ConnectHandler<A, T>,
    M: ConnectMiddleware<A, T1>,
    T: Send + Sync + 'static,
    T1: Send + Sync + 'static,
{
    fn call(&self, s: Arc<Socket<A>>, auth: Option<Value>) {
        self.handler.call(s, auth);
    }

    fn call_middleware<'a>(&'a self, s: Arc<Socket<A>>, auth: &'a Option<Value>) -> MiddlewareFuture<'a> {
        Box::pin(async move {
            self.middleware.call(Arc::clone(&s), auth).await?;
            self.handler.call_middleware(s, auth).await
        })
    }
}

macro_rules! impl_connect_handler {
    ([$($ty:ident),*]) => {
        #[allow(non_snake_case, unused_variables)]
        #[diagnostic::do_not_recommend]
        impl<A, F, Fut, $($ty,)*> ConnectHandler<A, ($($ty,)*)> for F
        where
            F: FnOnce($($ty,)*) -> Fut + Send + Sync + Clone + 'static,
            Fut: Future<Output = ()> + Send + 'static,
            A: Adapter,
            $($ty: FromConnectParts<A> + Send,)*
        {
            fn call(&self, s: Arc<Socket<A>>, auth: Option<Value>) {
                $(let $ty = extract!($ty::from_connect_parts(&s, &auth), |_| ());)*
                spawn(&s, (self.clone())($($ty,)*));
            }
        }
    };
}

macro_rules! impl_connect_middleware {
    ([$($ty:ident),*]) => {
        #[allow(non_snake_case, unused_variables)]
        #[diagnostic::do_not_recommend]
        impl<A, F, Fut, E, $($ty,)*> ConnectMiddleware<A, ($($ty,)*)> for F
        where
            F: FnOnce($($ty,)*) -> Fut + Send + Sync + Clone + 'static,
            Fut: Future<Output = Result<(), E>> + Send + 'static,
            A: Adapter,
            E: Display + Send + 'static,
            $($ty: FromConnectParts<A> + Send,)*
        {
            async fn call<'a>(&'a self, s: Arc<Socket<A>>, auth: &'a Option<Value>) -> MiddlewareResult {
                $(let $ty = extract!($ty::from_connect_parts(&s, auth), |error| Err(Box::new(error) as _));)*
                (self.clone())($($ty,)*).await.map_err(|error| Box::new(error) as _)
            }
        }
    };
}

all_tuples!(impl_connect_handler);
all_tuples!(impl_connect_middleware);

/// Spawns a connect handler's future in the scope that the guard around the call has entered, and lets the
/// gate know how far it is.
fn spawn<A: Adapter>(s: &Arc<Socket<A>>, future: impl Future<Output = ()> + Send + 'static) {
    let gate = Gate::of(s);
    let watched = match &gate {
        Some(gate) => gate.watch_handler(future),
        None => return start(boxed(future)),
    };
    match Guarded::in_current_scope(watched, None::<NoResponder>) {
        Ok(guarded) => start(guarded),
        Err(watched) => start(boxed(watched)),
    }
}

/// What a client is told whose namespace is switched off.
fn switched_off(retry_after: Duration) -> Box<dyn Display + Send> {
    Box::new(Notice::new("breaker_open", "").retry(true, retry_after).line())
}

/// Waits until a connection that is being closed is closed, and answers what nobody reads then. Where nobody can close it,
/// the client is told that it is not let in.
async fn closed(compartment: &Compartment) -> Box<dyn Display + Send> {
    let is_closed = async {
        while !compartment.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let _ = tokio::time::timeout(CLOSED, is_closed).await;
    Box::new("this connection is being closed")
}

/// Whether a client is let into a namespace.
async fn admit<A: Adapter>(
    middlewares: &dyn Middlewares<A>,
    s: Arc<Socket<A>>,
    auth: &Option<Value>,
) -> MiddlewareResult {
    let compartment = session::compartment_of(&s);
    if !compartment.is_live() {
        return Err(closed(&compartment).await);
    }
    if compartment.admit(0).is_err() {
        ensure_installed().count_limited();
        compartment.misbehaves(Misbehaviour::Flood);
        return Err(Box::new(Notice::new("rate_limited", "").retry(true, AGAIN).line()) as _);
    }
    // Before any code of the application's.
    if let Some(held) = ensure_installed().refuses(&compartment) {
        return Err(Box::new(held.notice().line()) as _);
    }
    let connecting = Activity::new(ActivityKind::Connect, s.ns().to_owned(), "");
    let tries = match watertight::admission(&connecting) {
        Admission::Pass => None,
        Admission::Probe(probe) => Some(probe),
        Admission::Refused { retry_after } => return Err(switched_off(retry_after)),
        // A kind of admission that is not known here yet.
        _ => return Err(switched_off(Duration::ZERO)),
    };
    // Before the client learns that it is connected: nothing it sends from then on is lost.
    let gate = Gate::open(&s, Arc::clone(&compartment));
    gate.tries(tries);
    let activity = Activity::new(ActivityKind::Middleware, s.ns().to_owned(), "");
    let scope = match watertight::admission(&activity) {
        Admission::Pass => Scope::for_handler(compartment, activity),
        Admission::Probe(probe) => Scope::for_handler(compartment, activity).trying(probe),
        Admission::Refused { retry_after } => {
            gate.refused();
            return Err(switched_off(retry_after));
        }
        _ => return Err(switched_off(Duration::ZERO)),
    };
    let work = middlewares.check(s, auth, scope);
    let refused = tokio::select! {
        biased;
        result = work => match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
            // A panic, or too slow. The verdict is on its way, with the incident's id.
            Err(_caught) => match tokio::time::timeout(VERDICT, gate.noticed()).await {
                Ok(Some(line)) => Box::new(line) as _,
                Ok(None) | Err(_) => Box::new("error") as _,
            },
        },
        line = gate.noticed() => match line {
            Some(line) => Box::new(line) as _,
            None => {
                gate.refused();
                closed(gate.compartment()).await
            }
        },
    };
    gate.refused();
    Err(refused)
}

/// What is registered with socketioxide for a namespace.
pub(crate) struct ConnectGuard<H, T> {
    handler: H,
    _arguments: PhantomData<fn() -> T>,
}

impl<H, T> ConnectGuard<H, T> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, _arguments: PhantomData }
    }
}

/// The middlewares of a namespace whose handler nobody asks about any more: what is done around them is compiled once and not for
/// each handler.
trait Middlewares<A: Adapter>: Sync {
    /// Calls the middlewares, on a lane when there are any.
    fn check<'a>(&'a self, s: Arc<Socket<A>>, auth: &'a Option<Value>, scope: Scope) -> Checked<'a>;
}

type Checked<'a> = Pin<Box<dyn Future<Output = Result<MiddlewareResult, Caught>> + Send + 'a>>;

impl<A, H, T> Middlewares<A> for ConnectGuard<H, T>
where
    A: Adapter,
    H: ConnectHandler<A, T>,
{
    fn check<'a>(&'a self, s: Arc<Socket<A>>, auth: &'a Option<Value>, scope: Scope) -> Checked<'a> {
        let Some(lanes) = watertight::lanes() else {
            let work = self.handler.call_middleware(s, auth);
            return Box::pin(Guarded::new(scope, work, None::<NoResponder>).as_handler());
        };
        let (handler, auth) = (self.handler.clone(), auth.clone());
        let work = async move { handler.call_middleware(s, &auth).await };
        Box::pin(lanes.spawn(Guarded::new(scope, work, None::<NoResponder>).as_handler()))
    }
}

impl<H: Clone, T> Clone for ConnectGuard<H, T> {
    fn clone(&self) -> Self {
        Self::new(self.handler.clone())
    }
}

impl<A, H, T> socketioxide::handler::ConnectHandler<A, ViaGuard> for ConnectGuard<H, T>
where
    A: Adapter,
    H: ConnectHandler<A, T>,
    T: 'static,
{
    fn call_middleware<'a>(&'a self, s: Arc<Socket<A>>, auth: &'a Option<Value>) -> MiddlewareFuture<'a> {
        Box::pin(admit(self, s, auth))
    }

    fn call(&self, s: Arc<Socket<A>>, auth: Option<Value>) {
        let Some(gate) = Gate::of(&s) else { return };
        if !gate.connected(&s) {
            return;
        }
        let activity = Activity::new(ActivityKind::Connect, s.ns().to_owned(), "");
        let mut scope = Scope::for_handler(Arc::clone(gate.compartment()), activity);
        if let Some(probe) = gate.take_try() {
            scope = scope.trying(probe);
        }
        let (handler, opening) = (self.handler.clone(), Arc::clone(&gate));
        gate.call(move || {
            let _ = watertight::run(scope, None::<NoResponder>, || handler.call(s, auth));
            opening.handler_called();
        });
    }
}
