//! The isolation of faults: installed from the settings, and logged in the founding document's words.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};
use watertight::{
    AllowEntry, Attribution, BreakerSettings, ConductSettings, Event, Fault, Incident, InstallError,
    LaneSettings, QuarantineSettings, RateSettings, RingSink, Sink, StandardPolicy, TrustedProxies, Verdict,
    Watertight,
};

use crate::left::Left;
use crate::metrics::CountingSink;
use watertight_recorder::ThreadStacks;

use crate::settings::{Detection, EventDeadline, Network, Recovery, Settings};

/// Installs the panic hook and the recovery thread of the process, with what earlier processes have left. Answers where
/// its incidents are kept.
///
/// # Errors
///
/// If they are installed already, or the thread does not start.
pub fn install(settings: &Settings, left: Left) -> Result<RingSink, InstallError> {
    let Settings { server, detection, recovery, monitoring, logging, .. } = settings;
    let mut policy = StandardPolicy::new().fail_event_limit(detection.fail_event_limit);
    for event in &detection.fail_events {
        policy = policy.fail_event(&event.namespace, &event.event);
    }
    if !detection.handler_deadline().is_zero() {
        policy = policy.deadline(detection.handler_deadline());
    }
    for EventDeadline { event, limit } in &detection.deadlines {
        policy = policy.deadline_of(&event.namespace, &event.event, *limit);
    }
    let proxies = server.trusted_proxies.iter().map(Network::as_str);
    // The settings have been checked.
    let proxies = TrustedProxies::new(proxies).unwrap_or_default();
    let incidents = RingSink::new(monitoring.incident_history as usize);
    let mut builder = Watertight::builder();
    if server.lanes {
        let mut lanes = LaneSettings::new().spares(server.lane_spares as usize);
        if server.lane_threads > 0 {
            lanes = lanes.threads(server.lane_threads as usize);
        }
        builder = builder.lanes(lanes);
    }
    if detection.stall_stacks {
        match ThreadStacks::new() {
            Ok(stacks) => builder = builder.stacks(stacks),
            Err(unsupported) => info!("stalls are recorded without the stack of their thread: {unsupported}"),
        }
    }
    left.show_earlier(&incidents);
    let builder = left.hand(builder);
    builder
        .policy(policy)
        .quarantine(quarantine(recovery))
        .breakers(breakers(recovery))
        .conduct(conduct(detection))
        .rates(rates(detection))
        .trusted_proxies(proxies)
        .sink(FoundingLog)
        .sink(CountingSink)
        .sink(incidents.clone())
        .expose_details(detection.expose_details)
        .stall_warn(detection.stall_warn())
        .stall_limit(detection.stall_limit())
        .grace(recovery.grace())
        .retry_after(recovery.retry_after())
        .quiet_period(recovery.quiet_period())
        .disconnect_cleanup(recovery.disconnect_cleanup())
        .disconnect_deadline(recovery.disconnect_deadline())
        .sweep_interval(monitoring.sweep_interval())
        .storm_limit(logging.storm_limit_per_second)
        .install()?;
    Ok(incidents)
}

fn quarantine(settings: &Recovery) -> QuarantineSettings {
    let mut quarantine = QuarantineSettings::new()
        .enabled(settings.quarantine)
        .strikes(settings.quarantine_strikes)
        .window(settings.quarantine_window())
        .base(settings.quarantine_base())
        .cap(settings.quarantine_cap());
    for entry in
        settings.quarantine_allow.iter().filter_map(|entry| entry.as_str().parse::<AllowEntry>().ok())
    {
        quarantine = quarantine.allow(entry);
    }
    quarantine
}

fn breakers(settings: &Recovery) -> BreakerSettings {
    BreakerSettings::new()
        .enabled(settings.breakers)
        .identities(settings.breaker_identities as usize)
        .window(settings.breaker_window())
        .open_for(settings.breaker_open())
}

fn conduct(settings: &Detection) -> ConductSettings {
    ConductSettings::new()
        .enabled(settings.conduct)
        .warn(f64::from(settings.warn_score))
        .disconnect(f64::from(settings.disconnect_score))
        .quarantine(f64::from(settings.quarantine_score))
}

fn rates(settings: &Detection) -> RateSettings {
    let mut rates = RateSettings::new();
    if settings.messages_per_second > 0 {
        rates = rates.messages_per_second(settings.messages_per_second).message_burst(settings.message_burst);
    }
    if settings.bytes_per_second > 0 {
        rates = rates.bytes_per_second(settings.bytes_per_second).byte_burst(settings.byte_burst);
    }
    rates
}

/// Logs incidents and what the recovery does in the founding document's lines, with the facts as fields beside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct FoundingLog;

