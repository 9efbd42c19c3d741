//! Policies: from a fault and its history to a verdict.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activity::{Activity, ActivityKind};
use crate::compartment::Compartment;
use crate::conduct::Standing;
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
    /// The client is told that it is about to be disconnected, and stays.
    Warn,
    /// The compartment is sealed: told why, disconnected, every trace removed.
    Disconnect,
    /// As `Disconnect`, and its identity is refused for a while.
    Quarantine,
}

impl Verdict {
    /// The name used in logs, metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::FailEvent => "fail_event",
            Self::Warn => "warn",
            Self::Disconnect => "disconnect",
            Self::Quarantine => "quarantine",
        }
    }
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
    /// What the compartment's score has come to, when that is what the fault is.
    pub standing: Standing,
}

/// Decides what is done about a fault. Called on the recovery thread; must not block. If it panics,
/// the fault is judged as [`StandardPolicy`] would by default.
pub trait Policy: Send + Sync + 'static {
    /// The verdict on one fault.
    fn judge(&self, case: &Case<'_>) -> Verdict;

    /// How long a handler of `activity` may run before it is cancelled; `None` is for ever. Asked once for each handler
    /// that is registered, before it runs for the first time.
    fn deadline(&self, _activity: &Activity) -> Option<Duration> {
        None
    }
}

/// The policy of those who do not write one: plain data.
///
/// - Nobody's fault, a panic that the application caught, a fault of a compartment that is already closing, and
///   one of a disconnect handler whose client has left for good are ignored (recorded, not punished).
/// - A fault of the transport disconnects: its task is dead.
/// - A panic in an event that is listed in `fail_events` fails only the event, until its compartment
///   has had `fail_event_limit` of those.
/// - A score that has reached a threshold warns, disconnects or quarantines, as that threshold says.
/// - All else disconnects.
///
/// Handlers have no deadline unless one is set, for all ([`deadline`](Self::deadline)) or for some
/// ([`deadline_of`](Self::deadline_of)). As data:
///
/// ```
/// # use watertight::StandardPolicy;
/// let policy: StandardPolicy = serde_json::from_str(r#"{
///     "fail_events": { "/": ["chat"] },
///     "fail_event_limit": 3,
///     "deadline_ms": 30000,
///     "deadlines_ms": { "/": { "export": 120000, "connect": 5000 }, "/stream": { "*": 0 } }
/// }"#)?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StandardPolicy {
    fail_events: HashMap<String, Vec<String>>,
    fail_event_limit: u32,
    deadline_ms: u64,
    deadlines_ms: HashMap<String, HashMap<String, u64>>,
}

impl StandardPolicy {
    /// How many failed events a compartment may have by default before a further one disconnects it.
    pub const DEFAULT_FAIL_EVENT_LIMIT: u32 = 3;

    /// The default: every panic disconnects.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fail_events: HashMap::new(),
            fail_event_limit: Self::DEFAULT_FAIL_EVENT_LIMIT,
            deadline_ms: 0,
            deadlines_ms: HashMap::new(),
        }
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

    /// How long every handler may run, connect handlers and middlewares included; zero is for ever. Default: for ever.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline_ms = millis(limit);
        self
    }

    /// How long the handler of `event` in `namespace` may run; zero is for ever. `*` stands for everything in the
    /// namespace, and `connect`, `middleware` and `disconnect` for what is no event.
    #[must_use]
    pub fn deadline_of(
        mut self,
        namespace: impl Into<String>,
        event: impl Into<String>,
        limit: Duration,
    ) -> Self {
        self.deadlines_ms.entry(namespace.into()).or_default().insert(event.into(), millis(limit));
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
        match case.standing {
            Standing::Fine => {}
            Standing::Warn => return Verdict::Warn,
            Standing::Disconnect => return Verdict::Disconnect,
            Standing::Quarantine => return Verdict::Quarantine,
        }
        // A stall is felt by others: there is no event to fail and leave it at that.
        if case.attribution == Attribution::Exact
            && matches!(case.fault, Fault::Panic | Fault::Deadline)
            && self.fails_only(case.activity)
            && compartment.failed_events() < self.fail_event_limit
        {
            return Verdict::FailEvent;
        }
        Verdict::Disconnect
    }

    fn deadline(&self, activity: &Activity) -> Option<Duration> {
        let name = match activity.kind() {
            ActivityKind::Event => activity.name(),
            kind => kind.as_str(),
        };
        let set = self.deadlines_ms.get(activity.namespace());
        let own = set.and_then(|events| events.get(name).or_else(|| events.get("*")));
        let limit = own.copied().unwrap_or(self.deadline_ms);
        (limit > 0).then(|| Duration::from_millis(limit))
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
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
            standing: Standing::Fine,
        };
        change(&mut case);
        policy.judge(&case)
    }

    #[test]
    fn a_verdict_has_one_name() {
        use Verdict::{Disconnect, FailEvent, Ignore, Quarantine, Warn};
        for verdict in [Ignore, FailEvent, Warn, Disconnect, Quarantine] {
            assert_eq!(serde_json::to_value(verdict).expect("serialises"), verdict.as_str());
        }
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
    fn the_closest_deadline_counts() {
        let ms = Duration::from_millis;
        let policy = StandardPolicy::new()
            .deadline(ms(30))
            .deadline_of("/", "*", ms(20))
            .deadline_of("/", "chat", ms(10))
            .deadline_of("/", "stream", ms(0))
            .deadline_of("/", "connect", ms(5));
        let deadline = |kind, namespace: &'static str, name: &'static str| {
            Policy::deadline(&policy, &Activity::new(kind, namespace, name))
        };
        assert_eq!(deadline(ActivityKind::Event, "/", "chat"), Some(ms(10)));
        assert_eq!(deadline(ActivityKind::Event, "/", "stream"), None);
        assert_eq!(deadline(ActivityKind::Event, "/", "other"), Some(ms(20)));
        assert_eq!(deadline(ActivityKind::Connect, "/", ""), Some(ms(5)));
        assert_eq!(deadline(ActivityKind::Event, "/x", "chat"), Some(ms(30)));
        assert_eq!(Policy::deadline(&StandardPolicy::new(), &Activity::transport()), None);
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
