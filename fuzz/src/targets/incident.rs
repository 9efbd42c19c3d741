//! Incident ids, which clients send back and operators type.

use watertight::IncidentId;

use super::{MEMORY, Target, text};

pub(super) const TARGET: Target = Target {
    name: "incident",
    check,
    words: &[
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "00000000000000000000000000",
        "O",
        "I",
        "L",
        "U",
        "l",
        "é",
        "\0",
    ],
    memory: MEMORY,
};

/// What is an id is written with 26 letters and digits, and comes back as it was; what is none is named in the error.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    match text.parse::<IncidentId>() {
        Ok(id) => {
            let written = id.to_string();
            assert_eq!(text.len(), written.len());
            assert!(
                written.len() == 26 && written.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                "{written}"
            );
            assert_eq!(written.parse(), Ok(id));
        }
        Err(error) => assert!(error.to_string().contains(&*text)),
    }
}
