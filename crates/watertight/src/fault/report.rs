//! A fault as it travels from where it happened to the recovery thread.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Attribution, Fault, Frames, Location, Outcome};
use crate::activity::Activity;
use crate::compartment::Compartment;
use crate::conduct::Standing;
use crate::seal::Notice;

/// The longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 2048;

/// Answers the client about one event, when the verdict fails only that.
pub(crate) type Responder = Box<dyn FnOnce(&Notice) + Send>;

/// A fault on its way to the recovery thread. Integrations build one for faults that are not panics;
/// the hook builds the others.
pub struct Report {
    pub(crate) fault: Fault,
    pub(crate) attribution: Attribution,
    pub(crate) compartment: Option<Arc<Compartment>>,
    pub(crate) activity: Option<Activity>,
    pub(crate) outcome: Outcome,
    pub(crate) origin: Origin,
    pub(crate) responder: Option<Responder>,
    /// What its compartment's score has come to by this, when that is why it is reported.
    pub(crate) standing: Standing,
}

/// Where and when it happened.
pub(crate) struct Origin {
    pub(crate) message: String,
    pub(crate) location: Option<Location>,
    pub(crate) thread: Option<String>,
    pub(crate) frames: Option<Frames>,
    pub(crate) at: Instant,
    pub(crate) time: SystemTime,
}

impl Origin {
    pub(crate) fn now(message: &str) -> Self {
        // Cut before it is copied: a panic's text may be of any size.
        let kept = &message[..message.floor_char_boundary(MAX_MESSAGE)];
        let more = if kept.len() < message.len() { "…" } else { "" };
        Self {
            message: format!("{kept}{more}"),
            location: None,
            thread: std::thread::current().name().map(ToOwned::to_owned),
            frames: None,
            at: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

impl Report {
    /// A `fault` of `compartment` during `activity`, described by `message` (cut at 2 KiB).
    pub fn new(
        fault: Fault,
        attribution: Attribution,
        compartment: Option<Arc<Compartment>>,
        activity: Option<Activity>,
        message: impl AsRef<str>,
    ) -> Self {
        Self {
            fault,
            attribution,
            compartment,
            activity,
            outcome: Outcome::Escaped,
            origin: Origin::now(message.as_ref()),
            responder: None,
            standing: Standing::Fine,
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("fault", &self.fault)
            .field("attribution", &self.attribution)
            .field("compartment", &self.compartment)
            .field("activity", &self.activity)
            .field("message", &self.origin.message)
            .finish_non_exhaustive()
    }
}

/// Cuts `text` to at most `max` bytes at a character boundary.
pub(crate) fn truncated(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let origin = Origin::now(&"é".repeat(MAX_MESSAGE));
        assert!(origin.message.len() <= MAX_MESSAGE + '…'.len_utf8());
        assert!(origin.message.ends_with("é…"));
    }
}
