use std::{ffi::OsString, fs, path::PathBuf};

use super::*;

/// A directory of its own for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("watertight-settings-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the test's directory is writable");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn file(directory: &Directory, text: &str) -> Sources {
    Sources { file: Some(directory.write("settings.toml", text)), ..Sources::default() }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        ..Sources::default()
    }
}

fn assignments(given: &[&str]) -> Sources {
    Sources {
        assignments: given.iter().map(|&assignment| assignment.to_owned()).collect(),
        ..Sources::default()
    }
}

fn messages(sources: &Sources) -> Vec<String> {
    let problems = load(sources).expect_err("the settings are wrong");
    problems.0.iter().map(ToString::to_string).collect()
}

fn origin<'a>(effective: &'a Effective, key: &str) -> &'a Origin {
    &effective.entries.iter().find(|entry| entry.setting.key == key).expect("a known key").origin
}

#[test]
fn without_sources_the_defaults_hold() {
    let effective = load(&Sources::default()).expect("the defaults are valid");
    assert_eq!(effective.settings, Settings::default());
    assert_eq!(effective.settings.server.listen.to_string(), "127.0.0.1:3002");
    assert!(effective.entries.iter().all(|entry| entry.origin == Origin::Default));
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_defaults() {
    let directory = Directory::new("precedence");
    let path = directory.write(
        "settings.toml",
        "[recovery]\ngrace_ms = 1\nquiet_period_ms = 1001\nretry_after_ms = 11\n[server]\nlab = true\n",
    );
    let sources = Sources {
        file: Some(path.clone()),
        assignments: vec!["recovery.grace_ms=3".to_owned()],
        ..environment(&[
            ("WATERTIGHT_RECOVERY__GRACE_MS", "2"),
            ("WATERTIGHT_RECOVERY__QUIET_PERIOD_MS", "1002"),
            ("PATH", "/bin"),
        ])
    };
    let effective = load(&sources).expect("valid");
    let recovery = &effective.settings.recovery;

    assert_eq!(recovery.grace_ms, 3);
    assert_eq!(origin(&effective, "recovery.grace_ms"), &Origin::Flag("--set".to_owned()));
    assert_eq!(recovery.quiet_period_ms, 1002);
    let variable = "WATERTIGHT_RECOVERY__QUIET_PERIOD_MS".to_owned();
    assert_eq!(origin(&effective, "recovery.quiet_period_ms"), &Origin::Environment(variable));
    assert_eq!(recovery.retry_after_ms, 11);
    assert_eq!(origin(&effective, "recovery.retry_after_ms"), &Origin::File(path));
    assert_eq!(recovery.disconnect_cleanup_ms, 500);
    assert_eq!(origin(&effective, "recovery.disconnect_cleanup_ms"), &Origin::Default);
    assert!(effective.settings.server.lab);
}

#[test]
fn the_file_in_the_working_directory_is_read_unless_another_is_named() {
    let directory = Directory::new("working-directory");
    let path = directory.write("watertight.toml", "[recovery]\ngrace_ms = 9\n");
    let found = Sources { directory: directory.0.clone(), ..Sources::default() };
    let effective = load(&found).expect("valid");
    assert_eq!(effective.settings.recovery.grace_ms, 9);
    assert_eq!(origin(&effective, "recovery.grace_ms"), &Origin::File(path));

    let named = Sources { file: Some(directory.write("other.toml", "")), ..found };
    assert_eq!(load(&named).expect("valid").settings.recovery.grace_ms, 300);
}

#[test]
fn every_type_can_come_from_the_environment() {
    let effective = load(&environment(&[
        ("WATERTIGHT_SERVER__LISTEN", "[::1]:0"),
        ("WATERTIGHT_SERVER__LAB", "true"),
        ("WATERTIGHT_ADMIN__TOKEN", "1234567890"),
        ("WATERTIGHT_DETECTION__FAIL_EVENTS", "/ chat, / move"),
        ("WATERTIGHT_DETECTION__DEADLINES", "/ export 2m, /lab * 0"),
        ("WATERTIGHT_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("WATERTIGHT_RECOVERY__QUARANTINE_ALLOW", "192.0.2.7,user:42"),
        ("WATERTIGHT_LOGGING__FORMAT", "json"),
        ("watertight_logging__level", "debug"),
    ]))
    .expect("valid");
    let settings = effective.settings;
    assert_eq!(settings.server.listen.to_string(), "[::1]:0");
    assert!(settings.server.lab);
    assert!(settings.admin.token.expect("set").matches("1234567890"));
    assert_eq!(settings.detection.fail_events.len(), 2);
    let deadlines: Vec<String> = settings.detection.deadlines.into_iter().map(String::from).collect();
    assert_eq!(deadlines, ["/ export 120000ms", "/lab * 0ms"]);
    let proxies: Vec<_> =
        settings.server.trusted_proxies.iter().map(crate::settings::Network::as_str).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1"]);
    assert_eq!(settings.recovery.quarantine_allow.len(), 2);
    assert_eq!(settings.logging.format, crate::settings::LogFormat::Json);
    assert_eq!(settings.logging.level, "debug");
}

#[test]
fn the_port_flag_keeps_the_host() {
    let directory = Directory::new("port");
    let sources = Sources { port: Some(0), ..file(&directory, "[server]\nlisten = \"[::1]:80\"\n") };
    let effective = load(&sources).expect("valid");
    assert_eq!(effective.settings.server.listen.to_string(), "[::1]:0");
    assert_eq!(origin(&effective, "server.listen"), &Origin::Flag("--port".to_owned()));
}

#[test]
fn an_unknown_key_is_named_with_its_source_and_its_neighbour() {
    let directory = Directory::new("unknown");
    let text = "surprise = 1\n[recovery]\ngrace_msec = 1\n[weather]\nforecast = \"rain\"\n";
    let sources = file(&directory, text);
    let path = sources.file.as_ref().expect("named").display().to_string();
    let found = messages(&sources);
    assert!(
        found.contains(&format!(
            "there is no setting recovery.grace_msec (file {path}); did you mean recovery.grace_ms?"
        )),
        "{found:#?}"
    );
    assert!(found.iter().any(|message| message.starts_with("there is no setting weather.forecast (file ")));
    assert!(found.iter().any(|message| message.starts_with("there is no setting surprise (file ")));
    assert_eq!(found.len(), 3);

    assert_eq!(
        messages(&environment(&[("WATERTIGHT_SERVER_LISTEN", "x")])),
        ["there is no setting WATERTIGHT_SERVER_LISTEN (environment variable WATERTIGHT_SERVER_LISTEN); \
          did you mean WATERTIGHT_SERVER__LISTEN?"]
    );
    assert_eq!(
        messages(&assignments(&["logging.levle=info"])),
        ["there is no setting logging.levle (flag --set); did you mean logging.level?"]
    );
}

#[test]
fn variables_of_other_programs_are_no_settings() {
    let sources = environment(&[
        ("WATERTIGHT_BENCH", "x"),
        ("WATERTIGHT_SERVER__LAB", "true"),
        ("PATH", "/bin"),
        // From the parent process.
        ("WATERTIGHT_SUPERVISED", "1 42"),
    ]);
    assert!(load(&sources).expect("valid").settings.server.lab);
    assert_eq!(sources.ignored_variables(), ["WATERTIGHT_BENCH"]);
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed_and_who_gave_it() {
    let directory = Directory::new("wrong-value");
    let sources = file(&directory, "[recovery]\ngrace_ms = 20000\nretry_after_ms = \"1000\"\n");
    let path = sources.file.as_ref().expect("named").display().to_string();
    assert_eq!(
        messages(&sources),
        [
            format!("recovery.grace_ms = 20000 (file {path}) is out of bounds; allowed: 0 to 10000 ms"),
            format!(
                "recovery.retry_after_ms = \"1000\" (file {path}) has the wrong type; allowed: 0 to 600000 ms"
            ),
        ]
    );
    assert_eq!(
        messages(&environment(&[("WATERTIGHT_LOGGING__FORMAT", "xml")])),
        ["logging.format = \"xml\" (environment variable WATERTIGHT_LOGGING__FORMAT) is not valid: \
          there is no such choice; allowed: human or json"]
    );
    assert_eq!(
        messages(&assignments(&["server.listen=localhost:3002"])),
        [
            "server.listen = \"localhost:3002\" (flag --set) is not valid: host names are not looked up; localhost is \
          127.0.0.1; allowed: an address as IP:PORT, such as 127.0.0.1:3002 or [::1]:3002"
        ]
    );
}

#[test]
fn a_wrong_entry_of_a_list_is_named_with_an_example() {
    for (given, what) in [
        ("detection.deadlines=/ export soon", "such as \"/ export 2m\""),
        ("server.trusted_proxies=10.0.0.0/64", "such as 10.0.0.0/8"),
        ("recovery.quarantine_allow=10.0.0.0/64", "such as 192.0.2.7, 10.0.0.0/8 or user:42"),
    ] {
        let found = messages(&assignments(&[given]));
        let key = given.split('=').next().unwrap_or_default();
        assert!(found[0].starts_with(key) && found[0].contains(what), "{found:?}");
    }
}

#[test]
fn a_wrong_secret_is_not_shown() {
    let found = messages(&environment(&[("WATERTIGHT_ADMIN__TOKEN", "sesame")]));
    assert_eq!(
        found,
        ["admin.token = ******** (environment variable WATERTIGHT_ADMIN__TOKEN) is out of bounds; \
          allowed: a text of 8 to 256 characters"]
    );
    let directory = Directory::new("secret");
    let found = messages(&file(&directory, "admin = \"sesame\"\n"));
    assert!(!found[0].contains("sesame"), "{found:?}");
}

#[test]
fn a_section_is_not_a_setting_and_a_setting_is_not_a_section() {
    let assigned = Sources { assignments: vec!["server=x".to_owned()], ..Sources::default() };
    assert_eq!(
        messages(&assigned),
        ["server = \"x\" (flag --set) is not a setting but a section of settings"]
    );
    let directory = Directory::new("section");
    let found = messages(&file(&directory, "[server.listen]\nhost = \"::1\"\n"));
    assert!(found[0].starts_with("server.listen = a table of host (file "), "{found:?}");
    assert!(found[0].contains("has the wrong type"), "{found:?}");
}

#[test]
fn settings_that_exclude_each_other_are_both_named() {
    let sources = Sources {
        assignments: vec!["recovery.disconnect_cleanup_ms=2000".to_owned()],
        ..environment(&[("WATERTIGHT_RECOVERY__DISCONNECT_DEADLINE_MS", "1000")])
    };
    assert_eq!(
        messages(&sources),
        [
            "recovery.disconnect_cleanup_ms = 2000 (flag --set) must not be larger than recovery.disconnect_deadline_ms = \
          1000 (environment variable WATERTIGHT_RECOVERY__DISCONNECT_DEADLINE_MS)"
        ]
    );
}

/// What is found only when the isolation is installed would be named in the library's words, and not by `check-config`.
#[test]
fn every_order_that_the_library_wants_is_checked_here() {
    for (given, named) in [
        (
            "detection.stall_warn_ms=3000",
            ["detection.stall_warn_ms = 3000", "detection.stall_limit_ms = 2000"],
        ),
        ("detection.disconnect_score=9", ["detection.warn_score = 10", "detection.disconnect_score = 9"]),
        (
            "detection.disconnect_score=41",
            ["detection.disconnect_score = 41", "detection.quarantine_score = 40"],
        ),
        (
            "recovery.quarantine_cap_ms=9999",
            ["recovery.quarantine_base_ms = 10000", "recovery.quarantine_cap_ms = 9999"],
        ),
    ] {
        let found = messages(&assignments(&[given]));
        assert_eq!(found.len(), 1, "{found:?}");
        let parts: Vec<_> = found[0].split(" must not be larger than ").collect();
        for (part, named) in parts.iter().zip(named) {
            assert!(part.starts_with(named), "{given}: {found:?}");
        }
        assert!(found[0].contains("(flag --set)") && found[0].contains("(default)"), "{found:?}");
    }
    assert!(load(&assignments(&["detection.warn_score=20", "recovery.quarantine_cap_ms=10000"])).is_ok());
}

#[test]
fn the_command_line_gives_a_setting_once() {
    let sources = Sources {
        flags: vec![("--lab".to_owned(), "server.lab".to_owned(), "true".to_owned())],
        assignments: vec!["server.lab=false".to_owned(), "recovery.grace_ms".to_owned(), "=1".to_owned()],
        ..Sources::default()
    };
    let found = messages(&sources);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&"server.lab is given twice: by --lab and by --set".to_owned()), "{found:?}");
    assert!(
        found.iter().any(|message| message.starts_with("--set \"recovery.grace_ms\" is not valid")),
        "{found:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = Directory::new("unreadable");
    let path = directory.0.join("missing.toml");
    let found = messages(&Sources { file: Some(path.clone()), ..Sources::default() });
    assert!(
        found[0].starts_with(&format!("cannot read the settings file {}: ", path.display())),
        "{found:?}"
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_place_and_without_its_text() {
    let directory = Directory::new("syntax");
    let sources = file(&directory, "[admin]\ntoken = open sesame\n");
    let path = sources.file.as_ref().expect("named").display().to_string();
    let found = messages(&sources);
    assert!(found[0].starts_with(&format!("{path}:2:9: not valid TOML: ")), "{found:?}");
    assert!(!found[0].contains("sesame"), "{found:?}");
}

#[cfg(unix)]
#[test]
fn an_environment_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStringExt as _;

    let sources = Sources {
        environment: vec![("WATERTIGHT_LOGGING__LEVEL".into(), OsString::from_vec(vec![0xff]))],
        ..Sources::default()
    };
    assert_eq!(
        messages(&sources),
        ["the value of environment variable WATERTIGHT_LOGGING__LEVEL is not valid UTF-8"]
    );
}
