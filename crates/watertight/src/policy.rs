//! Policies: from a fault and its history to a verdict.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::activity::{Activity, ActivityKind};
use crate::compartment::Compartment;
use crate::fault::{Attribution, Component, Fault, Location, Outcome};

/// What is done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Recorded, nothing else.
    Ignore,
    /// The event fails: a pending ack is answered with an error. The socket stays.
    FailEvent,
    /// The compartment is sealed: told why, disconnected, every trace removed.
    Disconnect,
}

/// What a policy judges by.
#[derive(Debug)]
#[non_exhaustive]
pub struct Case<'a> {
    /// What went wrong.
    pub fault: Fault,
    /// How it was traced to the compartment.
    pub attribution: Attribution,
    /// Whether the application caught it.
    pub outcome: Outcome,
    /// Whose it is.
    pub compartment: Option<&'a Compartment>,
    /// What the code was doing.
    pub activity: Option<&'a Activity>,
    /// Whose code it is.
    pub component: &'a Component,
    /// Where.
    pub location: Option<&'a Location>,
    /// The panic's text or a description.
    pub message: &'a str,
}

/// Decides what is done about a fault. Called on the recovery thread; must not block. If it panics,
/// the fault is judged as [`StandardPolicy`] would by default.
pub trait Policy: Send + Sync + 'static {
    /// The verdict on one fault.
    fn judge(&self, case: &Case<'_>) -> Verdict;
}

/// The policy of those who do not write one: plain data.
///
/// - Nobody's fault, a panic that the application caught, a fault of a compartment that is already closing, and
///   one of a disconnect handler whose client has left for good are ignored (recorded, not punished).
/// - A fault of the transport disconnects: its task is dead.
/// - A panic in an event that is listed in `fail_events` fails only the event, until its compartment
///   has had `fail_event_limit` of those.
/// - All else disconnects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StandardPolicy {
    fail_events: HashMap<String, Vec<String>>,
    fail_event_limit: u32,
}

impl StandardPolicy {
    /// How many failed events a compartment may have by default before a further one disconnects it.
    pub const DEFAULT_FAIL_EVENT_LIMIT: u32 = 3;

    /// The default: every panic disconnects.
    #[must_use]
    pub fn new() -> Self {
        Self { fail_events: HashMap::new(), fail_event_limit: Self::DEFAULT_FAIL_EVENT_LIMIT }
    }

    /// Lets panics of `event` in `namespace` fail only the event. `*` stands for every event.
    #[must_use]
    pub fn fail_event(mut self, namespace: impl Into<String>, event: impl Into<String>) -> Self {
        self.fail_events.entry(namespace.into()).or_default().push(event.into());
        self
    }

    /// After how many failed events a compartment is disconnected after all.
    #[must_use]
    pub fn fail_event_limit(mut self, limit: u32) -> Self {
        self.fail_event_limit = limit;
        self
    }

    fn fails_only(&self, activity: Option<&Activity>) -> bool {
        activity.is_some_and(|activity| {
            matches!(activity.kind(), ActivityKind::Event | ActivityKind::Fallback)
                && self
                    .fail_events
                    .get(activity.namespace())
                    .is_some_and(|events| events.iter().any(|event| event == "*" || event == activity.name()))
        })
    }
}

impl Default for StandardPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for StandardPolicy {
    fn judge(&self, case: &Case<'_>) -> Verdict {
        let Some(compartment) = case.compartment else {
            return Verdict::Ignore;
        };
        if case.attribution == Attribution::Unattributed
            || case.outcome == Outcome::Caught
            || !compartment.is_live()
            || (case.activity.is_some_and(|activity| activity.kind() == ActivityKind::Disconnect)
                && !compartment.serves())
        {
            return Verdict::Ignore;
        }
        if case.attribution == Attribution::Exact
            && self.fails_only(case.activity)
            && compartment.failed_events() < self.fail_event_limit
        {
            return Verdict::FailEvent;
        }
        Verdict::Disconnect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn judge(policy: &StandardPolicy, change: impl FnOnce(&mut Case<'_>)) -> Verdict {
        let compartment = Compartment::new(None, None);
        let activity = Activity::new(ActivityKind::Event, "/", "chat");
        let mut case = Case {
            fault: Fault::Panic,
            attribution: Attribution::Exact,
            outcome: Outcome::Escaped,
            compartment: Some(&compartment),
            activity: Some(&activity),
            component: &Component::UserCode,
            location: None,
            message: "",
        };
        change(&mut case);
        policy.judge(&case)
    }

    #[test]
    fn a_panic_disconnects() {
        let policy = StandardPolicy::new();
        assert_eq!(judge(&policy, |_| ()), Verdict::Disconnect);
        assert_eq!(judge(&policy, |case| case.attribution = Attribution::Transport), Verdict::Disconnect);
    }

    #[test]
    fn nobody_is_punished_without_reason() {
        let policy = StandardPolicy::new();
        assert_eq!(judge(&policy, |case| case.compartment = None), Verdict::Ignore);
        assert_eq!(judge(&policy, |case| case.attribution = Attribution::Unattributed), Verdict::Ignore);
        assert_eq!(judge(&policy, |case| case.outcome = Outcome::Caught), Verdict::Ignore);
        let goodbye = Activity::new(ActivityKind::Disconnect, "/", "");
        let goodbye: &'static Activity = Box::leak(Box::new(goodbye));
        assert_eq!(judge(&policy, |case| case.activity = Some(goodbye)), Verdict::Ignore);
        let closing: &'static Arc<Compartment> = Box::leak(Box::new(Compartment::new(None, None)));
        assert!(closing.begin_seal());
        assert_eq!(judge(&policy, |case| case.compartment = Some(closing)), Verdict::Ignore);
    }

    #[test]
    fn listed_events_fail_alone_until_the_limit() {
        let policy = StandardPolicy::new().fail_event("/", "chat").fail_event_limit(1);
        assert_eq!(judge(&policy, |_| ()), Verdict::FailEvent);
        assert_eq!(judge(&policy, |case| case.attribution = Attribution::Transport), Verdict::Disconnect);
        let repeated: &'static Arc<Compartment> = Box::leak(Box::new(Compartment::new(None, None)));
        repeated.count_failed_event();
        assert_eq!(judge(&policy, |case| case.compartment = Some(repeated)), Verdict::Disconnect);
        assert_eq!(judge(&policy.clone().fail_event("/x", "*"), |_| ()), Verdict::FailEvent);
    }
}
