//! Incidents as `tracing` events.

use std::sync::Arc;

use super::{Event, Sink};
use crate::incident::Incident;
use crate::policy::Verdict;

/// Writes incidents and the recovery's events through `tracing`, target `watertight`. Of a storm it writes
/// the first few and the summaries.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

impl Sink for TracingSink {
    fn incident(&self, incident: &Arc<Incident>) {
        if incident.storm {
            return;
        }
        let Incident { id, fault, message, location, component, attribution, offender, activity, .. } =
            &**incident;
        let text = |value: Option<String>| value.unwrap_or_default();
        macro_rules! write {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    target: "watertight",
                    incident = %id,
                    fault = fault.code(),
                    socket = text(offender.as_ref().map(|offender| offender.id.clone())),
                    activity = text(activity.as_ref().map(ToString::to_string)),
                    location = text(location.as_ref().map(ToString::to_string)),
                    component = %component,
                    attribution = ?attribution,
                    verdict = ?incident.verdict,
                    sealed_after = ?incident.sealed_after,
                    message_of_fault = message,
                    backtrace = incident.backtrace.as_deref(),
                    $text
                )
            };
        }
        if incident.verdict == Verdict::Ignore {
            write!(warn, "incident recorded");
        } else {
            write!(error, "incident");
        }
    }

    fn event(&self, event: &Event<'_>) {
        match event {
            Event::RecoveryStarted => tracing::warn!(target: "watertight", "recovery mode started"),
            Event::RecoveryEnded { incidents } => {
                tracing::info!(target: "watertight", incidents, "recovery mode ended");
            }
            Event::SealOverdue { id, offender, parts } => tracing::error!(
                target: "watertight", incident = %id, socket = offender.id, parts, "not everything could be closed"
            ),
            Event::Summary { location, component, omitted, window } => tracing::error!(
                target: "watertight",
                location = location.map(ToString::to_string).unwrap_or_default(),
                component = %component, omitted, ?window, "more incidents at this location"
            ),
            Event::Lost { reports } => {
                tracing::error!(target: "watertight", reports, "faults lost: the queue was full");
            }
            Event::Quarantined { id, identity, held } => tracing::error!(
                target: "watertight", incident = %id, identity = %identity, retry_after = ?held.retry_after,
                level = held.level, "an identity is quarantined"
            ),
            Event::Tripped { id, activity, tripped } => tracing::error!(
                target: "watertight", incident = %id, activity = %activity, open_for = ?tripped.open_for,
                identities = tripped.identities, "an activity is switched off"
            ),
            Event::Stalling(stall) => tracing::warn!(
                target: "watertight", socket = stall.socket(), activity = stall.working_on(), thread = stall.thread,
                held = ?stall.held, stack = stall.stack.as_deref(), "a thread is held"
            ),
            Event::StallEnded(stall) => tracing::warn!(
                target: "watertight", socket = stall.socket(), activity = stall.working_on(), thread = stall.thread,
                held = ?stall.held, "a thread was held"
            ),
            Event::Fault(_) | Event::Sealing { .. } | Event::Sealed { .. } => {}
        }
    }
}
