//! The sessions that poll, by their ids. Every request of their clients asks for one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::PollingSession;

/// An id as the engine makes them is of 16 characters, which one look compares. The hash need not withstand chosen keys:
/// clients choose what is looked up, and never what is in here.
type Known = HashMap<u128, Weak<PollingSession>, RandomState>;

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// What is not an id of that form is in the registry alone.
fn key(session: &str) -> Option<u128> {
    session.as_bytes().try_into().ok().map(u128::from_le_bytes)
}

pub(super) fn find(session: &str) -> Option<Arc<PollingSession>> {
    KNOWN.read().get(&key(session)?)?.upgrade()
}

pub(super) fn add(session: &str, known: &Arc<PollingSession>) {
    if let Some(key) = key(session) {
        KNOWN.write().insert(key, Arc::downgrade(known));
    }
}

pub(super) fn remove(session: &str) {
    if let Some(key) = key(session) {
        KNOWN.write().remove(&key);
    }
}
