//! Incidents for whoever listens.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::Sink;
use crate::incident::Incident;

/// Sends every incident to all who subscribed. One that reads too slowly loses the oldest, and is told so
/// by [`broadcast::error::RecvError::Lagged`].
#[derive(Debug, Clone)]
pub struct BroadcastSink {
    sender: broadcast::Sender<Arc<Incident>>,
}

impl BroadcastSink {
    /// Holds at most `capacity` incidents for slow listeners (at least 1).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity.max(1)) }
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Incident>> {
        self.sender.subscribe()
    }
}

impl Sink for BroadcastSink {
    fn incident(&self, incident: &Arc<Incident>) {
        // Nobody listening is fine.
        let _ = self.sender.send(Arc::clone(incident));
    }
}
