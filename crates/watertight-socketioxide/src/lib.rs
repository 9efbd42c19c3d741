//! A drop-in for socketioxide: swap the imports, and a panic in any handler, extractor or middleware costs
//! exactly the socket that caused it.
//!
//! ```no_run
//! use axum::Router;
//! // before: use socketioxide::{SocketIo, extract::{Data, SocketRef}};
//! use watertight_socketioxide::{SocketIo, extract::{Data, SocketRef}};
//!
//! # async fn example() -> std::io::Result<()> {
//! let (layer, io) = SocketIo::new_layer();
//! io.ns("/", async |socket: SocketRef| {
//!     socket.on("chat", async |socket: SocketRef, Data::<String>(text)| {
//!         let first = text.chars().next().unwrap(); // an empty text costs its sender the connection
//!         socket.broadcast().emit("chat", &first).await.ok();
//!     });
//! });
//! let app = Router::new().layer(layer);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
//! // before: axum::serve(listener, app)
//! watertight_axum::serve(listener, app).await
//! # }
//! ```
//!
//! The offender's client receives the event `incident` with `{id, code, message, retry, retryAfterMs}`, then its
//! transport is closed and the official client reconnects by itself. Nobody else notices.
//!
//! # What is guarded
//!
//! - Message, fallback, connect and disconnect handlers and middlewares, with their extractors, for every
//!   arity, adapter, parser, transport and protocol version.
//! - The engine's own work on a session: for one that polls always; for a WebSocket when the server runs on
//!   `watertight_axum::serve` (or its `GuardedIo`), which also closes connections whose tasks are dead.
//! - Early events: what a client sends before the connect handler has registered its events is held and
//!   delivered in order. socketioxide alone drops it.
//! - The clean-up after a disconnect handler that panics, hangs, or whose extractor refuses. socketioxide alone
//!   then leaks the socket in its rooms and namespace.
//!
//! Tasks that a handler spawns carry its scope when spawned with [`watertight::spawn`].
//!
//! # Features
//!
//! As socketioxide's: `v4`, `msgpack`, `extensions`, `state`, `tracing`.

#![forbid(unsafe_code)]

mod builder;
pub mod extract;
mod gate;
pub mod handler;
mod io;
pub mod layer;
pub mod service;
mod session;
mod sync;

/// What the fuzz targets reach, and nobody else.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::service::query::fuzzing::{EngineRequest, engine_request};
}

pub use builder::{ParserChoice, SocketIoBuilder};
pub use io::SocketIo;
#[cfg(feature = "extensions")]
pub use socketioxide::extensions;
pub use socketioxide::{
    AckError, AdapterError, BroadcastError, EmitWithAckError, NsInsertError, ParserConfig, ParserError,
    ProtocolVersion, SendError, SocketError, SocketIoConfig, TransportType, ack, adapter, operators, socket,
};
