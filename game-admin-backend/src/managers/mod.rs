//! What the server knows of its connections, and how it ends one.

pub mod connection;
pub mod disconnector;

pub use connection::ConnectionManager;
pub use disconnector::{Cause, DisconnectError, Disconnector};
