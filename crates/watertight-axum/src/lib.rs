//! Watertight for axum: a fault of one connection costs that connection.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! # let app = axum::Router::new();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
//! // instead of axum::serve(listener, app)
//! watertight_axum::serve(listener, app).await
//! # }
//! ```
//!
//! # Concepts
//!
//! - [`serve`] does what [`axum::serve`](fn@axum::serve) does, with a [`GuardedListener`] below and a [`GuardLayer`] above
//!   the app.
//! - A [`GuardedIo`] notes which tasks poll it, so that a panic inside the transport's own code (hyper, an
//!   engine's reader task) is traced to the one connection, and it can be closed when those tasks are dead.
//! - [`ws::WebSocketUpgrade`] guards the handlers of plain WebSockets. Socket.IO is guarded by
//!   `watertight-socketioxide`, which finds the connection in the request's extensions.
//!
//! # What it does not promise
//!
//! HTTP/2 and a reverse proxy's keep-alive connections carry the requests of many clients: a panic of the
//! task that reads such a connection is recorded as nobody's.

#![forbid(unsafe_code)]

mod connections;
mod head;
mod http_io;
mod io;
mod layer;
mod listener;
mod pace;
mod serve;
mod watch;
pub mod ws;

/// What the fuzz targets reach, and nobody else.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    use watertight::IncidentId;

    use crate::watch::Watch;

    /// How often the watch finds `id` in what is written piece by piece: before it is flushed, and after.
    pub fn times_told<'a>(id: IncidentId, pieces: impl IntoIterator<Item = &'a [u8]>) -> (usize, usize) {
        let mut watch = Watch::new(id);
        pieces.into_iter().for_each(|piece| watch.written(piece));
        let before = watch.flushed();
        watch.flush();
        (before, watch.flushed())
    }
}

pub use io::GuardedIo;
pub use layer::{GuardFuture, GuardLayer, GuardService};
pub use listener::{GuardedListener, tune};
pub use pace::Pace;
pub use serve::{Serve, serve};
