//! One quarantine as operators and stores see it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::incident::IncidentId;

/// One quarantine: what an operator is shown, and what a [`Store`](crate::Store) keeps so that a
/// restart forgives nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Who is refused.
    pub identity: Identity,
    /// Until when. Serialised as milliseconds since 1970, UTC.
    #[serde(rename = "until_unix_ms", with = "crate::moment::unix_ms")]
    pub until: SystemTime,
    /// How many times in a row it was quarantined, less what was forgiven. An operator's alone has 0.
    pub level: u32,
    /// How many faults within the window led to it.
    pub strikes: u32,
    /// Why, in words: at most 256 bytes.
    pub reason: String,
    /// The incident that the refused client is told.
    pub incident: IncidentId,
}

/// The longest reason that is kept, in bytes.
const MAX_REASON: usize = 256;

/// The text, cut at [`MAX_REASON`].
pub(crate) fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn comes_back_as_it_was() {
        let entry = Entry {
            identity: Identity::Named("user:42".to_owned()),
            until: SystemTime::UNIX_EPOCH + Duration::from_millis(1_234),
            level: 2,
            strikes: 3,
            reason: "3 faults within 60 s".to_owned(),
            incident: IncidentId::new(),
        };
        let text = serde_json::to_string(&entry).expect("serialises");
        assert!(text.contains(r#""until_unix_ms":1234"#), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("reads back"), entry);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(shortened("no".to_owned()), "no");
        assert_eq!(shortened("é".repeat(200)).len(), 256);
        assert_eq!(shortened(format!("x{}", "é".repeat(200))).len(), 255);
    }
}
