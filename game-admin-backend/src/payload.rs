//! From what a client sent to a checked value, or to the failure that says what is wrong with it.

use garde::Validate;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::reply::{Code, Failure};

/// Longest text of a failure that quotes what a client sent, in characters.
const LONGEST_MESSAGE: usize = 300;

/// Reads a payload and checks it against the bounds of its type.
///
/// # Errors
///
/// [`Code::Malformed`] if a field is missing or of another type, or if there is no payload; [`Code::Invalid`] if a field is
/// out of bounds. Both name the first field at fault.
pub fn read<T, E>(payload: Result<Value, E>) -> Result<T, Failure>
where
    T: DeserializeOwned + Validate<Context = ()>,
    E: std::fmt::Display,
{
    let payload = payload.map_err(|_| Failure::new(Code::Malformed, "the payload is missing or not JSON"))?;
    if !payload.is_object() {
        return Err(Failure::new(Code::Malformed, "the payload is not an object"));
    }
    let value: T = serde_path_to_error::deserialize(&payload).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let field = match (path.as_str(), missing) {
            // The path of a missing field is that of the object it is missing from.
            (_, Some(missing)) => Some(missing.to_owned()),
            (".", None) => None,
            (path, None) => Some(path.to_owned()),
        };
        Failure { code: Code::Malformed, message: bounded(&message), field }
    })?;
    match value.validate() {
        Ok(()) => Ok(value),
        Err(report) => Err(match report.iter().next() {
            Some((path, error)) => {
                Failure::new(Code::Invalid, bounded(&format!("{path}: {error}"))).in_field(path.to_string())
            }
            None => Failure::new(Code::Invalid, "the payload is out of bounds"),
        }),
    }
}

fn bounded(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// The rule for the name of a room: 1 to 64 of the characters `A-Z a-z 0-9 _ . : -`.
///
/// # Errors
///
/// The rule, in words.
pub fn room_name(name: &str, _: &()) -> garde::Result {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(right) {
        Ok(())
    } else {
        Err(garde::Error::new("must be 1 to 64 of the characters A-Z a-z 0-9 _ . : -"))
    }
}

/// [`room_name`] for a room that need not be given.
///
/// # Errors
///
/// The rule, in words.
pub fn optional_room_name(name: &Option<String>, context: &()) -> garde::Result {
    name.as_deref().map_or(Ok(()), |name| room_name(name, context))
}

/// The rule for text that ends up in logs and in other clients' listings: no control characters.
///
/// # Errors
///
/// The rule, in words.
pub fn one_line(text: &Option<String>, _: &()) -> garde::Result {
    match text {
        Some(text) if text.chars().any(char::is_control) => {
            Err(garde::Error::new("must not contain control characters"))
        }
        _ => Ok(()),
    }
}

/// The rule for a coordinate: a finite number from minus to plus one million.
///
/// # Errors
///
/// The rule, in words.
pub fn coordinate(value: &f64, _: &()) -> garde::Result {
    if value.is_finite() && value.abs() <= 1e6 {
        Ok(())
    } else {
        Err(garde::Error::new("must be a number from -1000000 to 1000000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, Validate)]
    struct Sample {
        #[garde(custom(room_name))]
        room: String,
        #[garde(custom(coordinate))]
        #[serde(default)]
        x: f64,
    }

    fn failure(payload: Value) -> Failure {
        read::<Sample, String>(Ok(payload)).expect_err("the payload is wrong")
    }

    #[test]
    fn a_payload_of_another_shape_is_malformed() {
        for payload in [json!(null), json!("lobby"), json!(["lobby", 0]), json!(5)] {
            assert_eq!(failure(payload).code, Code::Malformed);
        }
        let missing = read::<Sample, _>(Err("no payload")).expect_err("there is none");
        assert_eq!(missing.code, Code::Malformed);
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let field = |payload| {
            let failure = failure(payload);
            (failure.code, failure.field.unwrap_or_default())
        };
        assert_eq!(field(json!({})), (Code::Malformed, "room".to_owned()));
        assert_eq!(field(json!({"room": 5})), (Code::Malformed, "room".to_owned()));
        assert_eq!(field(json!({"room": "a", "x": "far"})), (Code::Malformed, "x".to_owned()));
        assert_eq!(field(json!({"room": ""})), (Code::Invalid, "room".to_owned()));
        assert_eq!(field(json!({"room": "a", "x": 1_000_001})), (Code::Invalid, "x".to_owned()));
    }

    #[test]
    fn what_a_client_sent_is_quoted_only_in_part() {
        let message = failure(json!({"room": "a", "x": "y".repeat(100_000)})).message;
        assert!(message.chars().count() <= LONGEST_MESSAGE + 1);
    }

    #[test]
    fn room_names_are_short_and_plain() {
        for right in ["a", "Lobby-1_x.y:z", &"a".repeat(64)] {
            assert!(room_name(right, &()).is_ok(), "{right}");
        }
        for wrong in ["", "a b", "ä", "a/b", "a\n", &"a".repeat(65)] {
            assert!(room_name(wrong, &()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn coordinates_are_finite_and_bounded() {
        for right in [0.0, -0.0, 1e6, -1e6] {
            assert!(coordinate(&right, &()).is_ok(), "{right}");
        }
        for wrong in [1e6 + 0.1, -1e7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(coordinate(&wrong, &()).is_err(), "{wrong}");
        }
    }
}
