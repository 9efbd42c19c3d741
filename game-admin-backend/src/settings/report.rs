//! The listing of `check-config`.

use std::fmt::Write as _;

use super::load::Effective;

/// Every setting with its value, where it came from, and what is allowed.
///
/// The listing is itself a file of settings that gives the same values. Secrets are left out of it: their line is a
/// comment.
#[must_use]
pub fn report(effective: &Effective) -> String {
    let mut text = String::new();
    let mut section = "";
    for entry in &effective.entries {
        let setting = entry.setting;
        if setting.section != section {
            section = setting.section;
            let gap = if text.is_empty() { "" } else { "\n" };
            _ = writeln!(text, "{gap}[{section}]");
        }
        let assignment = match &entry.value {
            Some(value) if setting.kind.is_secret() => format!("# {} = {value}", setting.name()),
            Some(value) => format!("{} = {value}", setting.name()),
            None => format!("# {} is not set", setting.name()),
        };
        _ = writeln!(text, "{assignment:<44} # {}; allowed: {}", entry.origin, setting.kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Sources, load};

    fn sources(assignments: &[&str]) -> Sources {
        Sources {
            assignments: assignments.iter().map(|&assignment| assignment.to_owned()).collect(),
            ..Sources::default()
        }
    }

    #[test]
    fn each_line_says_value_origin_and_bounds() {
        let effective = load(&sources(&["recovery.grace_ms=750"])).expect("valid");
        let report = report(&effective);
        let line =
            |name: &str| report.lines().find(|line| line.starts_with(name)).expect("listed").to_owned();

        assert!(line("grace_ms").contains("grace_ms = 750"));
        assert!(line("grace_ms").ends_with("# flag --set; allowed: 0 to 10000 ms"));
        assert!(line("listen").contains("\"127.0.0.1:3002\""));
        assert!(line("listen").contains("# default;"));
        assert!(line("# token is not set").contains("# default;"));
    }

    #[test]
    fn a_secret_is_masked() {
        let effective = load(&sources(&["admin.token=open sesame"])).expect("valid");
        let report = report(&effective);
        assert!(!report.contains("sesame"), "{report}");
        assert!(report.contains("# token = ********"), "{report}");
    }

    /// The listing may be saved and given as `--config`.
    #[test]
    fn the_listing_is_a_file_of_settings_with_the_same_values() {
        use figment::providers::{Format, Toml};

        let given = sources(&[
            "detection.fail_events=/ chat,/lab say \"hi\"",
            "detection.deadlines=/ export 2m",
            "recovery.quarantine_allow=10.0.0.0/8,user:42",
            "server.trusted_proxies=::1",
            "server.lab=true",
            "logging.level=warn",
        ]);
        let effective = load(&given).expect("valid");
        let read: Settings = Toml::from_str(&report(&effective)).expect("the listing is TOML");
        assert_eq!(read, effective.settings);
        assert_eq!(read.detection.fail_events.len(), 2);
    }
}
