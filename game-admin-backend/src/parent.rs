//! The parent process as the server sees it, whether there is one or not.

use std::{net::TcpListener, num::NonZeroU32, pin::Pin, sync::Arc};

use tokio::sync::oneshot;
use watertight_axum::Pace;
use watertight_supervisor::Supervised;

use crate::settings::Supervisor;

/// The parent, if a supervisor has started this process.
#[derive(Debug)]
pub(crate) struct Parent {
    worker: Option<Arc<Supervised>>,
    listener: Option<TcpListener>,
}

impl Parent {
    /// Takes the socket that the parent holds. Of several the first is served.
    pub(crate) fn new(mut worker: Option<Supervised>) -> Self {
        let listener = worker.as_mut().and_then(|worker| worker.listeners().into_iter().next());
        Self { worker: worker.map(Arc::new), listener }
    }

    /// The socket; `None` when there is none, and the second time.
    pub(crate) fn listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// How fast the clients of a server that died are let in again; `None` when this one replaces no dead one.
    pub(crate) fn pace(&self, settings: &Supervisor) -> Option<Pace> {
        self.worker.as_ref().filter(|worker| worker.after_death())?;
        let per_second = NonZeroU32::new(settings.accepts_per_second)?;
        Some(Pace::new(per_second, settings.accept_pace()))
    }

    /// Says that the server serves.
    pub(crate) fn ready(&self) {
        if let Some(worker) = &self.worker {
            worker.ready();
        }
    }

    /// Says that the server has begun to stop.
    pub(crate) fn stopping(&self) {
        if let Some(worker) = &self.worker {
            worker.stopping();
        }
    }

    /// Asks whether another server has taken over.
    pub(crate) fn taken_over(&self) -> impl Fn() -> bool + Send + use<> {
        let worker = self.worker.clone();
        move || worker.as_ref().is_some_and(|worker| worker.taken_over())
    }

    /// Waits until the parent is gone; for ever when there is none.
    pub(crate) fn is_gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let Some(worker) = &self.worker else { return Box::pin(std::future::pending()) };
        let (tell, told) = oneshot::channel();
        worker.on_parent_death(move || {
            // Nobody waits any more when the server stops already.
            let _ = tell.send(());
        });
        Box::pin(async {
            if told.await.is_err() {
                // Another one was set in its place.
                std::future::pending().await
            }
        })
    }
}
