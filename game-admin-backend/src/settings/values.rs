//! The types of settings that are more than a number, a switch or a text.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq as _;
use watertight::TrustedProxies;

use crate::identity;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people, coloured when standard error is a terminal.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The names that a setting or flag takes.
    pub const NAMES: &'static [&'static str] = &["human", "json"];
}

/// A text that never appears in logs, listings or error messages.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// What is shown in place of a secret.
    pub const MASK: &'static str = "********";

    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `attempt` is this secret. The time it takes tells an attacker at most the secret's length.
    #[must_use]
    pub fn matches(&self, attempt: &str) -> bool {
        self.0.as_bytes().ct_eq(attempt.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Self::MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::MASK)
    }
}

/// An event whose panic fails the event and not the socket, written `NAMESPACE EVENT`, for example `/ chat`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FailEvent {
    /// The namespace's path; begins with `/`.
    pub namespace: String,
    /// The event's name; may contain spaces.
    pub event: String,
}

impl FailEvent {
    /// Longest namespace and event together, in bytes.
    pub const MAX_BYTES: usize = 512;
}

impl TryFrom<String> for FailEvent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > Self::MAX_BYTES {
            return Err(format!("{} bytes are too long, {} is the limit", text.len(), Self::MAX_BYTES));
        }
        match text.split_once(' ') {
            Some((namespace, event)) if namespace.starts_with('/') && !event.trim().is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), event: event.trim().to_owned() })
            }
            _ => Err(format!("{text:?} is not a namespace and an event, such as \"/ chat\"")),
        }
    }
}

impl From<FailEvent> for String {
    fn from(event: FailEvent) -> Self {
        format!("{} {}", event.namespace, event.event)
    }
}

/// A deadline of one event, written `NAMESPACE EVENT TIME`, for example `/ export 2m`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventDeadline {
    /// The namespace and the event; `*` is every event.
    pub event: FailEvent,
    /// How long its handler may run; zero is for ever.
    pub limit: Duration,
}

impl EventDeadline {
    /// Longest deadline.
    pub const MAX: Duration = Duration::from_secs(24 * 3600);
}

impl TryFrom<String> for EventDeadline {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (event, limit) = text.trim().rsplit_once(' ').ok_or_else(|| {
            format!("{text:?} is not a namespace, an event and a time, such as \"/ export 2m\"")
        })?;
        let event = FailEvent::try_from(event.to_owned())?;
        let limit = read_duration(limit)?;
        if limit > Self::MAX {
            return Err(format!("{limit:?} is longer than a day"));
        }
        Ok(Self { event, limit })
    }
}

impl From<EventDeadline> for String {
    fn from(EventDeadline { event, limit }: EventDeadline) -> Self {
        format!("{} {}ms", String::from(event), limit.as_millis())
    }
}

/// Declares a text that is checked by a parser of the library's, and kept as it was written.
macro_rules! checked_text {
    ($(#[$attribute:meta])* $Name:ident: $check:expr) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $Name(String);

        impl $Name {
            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $Name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let text = text.trim().to_owned();
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$Name> for String {
            fn from($Name(text): $Name) -> Self {
                text
            }
        }
    };
}

checked_text! {
    /// The address of a reverse proxy, or a network of them: `10.0.0.0/8`.
    Network: |text| TrustedProxies::new([text]).map(drop).map_err(|error| error.to_string())
}

checked_text! {
    /// Somebody who is never quarantined: an address, a network, or a name such as `user:42`.
    Allowed: |text| match TrustedProxies::new([text]) {
        Ok(_) => Ok(()),
        Err(_) => identity::check(text).map_err(str::to_owned),
    }
}

/// Reads `500ms`, `2s`, `1m 30s`, or a bare number of milliseconds, of which it must be a whole number.
///
/// # Errors
///
/// What is wrong with the text.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(millis) = text.parse() {
        return Ok(Duration::from_millis(millis));
    }
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a time such as 500ms, 2s or 1m: {error}"))?;
    // Cut to milliseconds, `900us` would be none at all, which is for ever where a deadline is set.
    if time.subsec_nanos() % 1_000_000 != 0 {
        return Err(format!("{text:?} is finer than a millisecond"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_names_an_event_and_a_time() {
        let deadline = EventDeadline::try_from("/lab slow ack 1m 30s".to_owned());
        assert!(
            deadline.is_ok_and(|deadline| deadline.limit == Duration::from_secs(30)),
            "the last word is the time"
        );
        let deadline = EventDeadline::try_from("/ * 0ms".to_owned()).expect("well formed");
        assert_eq!((deadline.event.event.as_str(), deadline.limit), ("*", Duration::ZERO));
        assert_eq!(String::from(deadline), "/ * 0ms");
        for wrong in ["", "/", "/ export", "/ export soon", "export 2s", "/ export 25h"] {
            assert!(EventDeadline::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_time_has_a_unit_or_is_in_milliseconds() {
        for (text, millis) in [("0", 0), ("250", 250), ("500ms", 500), (" 2s ", 2_000), ("1m", 60_000)] {
            assert_eq!(read_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "-1", "2 parsecs", "1.5", "900us", "1ms 1ns"] {
            assert!(read_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_matches_only_itself() {
        let secret = Secret::new("open sesame");
        assert!(secret.matches("open sesame"));
        for wrong in ["", "open", "open sesamE", "open sesame "] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("open sesame");
        assert_eq!(format!("{secret:?}"), Secret::MASK);
        assert_eq!(serde_json::to_value(&secret).expect("serializes"), Secret::MASK);
    }

    #[test]
    fn a_fail_event_names_a_namespace_and_an_event() {
        let event = FailEvent::try_from("/lab slow ack".to_owned()).expect("well formed");
        assert_eq!((event.namespace.as_str(), event.event.as_str()), ("/lab", "slow ack"));
        assert_eq!(String::from(event), "/lab slow ack");
        for wrong in ["", "/", "/ ", "chat", "lab chat", "/lab"] {
            assert!(FailEvent::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        assert!(FailEvent::try_from(format!("/ {}", "x".repeat(512))).is_err());
    }
}
