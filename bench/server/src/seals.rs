//! How long seals took.

use std::sync::{Arc, Mutex, PoisonError};

use watertight::{Incident, Sink};

/// So many are kept, the first ones.
const KEPT: usize = 1_000;

/// Keeps the time of each seal, in microseconds.
#[derive(Clone, Default)]
pub(crate) struct Seals(Arc<Mutex<Vec<u64>>>);

impl Seals {
    pub(crate) fn so_far(&self) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Seals {
    fn incident(&self, incident: &Arc<Incident>) {
        let mut seals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(took) = incident.sealed_after
            && seals.len() < KEPT
        {
            seals.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }
}
