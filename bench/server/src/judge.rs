//! Whether every fault is traced to whose it was: panics here say so themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use watertight::{Attribution, Event, Incident, Sink};

/// What the text of a panic begins with, before the id of its session.
const FAULT_OF: &str = "fault of ";

/// Counts incidents by whether the offender is the one that the panic names.
#[derive(Clone, Default)]
pub(crate) struct Judge(Arc<Counts>);

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    nobodys: AtomicU64,
    /// Came faster than they could be recorded.
    lost: AtomicU64,
    /// Of those that are right: traced by the task that polls the connection.
    by_transport: AtomicU64,
}

impl Judge {
    /// What has been counted.
    pub(crate) fn so_far(&self) -> Value {
        let Counts { right, wrong, nobodys, lost, by_transport } = &*self.0;
        let [right, wrong, nobodys, lost, by_transport] =
            [right, wrong, nobodys, lost, by_transport].map(|count| count.load(Ordering::Relaxed));
        json!({ "right": right, "wrong": wrong, "nobodys": nobodys, "lost": lost, "by_transport": by_transport })
    }
}

impl Sink for Judge {
    fn incident(&self, incident: &Arc<Incident>) {
        let Counts { right, wrong, nobodys, by_transport, .. } = &*self.0;
        let Some(offender) = &incident.offender else {
            nobodys.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let is_right = incident.message.strip_prefix(FAULT_OF) == Some(&offender.id);
        let count = if is_right { right } else { wrong };
        count.fetch_add(1, Ordering::Relaxed);
        if is_right && incident.attribution == Attribution::Transport {
            by_transport.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(&self, event: &Event<'_>) {
        if let Event::Lost { reports } = event {
            self.0.lost.fetch_add(*reports, Ordering::Relaxed);
        }
    }
}
