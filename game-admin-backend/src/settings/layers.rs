//! The sources of settings, each read into layers that are then laid over one another.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use figment::{
    Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{
    catalogue,
    kind::shown,
    origin::{ENVIRONMENT_PREFIX, Origin},
    problem::Problem,
};

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "watertight.toml";

/// Everything that may give settings, gathered without reading any of it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that `--config` names. Without it, `watertight.toml` is read if it is there.
    pub file: Option<PathBuf>,
    /// Where `watertight.toml` is looked for.
    pub directory: PathBuf,
    /// All environment variables; those that are no settings are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// What the flags set: the flag as it is called, the key, and the value.
    pub flags: Vec<(String, String, String)>,
    /// What follows each `--set`.
    pub assignments: Vec<String>,
    /// The port of `--port`, laid over the listen address last.
    pub port: Option<u16>,
}

impl Sources {
    /// The environment variables that begin as settings do and are far from any: neither two underscores, which separate
    /// a section from a name, nor a likeness. Other programs may have such variables, so they are no error; a warning is
    /// due.
    #[must_use]
    pub fn ignored_variables(&self) -> Vec<String> {
        let names = self.environment.iter().map(|(name, _)| name.to_string_lossy().into_owned());
        let is_ignored = |setting: &str| !is_meant(setting) && !OF_THE_PARENT.eq_ignore_ascii_case(setting);
        names.filter(|name| setting_of(name).is_some_and(is_ignored)).collect()
    }
}

/// What follows the prefix in the name of the variable that a parent process sets for the server.
const OF_THE_PARENT: &str = "SUPERVISED";

/// What follows the prefix in the name of a variable. Names ignore case on Windows and come as they were first written.
fn setting_of(name: &str) -> Option<&str> {
    let (prefix, setting) = name.split_at_checked(ENVIRONMENT_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(ENVIRONMENT_PREFIX).then_some(setting)
}

/// Whether a variable means a setting, well or badly spelled.
fn is_meant(setting: &str) -> bool {
    setting.contains("__") || catalogue::suggestion(&setting.to_ascii_lowercase()).is_some()
}

/// The settings that one source gives.
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) values: Dict,
}

impl Layer {
    fn single(origin: Origin, key: &str, value: &str) -> Self {
        // A value without a section stays at the top, where the check of the structure finds it.
        let values = match key.split_once('.') {
            Some((section, name)) => {
                let inner = Dict::from([(name.to_owned(), Value::from(value))]);
                Dict::from([(section.to_owned(), Value::from(inner))])
            }
            None => Dict::from([(key.to_owned(), Value::from(value))]),
        };
        Self { origin, values }
    }

    /// Removes what is not a setting, and says what that was.
    pub(super) fn check_structure(&mut self, problems: &mut Vec<Problem>) {
        let origin = &self.origin;
        let unknown = |key: String| Problem::UnknownKey {
            suggestion: catalogue::suggestion(&key).map(|suggestion| origin.spelling(suggestion)),
            key: match origin {
                Origin::Environment(name) => name.clone(),
                _ => key,
            },
            origin: origin.clone(),
        };
        self.values.retain(|section, value| {
            let known = catalogue::section(section).next().is_some();
            match value {
                Value::Dict(_, settings) if known => {
                    settings.retain(|name, _| {
                        let key = format!("{section}.{name}");
                        let known = catalogue::find(&key).is_some();
                        if !known {
                            problems.push(unknown(key));
                        }
                        known
                    });
                    true
                }
                value if known => {
                    problems.push(Problem::NotASection {
                        section: section.clone(),
                        // The value may be a secret in the wrong place.
                        value: match section.as_str() {
                            "admin" => super::Secret::MASK.to_owned(),
                            _ => shown(value),
                        },
                        origin: origin.clone(),
                    });
                    false
                }
                Value::Dict(_, settings) if !settings.is_empty() => {
                    problems.extend(settings.keys().map(|name| unknown(format!("{section}.{name}"))));
                    false
                }
                _ => {
                    problems.push(unknown(section.clone()));
                    false
                }
            }
        });
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.origin.to_metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Reads every source but the defaults, the weakest first.
pub(super) fn read(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    layers.extend(read_file(sources, problems));
    layers.extend(read_environment(&sources.environment, problems));
    layers.extend(read_flags(sources, problems));
    layers
}

fn read_file(sources: &Sources, problems: &mut Vec<Problem>) -> Option<Layer> {
    let path = sources.file.clone().unwrap_or_else(|| sources.directory.join(DEFAULT_FILE));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.file.is_none() => {
            return None;
        }
        Err(source) => {
            problems.push(Problem::FileUnreadable { path, source });
            return None;
        }
    };
    match parse_file(&path, &text) {
        Ok(values) => Some(Layer { origin: Origin::File(path), values }),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Dict, Problem> {
    // A byte order mark, which some Windows editors write, is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Toml::from_str(text).map_err(|error| Problem::FileSyntax {
        path: path.to_owned(),
        place: error.span().and_then(|span| text.get(..span.start)).map(|before| {
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        }),
        // The message alone: the long form quotes the line, which may hold a secret.
        detail: error.message().trim().replace('\n', ", "),
    })
}

fn read_environment(variables: &[(OsString, OsString)], problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(rest) = setting_of(&name).filter(|setting| is_meant(setting)) else { continue };
        match value.to_str() {
            Some(value) => {
                let key = rest.to_ascii_lowercase().replace("__", ".");
                layers.push(Layer::single(Origin::Environment(name.into_owned()), &key, value));
            }
            None => problems.push(Problem::NotText { variable: name.into_owned() }),
        }
    }
    layers
}

fn read_flags(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut given: Vec<(String, String, String)> = sources.flags.clone();
    for assignment in &sources.assignments {
        match assignment.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                given.push(("--set".to_owned(), key.trim().to_owned(), value.to_owned()));
            }
            _ => problems.push(Problem::SetSyntax { given: assignment.clone() }),
        }
    }

    let mut layers: Vec<Layer> = Vec::new();
    for (index, (flag, key, value)) in given.iter().enumerate() {
        match given[..index].iter().find(|(_, earlier, _)| earlier == key) {
            Some((first, ..)) => problems.push(Problem::GivenTwice {
                key: key.clone(),
                first: first.clone(),
                second: flag.clone(),
            }),
            None => layers.push(Layer::single(Origin::Flag(flag.clone()), key, value)),
        }
    }
    layers
}
