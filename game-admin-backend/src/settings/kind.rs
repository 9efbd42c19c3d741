//! Which values a setting takes, and the check of one.

use std::{fmt, net::SocketAddr};

use figment::value::{Dict, Tag, Value};
use tracing_subscriber::EnvFilter;

use super::values::{Allowed, EventDeadline, FailEvent, Network};

/// The values that a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// Smallest value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
        /// `ms`, `bytes`, or nothing for a count.
        unit: &'static str,
    },
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// An IP address with a port.
    Address,
    /// A directory, or none.
    Directory,
    /// Directives of a log filter.
    Filter,
    /// A list of [`FailEvent`]s.
    Events {
        /// Longest list allowed.
        max_entries: usize,
    },
    /// A list of [`EventDeadline`]s.
    Deadlines {
        /// Longest list allowed.
        max_entries: usize,
    },
    /// A list of [`Network`]s.
    Networks {
        /// Longest list allowed.
        max_entries: usize,
    },
    /// A list of [`Allowed`].
    Identities {
        /// Longest list allowed.
        max_entries: usize,
    },
    /// A text that is never shown.
    Secret {
        /// Shortest text allowed, in characters.
        min_chars: usize,
        /// Longest text allowed, in characters.
        max_chars: usize,
    },
}

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is of another type than the setting, for example a text where a number belongs.
    WrongType,
    /// It is a number, list or text beyond the bounds.
    OutOfBounds,
    /// It is of the right type but means nothing; says why.
    Malformed(String),
}

impl Kind {
    pub(super) const fn milliseconds(min: u64, max: u64) -> Self {
        Self::Integer { min, max, unit: "ms" }
    }

    pub(super) const fn bytes(min: u64, max: u64) -> Self {
        Self::Integer { min, max, unit: "bytes" }
    }

    pub(super) const fn count(min: u64, max: u64) -> Self {
        Self::Integer { min, max, unit: "" }
    }

    /// Whether values of this kind are shown as a mask.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }

    /// Checks a value and brings it into the form that the typed settings take.
    ///
    /// Flags and environment variables can only give texts: with `from_text` a text is read as this kind. A file has
    /// types of its own, so there `"5000"` is not a number.
    pub(super) fn read(&self, value: &Value, from_text: bool) -> Result<Value, Refusal> {
        let text = value.as_str();
        match *self {
            Self::Switch => match (value.to_bool(), text) {
                (Some(on), _) => Ok(on.into()),
                (None, Some("true")) if from_text => Ok(true.into()),
                (None, Some("false")) if from_text => Ok(false.into()),
                _ => Err(Refusal::WrongType),
            },
            Self::Integer { min, max, .. } => {
                let number = match text {
                    Some(text) if from_text => text.trim().parse().ok(),
                    _ => whole_number(value),
                };
                let number = number.ok_or(Refusal::WrongType)?;
                match u64::try_from(number) {
                    Ok(number) if (min..=max).contains(&number) => Ok(number.into()),
                    _ => Err(Refusal::OutOfBounds),
                }
            }
            Self::Choice(names) => {
                let text = text.ok_or(Refusal::WrongType)?;
                if names.contains(&text) {
                    Ok(text.into())
                } else {
                    Err(Refusal::Malformed("there is no such choice".to_owned()))
                }
            }
            Self::Address => read_address(text.ok_or(Refusal::WrongType)?),
            Self::Directory => match text {
                // A value of `None` is the default: there is none.
                None if value.to_empty().is_some() => Ok(value.clone()),
                None => Err(Refusal::WrongType),
                Some(path) if path.trim().is_empty() => Err(Refusal::Malformed("it is empty".to_owned())),
                Some(path) => Ok(path.into()),
            },
            Self::Filter => read_filter(text.ok_or(Refusal::WrongType)?),
            Self::Events { max_entries } => read_list::<FailEvent>(value, from_text, max_entries),
            Self::Deadlines { max_entries } => read_list::<EventDeadline>(value, from_text, max_entries),
            Self::Networks { max_entries } => read_list::<Network>(value, from_text, max_entries),
            Self::Identities { max_entries } => read_list::<Allowed>(value, from_text, max_entries),
            Self::Secret { min_chars, max_chars } => {
                // A value of `None` is the default: there is no secret.
                if value.to_empty().is_some() {
                    return Ok(value.clone());
                }
                let text = text.ok_or(Refusal::WrongType)?;
                if (min_chars..=max_chars).contains(&text.chars().count()) {
                    Ok(text.into())
                } else {
                    Err(Refusal::OutOfBounds)
                }
            }
        }
    }
}

