//! Where a value came from.

use std::{fmt, path::PathBuf};

use figment::{Metadata, Source};

/// Prefix of all environment variables that are settings.
pub(super) const ENVIRONMENT_PREFIX: &str = "WATERTIGHT_";

const FLAG: &str = "flag";
const ENVIRONMENT: &str = "environment variable";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A file of settings.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// A flag on the command line, for example `--port`.
    Flag(String),
}

impl Origin {
    /// Whether this source can only give texts, whatever the type of the setting.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Environment(_) | Self::Flag(_))
    }

    /// How a setting is named in this source.
    pub(super) fn spelling(&self, key: &str) -> String {
        match self {
            Self::Environment(_) => {
                format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
            }
            Self::Default | Self::File(_) | Self::Flag(_) => key.to_owned(),
        }
    }

    /// The mark that a value of this origin carries through the merge.
    pub(super) fn to_metadata(&self) -> Metadata {
        match self {
            Self::Default => Metadata::named("default"),
            Self::File(path) => Metadata::from("file", Source::File(path.clone())),
            Self::Environment(name) => Metadata::from(ENVIRONMENT, Source::Custom(name.clone())),
            Self::Flag(name) => Metadata::from(FLAG, Source::Custom(name.clone())),
        }
    }

    /// Reads the mark again.
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        match (metadata.name.as_ref(), &metadata.source) {
            (_, Some(Source::File(path))) => Self::File(path.clone()),
            (ENVIRONMENT, Some(Source::Custom(name))) => Self::Environment(name.clone()),
            (FLAG, Some(Source::Custom(name))) => Self::Flag(name.clone()),
            _ => Self::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "flag {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_as_it_was_made() {
        for origin in [
            Origin::Default,
            Origin::File("a/watertight.toml".into()),
            Origin::Environment("WATERTIGHT_SERVER__LAB".to_owned()),
            Origin::Flag("--lab".to_owned()),
        ] {
            assert_eq!(Origin::from_metadata(&origin.to_metadata()), origin);
        }
    }
}
