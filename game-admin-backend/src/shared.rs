//! What all handlers share.

use std::sync::Arc;

use watertight::RingSink;

use crate::{managers::ConnectionManager, ready::Draining, settings::Settings};

/// What all handlers share; handed to them as the state of the Socket.IO server. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    /// The settings in force. They do not change while the server runs.
    pub settings: Arc<Settings>,
    /// Who is connected.
    pub connections: Arc<ConnectionManager>,
    /// The last incidents of the process.
    pub incidents: RingSink,
    /// Whether the server has been told to stop.
    pub draining: Draining,
}