/// What is allowed, in words that end an error message.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Switch => formatter.write_str("true or false"),
            Self::Integer { min, max, unit: "" } => write!(formatter, "{min} to {max}"),
            Self::Integer { min, max, unit } => write!(formatter, "{min} to {max} {unit}"),
            Self::Choice(names) => formatter.write_str(&names.join(" or ")),
            Self::Address => formatter.write_str("an address as IP:PORT, such as 127.0.0.1:3002 or [::1]:3002"),
            Self::Directory => formatter.write_str("a directory, which is made when it is missing"),
            Self::Filter => formatter.write_str(
                "off, error, warn, info, debug or trace, alone or per target as in warn,game_admin_backend=debug",
            ),
            Self::Events { max_entries } => write!(formatter, "at most {max_entries} entries such as \"/ chat\""),
            Self::Deadlines { max_entries } => write!(formatter, "at most {max_entries} entries such as \"/ export 2m\""),
            Self::Networks { max_entries } => write!(formatter, "at most {max_entries} networks such as 10.0.0.0/8"),
            Self::Identities { max_entries } => {
                write!(formatter, "at most {max_entries} entries such as 192.0.2.7, 10.0.0.0/8 or user:42")
            }
            Self::Secret { min_chars, max_chars } => write!(formatter, "a text of {min_chars} to {max_chars} characters"),
        }
    }
}

fn whole_number(value: &Value) -> Option<i128> {
    let number = value.to_num()?;
    number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}

fn read_address(text: &str) -> Result<Value, Refusal> {
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address.to_string().into()),
        Err(_) if text.starts_with("localhost:") => {
            Err(Refusal::Malformed("host names are not looked up; localhost is 127.0.0.1".to_owned()))
        }
        Err(_) if text.parse::<std::net::IpAddr>().is_ok() => {
            Err(Refusal::Malformed("the port is missing".to_owned()))
        }
        Err(_) => Err(Refusal::Malformed("it is not an IP address with a port".to_owned())),
    }
}

fn read_filter(text: &str) -> Result<Value, Refusal> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    if text.trim().is_empty() {
        return Err(Refusal::Malformed("it is empty".to_owned()));
    }
    // The filter reads a lone word that is no level as a target to log at every level. That turns a misspelt level into
    // silence for everything else, so a target must say its level here.
    let lone_words =
        text.split(',').map(str::trim).filter(|directive| !directive.contains(['=', '[', ']', '}']));
    for word in lone_words {
        if !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            return Err(Refusal::Malformed(format!("{word:?} is not a level")));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(Refusal::Malformed(error.to_string())),
    }
}

/// Reads a list whose entries have a form of their own.
fn read_list<T>(value: &Value, from_text: bool, max_entries: usize) -> Result<Value, Refusal>
where
    T: TryFrom<String, Error = String>,
    String: From<T>,
{
    let entries: Vec<String> = match (value, value.as_str()) {
        (Value::Array(_, entries), _) => entries
            .iter()
            .map(|entry| entry.as_str().map(str::to_owned).ok_or(Refusal::WrongType))
            .collect::<Result<_, _>>()?,
        (_, Some(text)) if from_text => {
            text.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
        }
        _ => return Err(Refusal::WrongType),
    };
    if entries.len() > max_entries {
        return Err(Refusal::OutOfBounds);
    }
    entries
        .into_iter()
        .map(|entry| T::try_from(entry).map(|entry| Value::from(String::from(entry))))
        .collect::<Result<Vec<_>, _>>()
        .map(|entries| Value::Array(Tag::Default, entries))
        .map_err(Refusal::Malformed)
}

