//! The game server: players on `/`, operators on `/admin`, probes on `/health`, `/ready` and `/metrics`.
//!
//! The program is a thin shell around [`run`]; tests put a [`Server`](server::Server) together themselves.

pub mod admin;
pub mod command_line;
pub mod health;
pub mod identity;
pub mod isolation;
pub mod lab;
pub mod left;
pub mod logging;
pub mod managers;
pub mod metrics;
#[cfg(unix)]
pub mod minidump;
pub mod namespaces;
mod parent;
pub mod payload;
pub mod players;
pub mod ready;
pub mod reply;
mod run;
pub mod server;
pub mod settings;
mod shared;
pub mod signals;
mod supervise;
#[cfg(test)]
mod test_log;

pub use run::{RunError, run};
pub use shared::Shared;
pub use supervise::{ParentError, Plan};