impl Sink for FoundingLog {
    fn incident(&self, incident: &Arc<Incident>) {
        // The fault was logged when it came. What was not known then follows, once for each place that panics.
        if let Some(backtrace) = &incident.backtrace {
            let location = incident.location.as_ref().map(ToString::to_string).unwrap_or_default();
            info!(incident = %incident.id, location, backtrace = &**backtrace, "backtrace of the first panic here");
        }
    }

    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Fault(incident) => fault(incident),
            Event::RecoveryStarted => {
                warn!("🔄 Panic recovery mode activated - monitoring for problematic sockets");
            }
            Event::RecoveryEnded { incidents } => {
                info!(incidents, "🔄 Panic recovery mode deactivated - it has been quiet");
            }
            Event::Sealing { id, offender, code } => {
                let socket_id = &offender.id;
                match *code {
                    "shutdown" => info!(socket_id, "disconnecting a socket: the server stops"),
                    "kicked" => {
                        info!(incident = %id, socket_id, "disconnecting a socket: an operator kicks it")
                    }
                    code => {
                        error!(incident = %id, socket_id, code, "🔌 Disconnecting problematic socket: {socket_id}");
                    }
                }
            }
            Event::Sealed { id, offender, code, took } => {
                let (socket_id, took_ms) = (&offender.id, took.as_secs_f64() * 1000.0);
                match *code {
                    "shutdown" | "kicked" => info!(socket_id, took_ms, "a socket is disconnected"),
                    _ => info!(
                        incident = %id, socket_id, took_ms,
                        "✅ Successfully disconnected problematic socket: {socket_id}"
                    ),
                }
            }
            Event::SealOverdue { id, offender, parts } => error!(
                incident = %id, socket_id = offender.id, parts,
                "a socket could not be disconnected completely in time"
            ),
            Event::Quarantined { id, identity, held } => error!(
                incident = %id, identity = %identity, retry_after_ms = millis(held.retry_after), level = held.level,
                "🚫 Quarantined: {identity}"
            ),
            Event::Tripped { id, activity, tripped } => error!(
                incident = %id, activity = %activity, open_for_ms = millis(tripped.open_for),
                identities = tripped.identities,
                "⛔ Switched off for everyone for a while: {activity}"
            ),
            Event::Stalling(stall) => warn!(
                socket_id = stall.socket(),
                activity = stall.working_on(),
                thread = stall.thread,
                held_ms = millis(stall.held),
                stack = stall.stack.as_deref(),
                "🧱 A handler holds its thread and does not return"
            ),
            Event::StallEnded(stall) => warn!(
                socket_id = stall.socket(),
                activity = stall.working_on(),
                thread = stall.thread,
                held_ms = millis(stall.held),
                "🧱 A handler has returned its thread"
            ),
            Event::Summary { location, component, omitted, window } => error!(
                location = location.map(ToString::to_string).unwrap_or_default(),
                component = component.to_string(),
                omitted,
                window_ms = millis(*window),
                "{omitted} more incidents at this location were not logged one by one"
            ),
            Event::Lost { reports } => error!(reports, "faults came faster than they could be recorded"),
            _ => {}
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn fault(incident: &Incident) {
    let location = incident.location.as_ref().map(ToString::to_string).unwrap_or_default();
    let socket_id = incident.offender.as_ref().map(|offender| &*offender.id).unwrap_or_default();
    let activity = incident.activity.as_ref().map(ToString::to_string).unwrap_or_default();
    error!(
        incident = %incident.id,
        socket_id,
        activity,
        location,
        component = incident.component.to_string(),
        fault = incident.fault.code(),
        attribution = ?incident.attribution,
        outcome = ?incident.outcome,
        verdict = ?incident.verdict,
        thread = incident.thread,
        "{}: {}", headline(incident.fault), one_line(&incident.message)
    );
    let is_of_the_transport = incident.attribution == Attribution::Transport
        || incident.component.is_transport()
        || is_transport(incident);
    if incident.fault == Fault::Panic && is_of_the_transport {
        error!(incident = %incident.id, socket_id, location, "🔌 WebSocket transport panic detected at {location}");
    }
    // Who died with the process needs no disconnecting.
    let is_here = incident.fault != Fault::Abort;
    if is_here && matches!(incident.verdict, Verdict::Disconnect | Verdict::Quarantine) {
        error!(
            incident = %incident.id, socket_id,
            "🛠️ Server will attempt to recover and disconnect problematic sockets"
        );
    }
}

/// The text without line breaks and other control characters: it may come from a client, and must not look like lines
/// of the log.
fn one_line(text: &str) -> String {
    let escaped =
        text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    escaped.collect()
}

fn headline(fault: Fault) -> &'static str {
    match fault {
        Fault::Panic => "💥 Application panic",
        Fault::Deadline => "⏱️ A handler ran past its deadline",
        Fault::Deaf => "🔇 A connection is deaf: nobody reads it",
        Fault::Orphan => "🛟 A connection is lost and nobody has ended it",
        Fault::Flood => "🌊 A client floods",
        Fault::Protocol => "🗯️ A client misbehaves",
        Fault::SlowConsumer => "🐌 A client does not read",
        Fault::Stall => "🧱 A handler holds its thread",
        Fault::Abort => "💀 The server died",
        _ => "A fault",
    }
}

/// Whether the engine's own work on a request of the socket panicked.
fn is_transport(incident: &Incident) -> bool {
    incident.activity.as_ref().is_some_and(|activity| activity.kind() == watertight::ActivityKind::Transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that only the library refuses would pass `check-config` and stop the start.
    #[test]
    fn what_the_settings_allow_the_library_takes() {
        use crate::settings::{Kind, Sources, catalogue, load};

        let mut tried = 0;
        for setting in catalogue() {
            let Kind::Integer { min, max, .. } = setting.kind else { continue };
            for value in [min, max] {
                let assignments = vec![format!("{}={value}", setting.key)];
                // What contradicts another setting's default is a problem already.
                let Ok(effective) = load(&Sources { assignments, ..Sources::default() }) else { continue };
                let Settings { detection, recovery, .. } = effective.settings;
                let checks = [
                    quarantine(&recovery).check(),
                    breakers(&recovery).check(),
                    conduct(&detection).check(),
                    rates(&detection).check(),
                ];
                for check in checks {
                    assert_eq!(check, Ok(()), "{} = {value}", setting.key);
                }
                tried += 1;
            }
        }
        assert!(tried > 50, "only {tried} values were tried");
    }

    #[test]
    fn a_panics_text_stays_on_its_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m \"é\" 🔌"), "a\\nb\\u{1b}[31m \"é\" 🔌");
    }
}
