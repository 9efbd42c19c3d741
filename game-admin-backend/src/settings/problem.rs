//! What can be wrong with settings, in words that name the setting, the value, what is allowed and who gave it.

use std::{fmt, io, path::PathBuf};

use super::origin::Origin;

/// One thing that is wrong with the given settings.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such setting.
    UnknownKey {
        /// The key as it was given.
        key: String,
        /// Who gave it.
        origin: Origin,
        /// The setting that was probably meant, spelt as its source would.
        suggestion: Option<String>,
    },
    /// A section was given a value instead of settings.
    NotASection {
        /// The section.
        section: String,
        /// The value, as text.
        value: String,
        /// Who gave it.
        origin: Origin,
    },
    /// The value is of another type, for example a text where a number belongs.
    WrongType {
        /// The setting.
        key: &'static str,
        /// The value, as text; a mask if it is secret.
        value: String,
        /// Who gave it.
        origin: Origin,
        /// What is allowed.
        allowed: String,
    },
    /// The value is too small, too large, too short or too long.
    OutOfBounds {
        /// The setting.
        key: &'static str,
        /// The value, as text; a mask if it is secret.
        value: String,
        /// Who gave it.
        origin: Origin,
        /// What is allowed.
        allowed: String,
    },
    /// The value has the right type and no meaning.
    Malformed {
        /// The setting.
        key: &'static str,
        /// The value, as text; a mask if it is secret.
        value: String,
        /// Who gave it.
        origin: Origin,
        /// Why it means nothing.
        reason: String,
        /// What is allowed.
        allowed: String,
    },
    /// Two settings are each within their bounds and do not fit together.
    Contradiction {
        /// The setting that must not be the larger one.
        smaller: Box<Given>,
        /// The setting that must not be the smaller one.
        larger: Box<Given>,
    },
    /// The command line gives one setting twice.
    GivenTwice {
        /// The setting.
        key: String,
        /// The flag that gave it first.
        first: String,
        /// The flag that gave it again.
        second: String,
    },
    /// What follows `--set` is not `SECTION.KEY=VALUE`.
    SetSyntax {
        /// What follows it.
        given: String,
    },
    /// An environment variable is not text.
    NotText {
        /// Its name, with what is not text replaced.
        variable: String,
    },
    /// The file of settings cannot be read.
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of settings is not TOML.
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// Line and column of the first mistake, both from 1, if known.
        place: Option<(usize, usize)>,
        /// What is wrong there.
        detail: String,
    },
    /// The settings passed every check and still do not fit their types.
    Unreadable {
        /// What does not fit.
        detail: String,
    },
}

/// A setting with the value that it was given.
#[derive(Debug)]
pub struct Given {
    /// The setting.
    pub key: &'static str,
    /// The value, as text.
    pub value: String,
    /// Who gave it.
    pub origin: Origin,
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin } = self;
        write!(formatter, "{key} = {value} ({origin})")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, origin, suggestion } => {
                write!(formatter, "there is no setting {key} ({origin})")?;
                match suggestion {
                    Some(suggestion) => write!(formatter, "; did you mean {suggestion}?"),
                    None => formatter.write_str("; check-config without it lists all settings"),
                }
            }
            Self::NotASection { section, value, origin } => {
                write!(formatter, "{section} = {value} ({origin}) is not a setting but a section of settings")
            }
            Self::WrongType { key, value, origin, allowed } => {
                write!(formatter, "{key} = {value} ({origin}) has the wrong type; allowed: {allowed}")
            }
            Self::OutOfBounds { key, value, origin, allowed } => {
                write!(formatter, "{key} = {value} ({origin}) is out of bounds; allowed: {allowed}")
            }
            Self::Malformed { key, value, origin, reason, allowed } => {
                write!(formatter, "{key} = {value} ({origin}) is not valid: {reason}; allowed: {allowed}")
            }
            Self::Contradiction { smaller, larger } => {
                write!(formatter, "{smaller} must not be larger than {larger}")
            }
            Self::GivenTwice { key, first, second } if first == second => {
                write!(formatter, "{key} is given twice: by {first}")
            }
            Self::GivenTwice { key, first, second } => {
                write!(formatter, "{key} is given twice: by {first} and by {second}")
            }
            Self::SetSyntax { given } => {
                write!(
                    formatter,
                    "--set {given:?} is not valid; allowed: SECTION.KEY=VALUE, such as recovery.grace_ms=500"
                )
            }
            Self::NotText { variable } => {
                write!(formatter, "the value of environment variable {variable} is not valid UTF-8")
            }
            Self::FileUnreadable { path, source } => {
                write!(formatter, "cannot read the settings file {}: {source}", path.display())
            }
            Self::FileSyntax { path, place: Some((line, column)), detail } => {
                write!(formatter, "{}:{line}:{column}: not valid TOML: {detail}", path.display())
            }
            Self::FileSyntax { path, place: None, detail } => {
                write!(formatter, "{}: not valid TOML: {detail}", path.display())
            }
            Self::Unreadable { detail } => {
                write!(formatter, "the settings do not fit together: {detail}")
            }
        }
    }
}

/// Everything that is wrong with the given settings, one problem to a line.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