/// A value as an error message or a listing shows it: texts quoted, long ones cut.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 200;

    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, character) => format!("{:?}", character.to_string()),
        Value::Bool(_, on) => on.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128(), number.to_f64()) {
            (Some(number), ..) => number.to_string(),
            (None, Some(number), _) => number.to_string(),
            (None, None, Some(number)) => number.to_string(),
            (None, None, None) => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(_, entries) => table(entries),
        Value::Array(_, entries) => format!("[{}]", entries.iter().map(shown).collect::<Vec<_>>().join(", ")),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn table(entries: &Dict) -> String {
    let names: Vec<_> = entries.keys().map(String::as_str).collect();
    format!("a table of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(kind: Kind, value: impl Into<Value>) -> Result<Value, Refusal> {
        kind.read(&value.into(), false)
    }

    fn text(kind: Kind, value: &str) -> Result<Value, Refusal> {
        kind.read(&value.into(), true)
    }

    #[test]
    fn bounds_are_included() {
        let kind = Kind::milliseconds(10, 20);
        assert_eq!(typed(kind, 10), Ok(10_u64.into()));
        assert_eq!(typed(kind, 20), Ok(20_u64.into()));
        for outside in [9, 21, -10] {
            assert_eq!(typed(kind, outside), Err(Refusal::OutOfBounds), "{outside}");
        }
        assert_eq!(typed(kind, u128::MAX), Err(Refusal::WrongType));
        assert_eq!(typed(kind, 10.5), Err(Refusal::WrongType));
    }

    #[test]
    fn a_text_is_a_number_only_where_texts_are_all_there_is() {
        let kind = Kind::count(0, 9);
        assert_eq!(text(kind, " 7"), Ok(7_u64.into()));
        assert_eq!(text(kind, "-7"), Err(Refusal::OutOfBounds));
        assert_eq!(text(kind, "7 ms"), Err(Refusal::WrongType));
        assert_eq!(typed(kind, "7"), Err(Refusal::WrongType));
        assert_eq!(text(Kind::Switch, "true"), Ok(true.into()));
        assert_eq!(text(Kind::Switch, "yes"), Err(Refusal::WrongType));
        assert_eq!(typed(Kind::Switch, "true"), Err(Refusal::WrongType));
    }

    #[test]
    fn a_secret_may_look_like_a_number() {
        let kind = Kind::Secret { min_chars: 8, max_chars: 10 };
        assert_eq!(text(kind, "12345678"), Ok("12345678".into()));
        assert_eq!(text(kind, "1234567"), Err(Refusal::OutOfBounds));
        assert_eq!(text(kind, "12345678901"), Err(Refusal::OutOfBounds));
        assert_eq!(typed(kind, 12_345_678), Err(Refusal::WrongType));
    }

    #[test]
    fn an_address_has_an_ip_and_a_port() {
        assert_eq!(text(Kind::Address, "[::1]:0"), Ok("[::1]:0".into()));
        for (wrong, why) in
            [("localhost:80", "localhost is 127.0.0.1"), ("127.0.0.1", "port is missing"), ("x", "IP")]
        {
            match text(Kind::Address, wrong) {
                Err(Refusal::Malformed(reason)) => assert!(reason.contains(why), "{reason}"),
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }

    /// A lone word that is no level would silence all other targets.
    #[test]
    fn a_misspelt_level_is_refused() {
        for right in ["info", "WARN", "warn,game_admin_backend=debug", "off,a[b{c=1}]=trace"] {
            assert_eq!(text(Kind::Filter, right), Ok(right.into()), "{right}");
        }
        for wrong in ["", "inof", "warn,game_admin_backend", "a=loud", "info,"] {
            assert!(matches!(text(Kind::Filter, wrong), Err(Refusal::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn events_are_a_list_or_a_text_with_commas() {
        let kind = Kind::Events { max_entries: 2 };
        let both = Value::from(vec!["/ chat", "/lab echo"]);
        assert_eq!(text(kind, "/ chat, /lab echo,"), Ok(both.clone()));
        assert_eq!(typed(kind, vec!["/ chat", "/lab echo"]), Ok(both));
        assert_eq!(text(kind, ""), Ok(Value::Array(Tag::Default, Vec::new())));
        assert_eq!(text(kind, "/ a, / b, / c"), Err(Refusal::OutOfBounds));
        assert!(matches!(text(kind, "chat"), Err(Refusal::Malformed(_))));
        assert_eq!(typed(kind, "/ chat"), Err(Refusal::WrongType));
        assert_eq!(typed(kind, vec![1]), Err(Refusal::WrongType));
    }

    #[test]
    fn what_is_shown_is_bounded() {
        assert!(shown(&"x".repeat(10_000).into()).chars().count() <= 201);
    }
}
