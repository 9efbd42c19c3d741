//! The events of operators about who is refused and what is switched off.

use std::time::{Duration, Instant};

use garde::Validate;
use serde::{Deserialize, Serialize};
use tracing::info;
use watertight::{Activity, ActivityKind, BreakerState, Entry, Identity, IncidentId};

use crate::{
    identity,
    namespaces::Call,
    payload::one_line,
    reply::{Code, Failure},
};

/// Longest quarantine by hand: the library's own bound of 30 days, in milliseconds.
const LONGEST_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

/// Payload of `quarantine`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Sentence {
    #[garde(custom(identity_text))]
    identity: String,
    #[garde(range(min = 1, max = LONGEST_MS))]
    ms: u64,
    #[garde(length(chars, min = 1, max = 200), custom(one_line))]
    #[serde(default)]
    reason: Option<String>,
}

/// Payload of `lift`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Pardon {
    #[garde(custom(identity_text))]
    identity: String,
}

/// Payload of `reset_breaker`, and its answer.
#[derive(Debug, Deserialize, Serialize, Validate)]
pub(super) struct Breaker {
    #[garde(length(chars, min = 1, max = 512))]
    namespace: String,
    #[garde(length(chars, min = 1, max = 512))]
    event: String,
}

/// Answer to `quarantine`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refused {
    identity: Identity,
    /// What the refused client is told.
    incident: IncidentId,
    retry_after_ms: u64,
}

/// Answer to `lift`.
#[derive(Debug, Serialize)]
pub(super) struct Lifted {
    identity: Identity,
}

/// Answer to `quarantined`.
#[derive(Debug, Serialize)]
pub(super) struct Quarantined {
    quarantined: Vec<Entry>,
}

/// Answer to `breakers`.
#[derive(Debug, Serialize)]
pub(super) struct BreakerListing {
    breakers: Vec<BreakerState>,
}

pub(super) async fn quarantine(mut call: Call) -> Result<Refused, Failure> {
    let Sentence { identity, ms, reason } = call.read()?;
    let Ok(identity) = identity.parse::<Identity>();
    let refused = |message: &str| Failure::new(Code::Refused, message);
    if call.socket.compartment().identity().as_ref() == Some(&identity) {
        return Err(refused("it is your own identity: you could not lift it again").in_field("identity"));
    }
    let reason = reason.as_deref().unwrap_or("quarantined by an operator");
    info!(operator = %call.socket.id, %identity, ms, reason, "an operator quarantines an identity");
    let watertight = watertight::ensure_installed();
    match watertight.quarantine(&identity, Duration::from_millis(ms), reason) {
        Some(held) => {
            let retry_after_ms = u64::try_from(held.retry_after.as_millis()).unwrap_or(u64::MAX);
            Ok(Refused { identity, incident: held.incident, retry_after_ms })
        }
        None if !call.shared.settings.recovery.quarantine => {
            Err(refused("quarantine is switched off: recovery.quarantine"))
        }
        None => Err(refused("it is on the list of those who never are: recovery.quarantine_allow")
            .in_field("identity")),
    }
}

pub(super) async fn lift(mut call: Call) -> Result<Lifted, Failure> {
    let Pardon { identity } = call.read()?;
    let Ok(identity) = identity.parse::<Identity>();
    info!(operator = %call.socket.id, %identity, "an operator lifts a quarantine");
    if watertight::ensure_installed().lift(&identity) {
        Ok(Lifted { identity })
    } else {
        Err(Failure::new(Code::NotFound, "it is in no quarantine").in_field("identity"))
    }
}

pub(super) async fn quarantined(_: Call) -> Result<Quarantined, Failure> {
    Ok(Quarantined { quarantined: watertight::ensure_installed().quarantined() })
}

pub(super) async fn breakers(_: Call) -> Result<BreakerListing, Failure> {
    Ok(BreakerListing { breakers: watertight::ensure_installed().breakers().states(Instant::now()) })
}

