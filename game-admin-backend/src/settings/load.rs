//! From sources to settings: read, merge, check, all problems at once.

use figment::{
    Figment,
    providers::Serialized,
    value::{Dict, Value},
};

use super::{
    Secret, Settings,
    catalogue::{Setting, catalogue},
    kind::{Refusal, shown},
    layers::{self, Sources},
    origin::Origin,
    problem::{Given, Problem, Problems},
};

/// The settings in force, and where each came from.
#[derive(Debug)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    /// Each setting with its value and origin, in the order of the catalogue.
    pub entries: Vec<Entry>,
}

/// One setting in force.
#[derive(Debug)]
pub struct Entry {
    /// What the setting is.
    pub setting: &'static Setting,
    /// Its value as TOML writes it, a mask if it is secret; `None` if an optional one is not set.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

/// Settings of which the first must not be larger than the second.
const ORDERED: [(&str, &str); 5] = [
    ("detection.stall_warn_ms", "detection.stall_limit_ms"),
    ("detection.warn_score", "detection.disconnect_score"),
    ("detection.disconnect_score", "detection.quarantine_score"),
    ("recovery.disconnect_cleanup_ms", "recovery.disconnect_deadline_ms"),
    ("recovery.quarantine_base_ms", "recovery.quarantine_cap_ms"),
];

/// Reads all sources, lays them over the defaults and checks every value.
///
/// # Errors
///
/// Everything that is wrong in any source; see [`Problem`].
pub fn load(sources: &Sources) -> Result<Effective, Problems> {
    let mut problems = Vec::new();
    let mut layers = layers::read(sources, &mut problems);
    for layer in &mut layers {
        layer.check_structure(&mut problems);
    }

    let figment =
        layers.into_iter().fold(Figment::from(Serialized::defaults(Settings::default())), Figment::merge);
    let mut accepted = Vec::new();
    for setting in catalogue() {
        match read_setting(&figment, setting) {
            Ok((value, origin)) => accepted.push((setting, value, origin)),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(port) = sources.port {
        replace_port(&mut accepted, port);
    }
    for (smaller, larger) in ORDERED {
        check_order(&accepted, smaller, larger, &mut problems);
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }

    let settings = typed(&accepted).map_err(|problem| Problems(vec![problem]))?;
    let entries = accepted
        .into_iter()
        .map(|(setting, value, origin)| Entry { setting, value: listed(setting, &value), origin })
        .collect();
    Ok(Effective { settings, entries })
}

fn read_setting(figment: &Figment, setting: &'static Setting) -> Result<(Value, Origin), Problem> {
    let value =
        figment.find_value(setting.key).map_err(|error| Problem::Unreadable { detail: error.to_string() })?;
    let origin = figment.get_metadata(value.tag()).map_or(Origin::Default, Origin::from_metadata);
    let key = setting.key;
    let text = if setting.kind.is_secret() { Secret::MASK.to_owned() } else { shown(&value) };
    let allowed = setting.kind.to_string();
    match setting.kind.read(&value, origin.is_text()) {
        Ok(value) => Ok((value, origin)),
        Err(Refusal::WrongType) => Err(Problem::WrongType { key, value: text, origin, allowed }),
        Err(Refusal::OutOfBounds) => Err(Problem::OutOfBounds { key, value: text, origin, allowed }),
        Err(Refusal::Malformed(reason)) => {
            Err(Problem::Malformed { key, value: text, origin, reason, allowed })
        }
    }
}

fn replace_port(accepted: &mut [(&'static Setting, Value, Origin)], port: u16) {
    let Some((_, value, origin)) = accepted.iter_mut().find(|(setting, ..)| setting.key == "server.listen")
    else {
        // The address itself is wrong and already a problem.
        return;
    };
    if let Some(Ok(mut address)) = value.as_str().map(str::parse::<std::net::SocketAddr>) {
        address.set_port(port);
        *value = address.to_string().into();
        *origin = Origin::Flag("--port".to_owned());
    }
}

/// Checks that one number does not exceed another.
fn check_order(
    accepted: &[(&'static Setting, Value, Origin)],
    smaller: &'static str,
    larger: &'static str,
    problems: &mut Vec<Problem>,
) {
    let find = |key| accepted.iter().find(|(setting, ..)| setting.key == key);
    let (Some((_, small, small_origin)), Some((_, large, large_origin))) = (find(smaller), find(larger))
    else {
        return;
    };
    if small.to_u128() > large.to_u128() {
        let given = |key, value, origin: &Origin| {
            Box::new(Given { key, value: shown(value), origin: origin.clone() })
        };
        problems.push(Problem::Contradiction {
            smaller: given(smaller, small, small_origin),
            larger: given(larger, large, large_origin),
        });
    }
}

fn typed(accepted: &[(&'static Setting, Value, Origin)]) -> Result<Settings, Problem> {
    let mut sections: std::collections::BTreeMap<&str, Dict> = std::collections::BTreeMap::new();
    for (setting, value, _) in accepted {
        sections.entry(setting.section).or_default().insert(setting.name().to_owned(), value.clone());
    }
    Value::from(sections).deserialize().map_err(|error| Problem::Unreadable { detail: error.to_string() })
}

fn listed(setting: &Setting, value: &Value) -> Option<String> {
    if value.to_empty().is_some() {
        None
    } else if setting.kind.is_secret() {
        Some(Secret::MASK.to_owned())
    } else {
        Some(full(value))
    }
}

/// A checked value in TOML, never cut.
fn full(value: &Value) -> String {
    match value {
        // A JSON string is a TOML basic string too.
        Value::String(_, text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Array(_, entries) => format!("[{}]", entries.iter().map(full).collect::<Vec<_>>().join(", ")),
        other => shown(other),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
