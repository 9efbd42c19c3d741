//! What can be set, where it may come from, and what is refused.
//!
//! A setting is declared once, in `sections.rs`: its documentation, type, default and bounds. From that declaration
//! come the typed [`Settings`], the check of every given value, the listing of `check-config`, and the "did you mean" of
//! an unknown key.
//!
//! ```text
#![doc = include_str!("precedence.txt")]
//! ```

mod catalogue;
mod kind;
mod layers;
mod load;
mod origin;
mod problem;
mod report;
mod sections;
mod values;

pub use catalogue::{Setting, catalogue};
pub use kind::Kind;
pub use layers::Sources;
pub use load::{Effective, Entry, load};
pub use origin::Origin;
pub use problem::{Given, Problem, Problems};
pub use report::report;
pub use sections::{Admin, Detection, Logging, Monitoring, Recovery, Server, Supervisor};
pub use values::{Allowed, EventDeadline, FailEvent, LogFormat, Network, Secret, read_duration};

use serde::{Deserialize, Serialize};

/// The order in which sources of settings win, as `--help` shows it.
pub const PRECEDENCE: &str = include_str!("precedence.txt");

/// All settings of the server, every one of them within its bounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// Where and how the server listens, and how it stops.
    pub server: Server,
    /// Who may act as an operator.
    pub admin: Admin,
    /// What counts as a fault, and what a client is told of it.
    pub detection: Detection,
    /// How a socket with a fault is disconnected and cleaned up.
    pub recovery: Recovery,
    /// How connections are watched and how many incidents are remembered.
    pub monitoring: Monitoring,
    /// How the parent process starts the server again when that dies.
    pub supervisor: Supervisor,
    /// How the server logs.
    pub logging: Logging,
}
