//! Disconnect handlers and their guard: the clean-up always runs.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use socketioxide::adapter::Adapter;
use socketioxide::handler::FromDisconnectParts;
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::sync::oneshot;
use tokio::time::timeout;
use watertight::{Activity, ActivityKind, Guarded, NoResponder, Scope, ensure_installed};

use super::macros::{all_tuples, extract};
use super::message::ViaGuard;
use super::start;
use crate::gate::Gate;

/// Runs when a client has left a namespace: a clonable async closure or function of up to 16 disconnect
/// extractors.
///
/// Unlike socketioxide's, its method answers the future instead of spawning it, since what comes after the
/// handler must happen whatever becomes of it.
#[diagnostic::on_unimplemented(
    note = "This function is not a DisconnectHandler. Check that:
* It is a clonable async `FnOnce` that returns nothing.
* All its arguments are valid disconnect extractors: `SocketRef` and `SocketIo` must be those of watertight_socketioxide.
* If you use a custom adapter, it must be generic over the adapter type.",
    label = "Invalid DisconnectHandler"
)]
pub trait DisconnectHandler<A: Adapter, T>: Sized + Send + Sync + 'static {
    /// Calls the handler. `None` when an extractor refused.
    fn call(
        self,
        s: Arc<Socket<A>>,
        reason: DisconnectReason,
    ) -> Option<impl Future<Output = ()> + Send + 'static>;

    #[doc(hidden)]
    fn phantom(&self) -> std::marker::PhantomData<T> {
        std::marker::PhantomData
    }
}

macro_rules! impl_disconnect_handler {
    ([$($ty:ident),*]) => {
        #[allow(non_snake_case, unused_variables)]
        #[diagnostic::do_not_recommend]
        impl<A, F, Fut, $($ty,)*> DisconnectHandler<A, ($($ty,)*)> for F
        where
            F: FnOnce($($ty,)*) -> Fut + Send + Sync + Clone + 'static,
            Fut: Future<Output = ()> + Send + 'static,
            A: Adapter,
            $($ty: FromDisconnectParts<A> + Send,)*
        {
            fn call(
                self,
                s: Arc<Socket<A>>,
                reason: DisconnectReason,
            ) -> Option<impl Future<Output = ()> + Send + 'static> {
                $(let $ty = extract!($ty::from_disconnect_parts(&s, reason), |_| None);)*
                Some(self($($ty,)*))
            }
        }
    };
}

all_tuples!(impl_disconnect_handler);

/// Removes the socket from its namespace and rooms, once, at the latest when dropped: after the handler
/// has run, panicked, been cancelled, or with the runtime.
struct CleanUp<A: Adapter> {
    gate: Arc<Gate<A>>,
    socket: Option<Arc<Socket<A>>>,
    remove: fn(Arc<Socket<A>>),
}

impl<A: Adapter> Drop for CleanUp<A> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            (self.remove)(socket);
            self.gate.gone();
        }
    }
}

/// What is registered with socketioxide for every socket, whether the application has a handler or not.
pub(crate) struct DisconnectGuard<A: Adapter>(pub(crate) Arc<Gate<A>>);

impl<A: Adapter> socketioxide::handler::DisconnectHandler<A, ViaGuard> for DisconnectGuard<A> {
    fn call_with_defer(&self, s: Arc<Socket<A>>, reason: DisconnectReason, defer: fn(Arc<Socket<A>>)) {
        let gate = Arc::clone(&self.0);
        if !gate.disconnecting(&s) {
            return;
        }
        match reason {
            DisconnectReason::PacketParsingError => gate.sent_nonsense(),
            DisconnectReason::HeartbeatTimeout => gate.compartment().misses_heartbeat(),
            _ => {}
        }
        let clean_up = CleanUp { gate: Arc::clone(&gate), socket: Some(Arc::clone(&s)), remove: defer };
        if gate.leaves_silently() {
            return;
        }
        let (ending, ended) = oneshot::channel::<Infallible>();
        let goodbye = {
            let gate = Arc::clone(&gate);
            move || {
                let Some(handler) = gate.take_disconnect() else { return };
                let activity = Activity::new(ActivityKind::Disconnect, s.ns().to_owned(), "");
                let scope = Scope::for_handler(Arc::clone(gate.compartment()), activity);
                let called = watertight::run(scope.clone(), None::<NoResponder>, || handler(s, reason));
                if let Ok(Some(work)) = called {
                    let work = Guarded::new(scope, work, None::<NoResponder>).as_handler();
                    start(async move {
                        let _reported = work.await;
                        drop(ending);
                    });
                }
            }
        };
        gate.call_elsewhere(goodbye);
        // Apart from that, so that nothing can hold it up.
        tokio::spawn(async move {
            let _ended_or_late = timeout(ensure_installed().disconnect_cleanup(), ended).await;
            drop(clean_up);
        });
    }
}
