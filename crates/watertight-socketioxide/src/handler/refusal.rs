//! The answer to events that are not let through to their handler.

use std::sync::Arc;

use serde::Serialize;
use socketioxide::adapter::Adapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;

/// Why, as the client is told when it waits for an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusal {
    code: &'static str,
    message: &'static str,
    retry_after_ms: u64,
}

impl Refusal {
    /// More than its rate.
    pub(crate) const RATE_LIMITED: Self = Self {
        code: "rate_limited",
        message: "This connection sends more than it may.",
        retry_after_ms: 1_000,
    };
    /// More than its handlers keep up with.
    pub(crate) const BUSY: Self = Self {
        code: "busy",
        message: "Too many events of this connection are waiting already.",
        retry_after_ms: 1_000,
    };

    /// Switched off for everyone.
    pub(crate) fn breaker_open(retry_after: std::time::Duration) -> Self {
        Self {
            code: "breaker_open",
            message: "This event is switched off for a while, because it has failed.",
            retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Answers an event, if its client waits for an answer.
pub(crate) fn refuse<A: Adapter>(socket: &Arc<Socket<A>>, ack_id: Option<i64>, why: &impl Serialize) {
    if ack_id.is_none() {
        return;
    }
    let mut nothing = Value::Str("".into(), None);
    let Ok(ack) = AckSender::<A>::from_message_parts(socket, &mut nothing, &ack_id);
    // The client may be gone, or slow to read: then there is nobody to answer.
    let _ = ack.send(why);
}
