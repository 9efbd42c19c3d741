//! The server: its parts put together, bound to an address, served until told to stop.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    serve::{Listener, ListenerExt as _},
};
use tokio::net::TcpListener;
use tracing::{debug, info};
use watertight::{Notice, RingSink};
use watertight_axum::{Pace, Serve};
use watertight_faults::{FaultyListener, TransportFaults, fail_bodies};
use watertight_socketioxide::{SocketIo, handler::ConnectHandler as _};

use crate::{
    Shared, admin, health, lab,
    managers::{ConnectionManager, disconnector::SealingDisconnector},
    metrics, players,
    ready::{self, Draining},
    settings::{self, Settings},
};

/// What is answered while the server drains, too.
const TO_THE_END: [&str; 2] = [ready::PATH, metrics::PATH];

/// The server before it has an address.
pub struct Server {
    shared: Shared,
    app: Router,
    /// What the lab arms, where there is one.
    lab: Option<TransportFaults>,
}

/// The server with an address, on which the operating system already accepts connections.
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    pace: Option<Pace>,
    taken_over: Box<dyn Fn() -> bool + Send>,
}

/// Why the server could not be bound to its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", remedy(source, *address))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Puts the server together; nothing runs yet. `incidents` is where the process's incidents are kept.
    #[must_use]
    pub fn new(settings: Settings, incidents: RingSink) -> Self {
        let shared = Shared {
            connections: Arc::new(ConnectionManager::new(Arc::new(SealingDisconnector))),
            incidents,
            draining: Draining::default(),
            settings: Arc::new(settings),
        };
        let (layer, io) = socket_io(&shared.settings.server).with_state(shared.clone()).build_layer();
        open_namespaces(&io);
        let app = health::routes().merge(ready::routes(shared.clone())).merge(metrics::routes()).layer(layer);
        let lab = shared.settings.server.lab.then(TransportFaults::new);
        let app = match &lab {
            Some(faults) => {
                lab::open(&io, faults);
                app.layer(axum::middleware::from_fn_with_state(faults.clone(), fail_bodies))
            }
            None => app,
        };
        Self { shared, app, lab }
    }

    /// What all handlers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes the address of the settings.
    ///
    /// # Errors
    ///
    /// If the operating system does not give it.
    pub async fn bind(self) -> Result<BoundServer, BindError> {
        let address = self.shared.settings.server.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| BindError::new(address, source))?;
        self.on(listener)
    }

    /// Takes a socket that listens already, whatever the settings say.
    ///
    /// # Errors
    ///
    /// If the operating system does not take it.
    pub fn adopt(self, listener: std::net::TcpListener) -> Result<BoundServer, BindError> {
        let address = self.shared.settings.server.listen;
        let adopted = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        self.on(adopted.map_err(|source| BindError::new(address, source))?)
    }

    fn on(self, listener: TcpListener) -> Result<BoundServer, BindError> {
        let address = self.shared.settings.server.listen;
        let address = listener.local_addr().map_err(|source| BindError::new(address, source))?;
        admin::admission::warn_of_missing_token(self.shared.settings.admin.token.as_ref(), address);
        Ok(BoundServer { server: self, listener, address, pace: None, taken_over: Box::new(|| false) })
    }
}

impl BindError {
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> Self {
        Self { address, source }
    }
}

impl BoundServer {
    /// The real address, with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections at this pace.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        metrics::count_delayed(&pace);
        self.pace = Some(pace);
        self
    }

    /// Asked when it stops: whether another process accepts from the same socket by then.
    #[must_use]
    pub fn taken_over(mut self, taken_over: impl Fn() -> bool + Send + 'static) -> Self {
        self.taken_over = Box::new(taken_over);
        self
    }

    /// Serves until `stop` is done, then tells and closes all clients; the latter takes at most `server.drain_timeout_ms`.
    ///
    /// # Errors
    ///
    /// If the server ends without being told to.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { server: Server { shared, app, lab }, listener, address: _, pace, taken_over } = self;
        let Settings { server, recovery, .. } = &*shared.settings;
        let notice =
            Notice::new("shutdown", "the server is shutting down").retry(true, recovery.retry_after());
        let (drain_timeout, connections) = (server.drain_timeout(), Arc::clone(&shared.connections));
        let draining = shared.draining.clone();
        let stop = async move {
            stop.await;
            draining.begin();
            info!(connections = connections.count(), "the server stops: telling and closing all clients");
        };
        // The lab's listener hides the TCP connection from the guarded one, which sets this otherwise.
        let listener = listener.tap_io(|tcp| {
            if let Err(error) = watertight_axum::tune(tcp) {
                debug!(%error, "a connection is gone before it is served");
            }
        });
        let how = How { notice, drain_timeout, pace, taken_over };
        let served = match lab {
            Some(faults) => {
                let serving = watertight_axum::serve(FaultyListener::new(listener, faults), app);
                how.set(serving).with_graceful_shutdown(stop).await
            }
            None => how.set(watertight_axum::serve(listener, app)).with_graceful_shutdown(stop).await,
        };
        if served.is_ok() {
            info!(connections = shared.connections.count(), "the server has stopped");
        }
        served
    }
}

/// How it is served, whatever the listener.
struct How {
    notice: Notice,
    drain_timeout: Duration,
    pace: Option<Pace>,
    taken_over: Box<dyn Fn() -> bool + Send>,
}

impl How {
    fn set<L, M>(self, serving: Serve<L, M>) -> Serve<L, M>
    where
        L: Listener,
        L::Addr: Clone + Sync,
    {
        let Self { notice, drain_timeout, pace, taken_over } = self;
        let serving = serving
            .with_connect_info()
            .shutdown_notice(notice)
            .drain_timeout(drain_timeout)
            .answer_to_the_end(&TO_THE_END)
            .taken_over(taken_over);
        match pace {
            Some(pace) => serving.pace(pace),
            None => serving,
        }
    }
}

fn socket_io(settings: &settings::Server) -> watertight_socketioxide::SocketIoBuilder {
    SocketIo::builder()
        .ping_interval(settings.ping_interval())
        .ping_timeout(settings.ping_timeout())
        .connect_timeout(settings.connect_timeout())
        .max_payload(settings.max_payload_bytes)
        .ws_max_message_size(settings.max_payload_len())
        .ws_max_frame_size(settings.max_payload_len())
}

fn open_namespaces(io: &SocketIo) {
    io.ns(players::NAMESPACE, players::connect);
    io.ns(admin::NAMESPACE, admin::connect.with(admin::admission::admit));
}

/// What the error means and what helps.
fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens there; stop it, or choose another port with --port {} or a free one with --port 0",
            address.port().checked_add(1).unwrap_or(3002)
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 127.0.0.1 is this machine alone, 0.0.0.0 all its addresses"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "the operating system forbids it; ports below 1024 need a privilege, 3002 does not".to_owned()
        }
        _ => "the operating system does not give it".to_owned(),
    }
}
