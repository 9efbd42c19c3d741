//! The settings that have a form of their own.

use std::fmt::Debug;

use game_admin_backend::settings::{Allowed, EventDeadline, FailEvent, Network, read_duration};

use super::{MEMORY, Target, text};

pub(super) const TARGET: Target = Target {
    name: "settings",
    check,
    words: &[
        "500ms",
        "2s",
        "1m",
        "30s",
        "25h",
        "1us",
        "1ns",
        "0",
        "18446744073709551615",
        "99999999999999999999y",
        "/",
        "/ chat",
        "/lab *",
        " ",
        "-",
        ".5",
        "10.0.0.0/8",
        "user:42",
        "name:",
        "\t",
        "é",
    ],
    memory: MEMORY,
};

/// What is taken comes back as it was when it is written and read again, and no time that is something is read as none.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(time) = read_duration(&text) {
        // Longer ones than a number of milliseconds can be are refused by the bounds of whatever is set.
        if let Ok(millis) = u64::try_from(time.as_millis()) {
            assert_eq!(read_duration(&millis.to_string()), Ok(time));
        }
    }
    comes_back::<FailEvent>(&text);
    comes_back::<EventDeadline>(&text);
    comes_back::<Network>(&text);
    comes_back::<Allowed>(&text);
}

fn comes_back<T>(text: &str)
where
    T: TryFrom<String, Error = String> + Clone + PartialEq + Debug,
    String: From<T>,
{
    match T::try_from(text.to_owned()) {
        Ok(value) => assert_eq!(T::try_from(String::from(value.clone())).as_ref(), Ok(&value)),
        Err(error) => assert!(!error.is_empty()),
    }
}
