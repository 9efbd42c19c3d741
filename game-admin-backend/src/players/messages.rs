//! What players send, and what they are sent.

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::members::{Members, Player};
use crate::payload::{coordinate, one_line, room_name};

/// Payload of `join`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Join {
    #[garde(custom(room_name))]
    pub(super) room: String,
    #[garde(length(chars, min = 1, max = 32), custom(one_line))]
    #[serde(default)]
    pub(super) name: Option<String>,
}

/// Payload of `leave` and `presence`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct InRoom {
    #[garde(custom(room_name))]
    pub(super) room: String,
}

/// Payload of `chat`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Chat {
    #[garde(custom(room_name))]
    pub(super) room: String,
    #[garde(length(chars, min = 1, max = 2000))]
    pub(super) text: String,
}

/// Payload of `move`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Move {
    #[garde(custom(room_name))]
    pub(super) room: String,
    #[garde(custom(coordinate))]
    pub(super) x: f64,
    #[garde(custom(coordinate))]
    pub(super) y: f64,
}

/// Answer to `join`.
#[derive(Debug, Serialize)]
pub(super) struct Joined {
    pub(super) room: String,
    pub(super) player: Player,
    #[serde(flatten)]
    pub(super) members: Members,
}

/// Answer to `presence`.
#[derive(Debug, Serialize)]
pub(super) struct Present {
    pub(super) room: String,
    #[serde(flatten)]
    pub(super) members: Members,
}

/// Answer to `leave`, `chat` and `move`.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) room: String,
}

/// Broadcast `chat`.
#[derive(Debug, Serialize)]
pub(super) struct Said<'a> {
    pub(super) room: &'a str,
    pub(super) player: &'a Player,
    pub(super) text: &'a str,
}

/// Broadcast `move`.
#[derive(Debug, Serialize)]
pub(super) struct Moved<'a> {
    pub(super) room: &'a str,
    pub(super) player: &'a Player,
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Broadcast `presence`.
#[derive(Debug, Serialize)]
pub(super) struct Presence<'a> {
    pub(super) room: &'a str,
    #[serde(flatten)]
    pub(super) change: Change<'a>,
    pub(super) players: usize,
}

/// Who came or went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change<'a> {
    Joined(&'a Player),
    Left(&'a Player),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        payload,
        reply::{Code, Failure},
    };
    use serde_json::{Value, json};

    fn failure<T: for<'de> Deserialize<'de> + Validate<Context = ()> + std::fmt::Debug>(
        payload: Value,
    ) -> (Code, String) {
        let Failure { code, field, .. } =
            payload::read::<T, String>(Ok(payload)).expect_err("the payload is wrong");
        (code, field.unwrap_or_default())
    }

    fn accepted<T: for<'de> Deserialize<'de> + Validate<Context = ()>>(payload: Value) -> bool {
        payload::read::<T, String>(Ok(payload)).is_ok()
    }

    #[test]
    fn unknown_fields_are_tolerated() {
        assert!(accepted::<Join>(json!({"room": "a", "later": [1, 2]})));
        assert!(accepted::<Chat>(json!({"room": "a", "text": "x", "later": {}})));
        assert!(accepted::<Move>(json!({"room": "a", "x": 0, "y": 0, "z": 0})));
    }

    #[test]
    fn a_name_is_optional_short_and_of_one_line() {
        assert!(accepted::<Join>(json!({"room": "a"})));
        assert!(accepted::<Join>(json!({"room": "a", "name": null})));
        assert!(accepted::<Join>(json!({"room": "a", "name": "ü".repeat(32)})));
        for wrong in ["", "a\nb", &"a".repeat(33)] {
            assert_eq!(
                failure::<Join>(json!({"room": "a", "name": wrong})),
                (Code::Invalid, "name".to_owned()),
                "{wrong:?}"
            );
        }
        assert_eq!(failure::<Join>(json!({"room": "a", "name": 5})), (Code::Malformed, "name".to_owned()));
    }

    #[test]
    fn a_chat_has_a_text_of_1_to_2000_characters() {
        assert!(accepted::<Chat>(json!({"room": "a", "text": "ü".repeat(2000)})));
        for wrong in ["", &"a".repeat(2001)] {
            assert_eq!(
                failure::<Chat>(json!({"room": "a", "text": wrong})),
                (Code::Invalid, "text".to_owned())
            );
        }
        assert_eq!(failure::<Chat>(json!({"room": "a"})), (Code::Malformed, "text".to_owned()));
        assert_eq!(failure::<Chat>(json!({"room": "a b", "text": "x"})), (Code::Invalid, "room".to_owned()));
    }

    #[test]
    fn a_move_has_bounded_coordinates() {
        assert!(accepted::<Move>(json!({"room": "a", "x": 1, "y": -1e6})));
        assert_eq!(failure::<Move>(json!({"room": "a", "x": 1, "y": 1e7})), (Code::Invalid, "y".to_owned()));
        assert_eq!(
            failure::<Move>(json!({"room": "a", "x": null, "y": 1})),
            (Code::Malformed, "x".to_owned())
        );
        assert_eq!(failure::<Move>(json!({"room": "a", "y": 1})), (Code::Malformed, "x".to_owned()));
    }

    #[test]
    fn presence_says_who_came_or_went() {
        let player = Player { id: 7, name: "Ada".to_owned() };
        let presence = Presence { room: "a", change: Change::Left(&player), players: 2 };
        assert_eq!(
            serde_json::to_value(presence).expect("serializes"),
            json!({"room": "a", "left": {"id": 7, "name": "Ada"}, "players": 2})
        );
    }
}
