//! The types of settings that are more than a number, a switch or a text.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

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

#[cfg(test)]
mod tests {
    use super::*;

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
