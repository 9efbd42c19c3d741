//! The server: its parts put together, bound to an address, served until told to stop.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::Router;
use socketioxide::{SocketIo, handler::ConnectHandler as _};
use tokio::{net::TcpListener, sync::oneshot, time::Instant};
use tracing::{info, warn};

use crate::{
    Shared, admin,
    drain::drain,
    health,
    managers::{ConnectionManager, disconnector::PoliteDisconnector},
    players,
    settings::{self, Settings},
};

/// The server before it has an address.
pub struct Server {
    shared: Shared,
    io: SocketIo,
    app: Router,
}

/// The server with an address, on which the operating system already accepts connections.
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the server could not be bound to its address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", remedy(source, *address))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Puts the server together; nothing runs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let disconnector = Arc::new(PoliteDisconnector::default());
        let shared = Shared {
            settings: Arc::new(settings),
            connections: Arc::new(ConnectionManager::new(disconnector.clone())),
        };
        let (layer, io) = socket_io(&shared.settings.server)
            .with_state(shared.clone())
            .build_layer();
        disconnector.attach(io.clone());
        open_namespaces(&io);
        let app = health::routes().layer(layer);
        Self { shared, io, app }
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
        let with_address = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(with_address)?;
        let address = listener.local_addr().map_err(with_address)?;
        admin::admission::warn_of_missing_token(self.shared.settings.admin.token.as_ref(), address);
        Ok(BoundServer {
            server: self,
            listener,
            address,
        })
    }
}

impl BoundServer {
    /// The real address, with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then tells and closes all clients; the latter takes at most `server.drain_timeout_ms`.
    ///
    /// # Errors
    ///
    /// If the server ends without being told to.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self {
            server: Server { shared, io, app },
            listener,
            ..
        } = self;
        let (stop_accepting, stopped) = oneshot::channel::<()>();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(async {
            // An error means that the sender is gone, and with it the server.
            _ = stopped.await;
        });
        let mut serving = tokio::spawn(async { serving.await });

        tokio::select! {
            ended = &mut serving => return ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            () = stop => {}
        }
        let settings = &shared.settings;
        let deadline = Instant::now() + settings.server.drain_timeout();
        info!(
            connections = shared.connections.count(),
            "the server stops: telling and closing all clients"
        );
        _ = stop_accepting.send(());
        let closed = async {
            drain(&io, settings.recovery.retry_after()).await;
            (&mut serving).await
        };
        match tokio::time::timeout_at(deadline, closed).await {
            Ok(ended) => {
                info!("all clients are closed");
                ended.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(_) => {
                let connections = shared.connections.count();
                warn!(
                    connections,
                    "server.drain_timeout_ms is over: stopping with clients that did not close"
                );
                serving.abort();
                Ok(())
            }
        }
    }
}

fn socket_io(settings: &settings::Server) -> socketioxide::SocketIoBuilder {
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
        _ => error.to_string(),
    }
}
