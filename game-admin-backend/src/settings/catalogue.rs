//! The list of all settings, and the search for the one that a misspelt key meant.

use super::{
    kind::Kind,
    sections::{Admin, Detection, Logging, Monitoring, Recovery, Server, Supervisor},
};

/// What is known of a setting before any value is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setting {
    /// The section it belongs to, for example `recovery`.
    pub section: &'static str,
    /// Its full key, for example `recovery.grace_ms`.
    pub key: &'static str,
    /// What it does, in one or two sentences.
    pub about: &'static str,
    /// Which values it takes.
    pub kind: Kind,
}

impl Setting {
    /// The part of the key after the section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.key[self.section.len() + 1..]
    }
}

/// Every setting, section by section, in the order in which `check-config` prints them.
pub fn catalogue() -> impl Iterator<Item = &'static Setting> {
    [
        Server::CATALOGUE,
        Admin::CATALOGUE,
        Detection::CATALOGUE,
        Recovery::CATALOGUE,
        Monitoring::CATALOGUE,
        Supervisor::CATALOGUE,
        Logging::CATALOGUE,
    ]
    .into_iter()
    .flatten()
}

/// The setting with exactly this key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    catalogue().find(|setting| setting.key == key)
}

/// The settings of a section; none if there is no such section.
pub(super) fn section(name: &str) -> impl Iterator<Item = &'static Setting> {
    catalogue().filter(move |setting| setting.section == name)
}

/// The key that an unknown key most likely meant, if one is close enough.
///
/// Close is: the same but for `.`, `-`, `_` and case; or the right name in the wrong section or in none; or at most one
/// wrong letter in four.
pub(super) fn suggestion(unknown: &str) -> Option<&'static str> {
    let plain = |key: &str| key.to_ascii_lowercase().replace(['.', '-'], "_");
    let wanted = plain(unknown);
    let last = plain(unknown.rsplit('.').next().unwrap_or(unknown));

    let distance = |setting: &Setting| {
        strsim::damerau_levenshtein(&plain(setting.key), &wanted)
            .min(strsim::damerau_levenshtein(setting.name(), &last))
    };
    catalogue()
        .map(|setting| (distance(setting), setting))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, setting)| *distance <= setting.name().len() / 4)
        .map(|(_, setting)| setting.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    /// Fails when a section is missing from [`catalogue`]: its settings would be refused as unknown.
    #[test]
    fn the_catalogue_lists_every_field_of_the_settings() {
        let settings = serde_json::to_value(Settings::default()).expect("settings serialize");
        let mut fields: Vec<String> = settings
            .as_object()
            .expect("settings are sections")
            .iter()
            .flat_map(|(section, names)| {
                let names = names.as_object().expect("a section is a table");
                names.keys().map(move |name| format!("{section}.{name}"))
            })
            .collect();
        let mut keys: Vec<String> = catalogue().map(|setting| setting.key.to_owned()).collect();
        fields.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, fields);
    }

    #[test]
    fn a_number_has_its_unit_in_its_name() {
        for setting in catalogue() {
            match setting.kind {
                Kind::Integer { unit: "ms", .. } => {
                    assert!(setting.key.ends_with("_ms"), "{}", setting.key)
                }
                Kind::Integer { unit: "bytes", .. } => {
                    assert!(setting.key.ends_with("_bytes"), "{}", setting.key)
                }
                _ => {}
            }
            assert!(setting.about.trim().ends_with('.'), "{}", setting.key);
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        for (unknown, meant) in [
            ("recovery.grace_msec", "recovery.grace_ms"),
            ("recovery.garce_ms", "recovery.grace_ms"),
            ("recovery.grace-ms", "recovery.grace_ms"),
            ("server.grace_ms", "recovery.grace_ms"),
            ("grace_ms", "recovery.grace_ms"),
            ("server_listen", "server.listen"),
            ("server_lab", "server.lab"),
            ("logging.Level", "logging.level"),
        ] {
            assert_eq!(suggestion(unknown), Some(meant), "{unknown}");
        }
    }

    #[test]
    fn a_key_like_no_other_finds_nothing() {
        assert_eq!(suggestion("weather.forecast"), None);
        assert_eq!(suggestion(""), None);
    }
}
