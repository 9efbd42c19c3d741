//! The last incidents, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Sink;
use crate::incident::{Incident, IncidentId};

/// Keeps the last incidents, oldest out first. Clones share one ring.
#[derive(Debug, Clone)]
pub struct RingSink {
    ring: Arc<Mutex<VecDeque<Arc<Incident>>>>,
    capacity: usize,
}

impl RingSink {
    /// A ring of at most `capacity` incidents (at least 1).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { ring: Arc::default(), capacity: capacity.max(1) }
    }

    /// The incidents it holds, latest first.
    #[must_use]
    pub fn latest(&self) -> Vec<Arc<Incident>> {
        self.ring.lock().iter().rev().cloned().collect()
    }

    /// The incident with this id, while it is held.
    #[must_use]
    pub fn find(&self, id: IncidentId) -> Option<Arc<Incident>> {
        self.ring.lock().iter().rev().find(|incident| incident.id == id).cloned()
    }
}

impl Sink for RingSink {
    fn incident(&self, incident: &Arc<Incident>) {
        let mut ring = self.ring.lock();
        while ring.len() >= self.capacity {
            ring.pop_front();
        }
        ring.push_back(Arc::clone(incident));
    }
}
