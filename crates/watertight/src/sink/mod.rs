//! Sinks: where incidents and the recovery's own events go.

mod broadcast;
#[cfg(feature = "test")]
mod capture;
mod ring;
mod trace;

use std::sync::Arc;
use std::time::Duration;

pub use broadcast::BroadcastSink;
#[cfg(feature = "test")]
pub use capture::CaptureSink;
pub use ring::RingSink;
pub use trace::TracingSink;

use crate::activity::Activity;
use crate::breaker::Tripped;
use crate::fault::{Component, Location};
use crate::identity::Identity;
use crate::incident::{Incident, IncidentId, Offender};
use crate::quarantine::Held;
use crate::watchdog::Stall;

/// What the recovery does, as it does it. During a storm only the first few of each location are told;
/// a [`Summary`](Event::Summary) says how many were left out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A fault has arrived and been judged. The incident is not complete yet: `sealed_after` and
    /// `backtrace` follow with [`Sink::incident`].
    Fault(&'a Incident),
    /// The first incident after a quiet time: from now on every sweep looks for compartments that have lost their
    /// transport and were not ended.
    RecoveryStarted,
    /// No incident for the quiet period.
    RecoveryEnded {
        /// How many incidents there were.
        incidents: u64,
    },
    /// A compartment is about to be closed.
    Sealing {
        /// The incident, or the id of the notice when nobody's fault is the reason.
        id: IncidentId,
        /// Whose compartment.
        offender: &'a Offender,
        /// Why: the notice's code.
        code: &'static str,
    },
    /// Nothing of it is left.
    Sealed {
        /// As in `Sealing`.
        id: IncidentId,
        /// As in `Sealing`.
        offender: &'a Offender,
        /// As in `Sealing`.
        code: &'static str,
        /// From the decision until nothing was left.
        took: Duration,
    },
    /// Something of it is left after all bounds. Every sweep tries again; `Sealed` follows when nothing is left.
    SealOverdue {
        /// As in `Sealing`.
        id: IncidentId,
        /// As in `Sealing`.
        offender: &'a Offender,
        /// How many parts are left.
        parts: usize,
    },
    /// An identity is refused from now on, for a while.
    Quarantined {
        /// The incident that led to it.
        id: IncidentId,
        /// Who.
        identity: &'a Identity,
        /// Until when.
        held: &'a Held,
    },
    /// An activity is switched off for everyone, for a while.
    Tripped {
        /// The incident that was one too many.
        id: IncidentId,
        /// Which.
        activity: &'a Activity,
        /// For how long, and why.
        tripped: &'a Tripped,
    },
    /// A piece of work has not returned to its executor for longer than the warning limit, and still does not. Past
    /// the second limit a `Fault` follows.
    Stalling(&'a Stall),
    /// That piece of work has returned.
    StallEnded(&'a Stall),
    /// Incidents of one location that were not told one by one.
    Summary {
        /// The location, where known.
        location: Option<&'a Location>,
        /// Whose code it is.
        component: &'a Component,
        /// How many were left out.
        omitted: u64,
        /// In what time.
        window: Duration,
    },
    /// Faults that found the queue full: counted, and nothing else is known of them.
    Lost {
        /// How many since the last such event.
        reports: u64,
    },
}

/// Where incidents go. Called on the recovery thread: a sink must not block. One that panics is counted
/// and the others go on.
pub trait Sink: Send + Sync + 'static {
    /// Takes a complete incident. Those with [`storm`](Incident::storm) set are to be counted rather than printed.
    fn incident(&self, incident: &Arc<Incident>);

    /// Takes an event of the recovery.
    fn event(&self, _event: &Event<'_>) {}
}
