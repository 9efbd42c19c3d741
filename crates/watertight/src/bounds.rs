//! The bounds of settings, and durations as settings write them.

use std::fmt::Display;
use std::time::Duration;

/// A setting has a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// It is outside of its bounds.
    #[error("`{name}` is {value}: it must be between {min} and {max}")]
    OutOfBounds {
        /// The setting, as it is serialised.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// The least it may be.
        min: String,
        /// The most it may be.
        max: String,
    },
    /// It must not be greater than another one.
    #[error("`{name}` is {value}: it must not be greater than `{other}`, which is {limit}")]
    Disorder {
        /// The setting, as it is serialised.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// The other setting.
        other: &'static str,
        /// What that was set to.
        limit: String,
    },
}

/// Whether `value` lies from `min` to `max`, both included. A number that is none (NaN) lies nowhere.
pub(crate) fn within<T: PartialOrd + Display>(
    name: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), SettingError> {
    if value >= min && value <= max {
        return Ok(());
    }
    let [value, min, max] = [value, min, max].map(|part| part.to_string());
    Err(SettingError::OutOfBounds { name, value, min, max })
}

/// [`within`] in milliseconds, as which durations are serialised.
pub(crate) fn within_ms(
    name: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), SettingError> {
    // Compared as they are: half a millisecond is not 0, and not too short by being cut.
    if value >= min && value <= max {
        return Ok(());
    }
    let [value, min, max] = [value, min, max].map(|part| part.as_millis().to_string());
    Err(SettingError::OutOfBounds { name, value, min, max })
}

/// Whether `value` is at most the value of the setting `other`.
pub(crate) fn in_order<T: PartialOrd + Display>(
    (name, value): (&'static str, T),
    (other, limit): (&'static str, T),
) -> Result<(), SettingError> {
    if value <= limit {
        return Ok(());
    }
    Err(SettingError::Disorder { name, value: value.to_string(), other, limit: limit.to_string() })
}

/// Durations as whole milliseconds, for settings whose names end in `_ms`.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_included() {
        assert_eq!(within("strikes", 1, 1, 3), Ok(()));
        assert_eq!(within("strikes", 3, 1, 3), Ok(()));
        let error = within("strikes", 4, 1, 3).expect_err("too many");
        assert_eq!(error.to_string(), "`strikes` is 4: it must be between 1 and 3");
        assert!(within("jitter", f64::NAN, 0.0, 1.0).is_err());
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        let ms = Duration::from_millis;
        assert_eq!(within_ms("window_ms", ms(10), ms(10), ms(20)), Ok(()));
        assert!(within_ms("window_ms", ms(10), ms(11), ms(20)).is_err());
        let error = within_ms("window_ms", ms(21), ms(10), ms(20)).expect_err("too long");
        assert_eq!(error.to_string(), "`window_ms` is 21: it must be between 10 and 20");
    }

    #[test]
    fn a_setting_out_of_order_is_named_with_the_other() {
        assert_eq!(in_order(("base_ms", 2), ("cap_ms", 2)), Ok(()));
        let error = in_order(("base_ms", 3), ("cap_ms", 2)).expect_err("greater");
        let text = "`base_ms` is 3: it must not be greater than `cap_ms`, which is 2";
        assert_eq!(error.to_string(), text);
    }
}
