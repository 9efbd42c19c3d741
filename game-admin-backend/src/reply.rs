//! What an event is answered with: `{ok: true, ...}` or `{ok: false, error: {code, message, field?}}`.

use serde::Serialize;
use watertight::Misbehaviour;

/// Why an event was refused; the `error` of a negative answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// For programs; one of the constants' values below.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The field of the payload that is wrong, if it is one field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The kinds of failures that a client can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The payload is missing, or has fields that are missing or of the wrong type.
    Malformed,
    /// A field is of the right type and beyond its bounds.
    Invalid,
    /// There is no such event in this namespace.
    UnknownEvent,
    /// The sender must join the room first.
    NotInRoom,
    /// The sender is in as many rooms as one player may be.
    TooManyRooms,
    /// There is no such socket.
    NotFound,
    /// The socket is being closed.
    Closing,
    /// A setting or a rule of the server forbids it; the message says which.
    Refused,
    /// The server could not do it; the log says why.
    Internal,
}

impl Code {
    /// What it counts as against whoever sent the event; `None` for what is not the sender's doing.
    #[must_use]
    pub fn misbehaviour(self) -> Option<Misbehaviour> {
        match self {
            Self::UnknownEvent => Some(Misbehaviour::UnknownEvent),
            Self::Malformed | Self::Invalid => Some(Misbehaviour::HandlerError),
            // A good client meets these: one that has reconnected and not joined again yet moves many times a second.
            Self::NotInRoom | Self::TooManyRooms | Self::NotFound | Self::Refused => None,
            Self::Closing | Self::Internal => None,
        }
    }
}

impl Failure {
    /// A failure that concerns no single field.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn in_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }
}

/// The answer to one event.
#[derive(Debug, Serialize)]
pub struct Reply<T> {
    ok: bool,
    #[serde(flatten)]
    content: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// A positive answer without content.
#[derive(Debug, Serialize)]
pub struct Nothing {}

impl<T> From<Result<T, Failure>> for Reply<T> {
    fn from(outcome: Result<T, Failure>) -> Self {
        match outcome {
            Ok(content) => Self { ok: true, content: Some(content), error: None },
            Err(failure) => Self { ok: false, content: None, error: Some(failure) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn success_carries_its_content_beside_ok() {
        #[derive(Serialize)]
        struct Joined {
            room: &'static str,
        }
        let reply = Reply::from(Ok(Joined { room: "lobby" }));
        assert_eq!(to_value(reply).expect("serializes"), json!({"ok": true, "room": "lobby"}));
        assert_eq!(to_value(Reply::from(Ok(Nothing {}))).expect("serializes"), json!({"ok": true}));
    }

    #[test]
    fn failure_names_the_field_if_there_is_one() {
        let failure = Failure::new(Code::TooManyRooms, "full");
        let reply: Reply<Nothing> = Reply::from(Err(failure.clone()));
        assert_eq!(
            to_value(reply).expect("serializes"),
            json!({"ok": false, "error": {"code": "too_many_rooms", "message": "full"}})
        );
        let reply: Reply<Nothing> = Reply::from(Err(failure.in_field("room")));
        assert_eq!(to_value(reply).expect("serializes")["error"]["field"], "room");
    }
}