pub(super) async fn reset_breaker(mut call: Call) -> Result<Breaker, Failure> {
    let breaker: Breaker = call.read()?;
    let Breaker { namespace, event } = &breaker;
    info!(operator = %call.socket.id, namespace, event, "an operator switches an event on again");
    let breakers = watertight::ensure_installed().breakers();
    let off = breakers.states(Instant::now());
    let meant = off.iter().map(|state| &state.activity).filter(|activity| breaker.means(activity));
    // All of them: a name may be that of an event and of what is none.
    if meant.fold(false, |any, activity| breakers.reset(activity) | any) {
        Ok(breaker)
    } else {
        Err(Failure::new(Code::NotFound, "it is not switched off").in_field("event"))
    }
}

impl Breaker {
    /// Events go by their names, the rest by what it is (`connect`, `middleware`, `fallback`), as in
    /// `detection.deadlines`.
    fn means(&self, activity: &Activity) -> bool {
        let name = match activity.kind() {
            ActivityKind::Event => activity.name(),
            kind => kind.as_str(),
        };
        (activity.namespace(), name) == (self.namespace.as_str(), self.event.as_str())
    }
}

/// The rule for an identity: one line of 1 to 256 characters that is not something else by its looks.
fn identity_text(text: &str, (): &()) -> garde::Result {
    if !(1..=256).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err(garde::Error::new("must be 1 to 256 characters and no control characters"));
    }
    identity::check(text).map_err(garde::Error::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use serde_json::{Value, json};

    /// The field at fault; empty when nothing is wrong.
    fn fault<T>(payload: Value) -> String
    where
        T: serde::de::DeserializeOwned + Validate<Context = ()>,
    {
        let read: Result<T, Failure> = payload::read::<T, String>(Ok(payload));
        read.err().and_then(|failure| failure.field).unwrap_or_default()
    }

    #[test]
    fn a_sentence_says_who_and_for_how_long() {
        for (payload, wrong) in [
            (json!({"identity": "192.0.2.7", "ms": 1}), ""),
            (json!({"identity": "user:42", "ms": LONGEST_MS, "reason": "spam"}), ""),
            (json!({"identity": "name:10.0.0.0/8", "ms": 1}), ""),
            (json!({"ms": 1}), "identity"),
            (json!({"identity": "", "ms": 1}), "identity"),
            (json!({"identity": 7, "ms": 1}), "identity"),
            (json!({"identity": "a\nb", "ms": 1}), "identity"),
            (json!({"identity": "x".repeat(257), "ms": 1}), "identity"),
            (json!({"identity": "192.0.2.7:5000", "ms": 1}), "identity"),
            (json!({"identity": "10.0.0.0/8", "ms": 1}), "identity"),
            (json!({"identity": "user:42"}), "ms"),
            (json!({"identity": "user:42", "ms": 0}), "ms"),
            (json!({"identity": "user:42", "ms": -1}), "ms"),
            (json!({"identity": "user:42", "ms": LONGEST_MS + 1}), "ms"),
            (json!({"identity": "user:42", "ms": 1, "reason": "a\nb"}), "reason"),
        ] {
            assert_eq!(fault::<Sentence>(payload.clone()), wrong, "{payload}");
        }
    }

    #[test]
    fn a_breaker_has_a_namespace_and_an_event() {
        for (payload, wrong) in [
            (json!({"namespace": "/", "event": "chat"}), ""),
            (json!({"namespace": "", "event": "chat"}), "namespace"),
            (json!({"namespace": "/"}), "event"),
            (json!({"namespace": "/", "event": 7}), "event"),
        ] {
            assert_eq!(fault::<Breaker>(payload.clone()), wrong, "{payload}");
        }
    }

    #[test]
    fn a_breaker_means_an_event_by_its_name_and_the_rest_by_its_kind() {
        let means = |event: &str, kind, name: &'static str| {
            Breaker { namespace: "/".to_owned(), event: event.to_owned() }
                .means(&Activity::new(kind, "/", name))
        };
        assert!(means("chat", ActivityKind::Event, "chat"));
        assert!(means("connect", ActivityKind::Connect, ""));
        assert!(means("middleware", ActivityKind::Middleware, ""));
        assert!(!means("chat", ActivityKind::Event, "move"));
        assert!(!means("event", ActivityKind::Event, "chat"));
        let elsewhere = Activity::new(ActivityKind::Event, "/lab", "chat");
        assert!(!Breaker { namespace: "/".to_owned(), event: "chat".to_owned() }.means(&elsewhere));
    }
}
