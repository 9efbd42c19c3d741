//! A sink for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Event, Sink};
use crate::incident::Incident;

/// Keeps everything it is given, without bound, and lets a test wait for it. Clones share.
#[derive(Debug, Clone, Default)]
pub struct CaptureSink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    incidents: Vec<Arc<Incident>>,
    events: Vec<String>,
}

impl CaptureSink {
    /// Holds nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The incidents so far, oldest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<Arc<Incident>> {
        self.shared.state.lock().incidents.clone()
    }

    /// The events so far as debug text, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.shared.state.lock().events.clone()
    }

    /// Blocks the thread until `wanted` finds what it looks for among the incidents.
    ///
    /// # Panics
    ///
    /// When that does not happen within `deadline`; the text lists what there was.
    pub fn wait_for<R>(&self, deadline: Duration, wanted: impl Fn(&[Arc<Incident>]) -> Option<R>) -> R {
        let until = Instant::now() + deadline;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(found) = wanted(&state.incidents) {
                return found;
            }
            let timed_out = self.shared.changed.wait_until(&mut state, until).timed_out();
            assert!(!timed_out, "not within {deadline:?}; incidents: {:#?}", state.incidents);
        }
    }
}

impl Sink for CaptureSink {
    fn incident(&self, incident: &Arc<Incident>) {
        self.shared.state.lock().incidents.push(Arc::clone(incident));
        self.shared.changed.notify_all();
    }

    fn event(&self, event: &Event<'_>) {
        self.shared.state.lock().events.push(format!("{event:?}"));
        self.shared.changed.notify_all();
    }
}
