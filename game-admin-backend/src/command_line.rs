//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, builder::PossibleValuesParser};

use crate::settings::{LogFormat, PRECEDENCE, Sources, read_duration};

/// A Socket.IO game server in which a fault costs one connection and never the server.
#[derive(Debug, Parser)]
#[command(version, after_help = PRECEDENCE)]
pub struct CommandLine {
    /// What to do.
    #[arg(value_enum, default_value = "serve")]
    pub command: Command,

    /// Read settings from this file instead of ./watertight.toml.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,

    /// Listen on this address, as IP:PORT [setting server.listen].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// Listen on this port of the address; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Open the namespaces of real faults for drills [setting server.lab].
    #[arg(long)]
    lab: bool,

    /// Run handlers on threads of their own [setting server.lanes].
    #[arg(long, value_name = "SWITCH", value_parser = PossibleValuesParser::new(ON_OFF))]
    lanes: Option<String>,

    /// Refuse clients with repeated faults for a while [setting recovery.quarantine].
    #[arg(long, value_name = "SWITCH", value_parser = PossibleValuesParser::new(ON_OFF))]
    quarantine: Option<String>,

    /// Switch an event off for a while in which several clients crash [setting recovery.breakers].
    #[arg(long, value_name = "SWITCH", value_parser = PossibleValuesParser::new(ON_OFF))]
    breakers: Option<String>,

    /// Cancel a handler that still runs after this time, such as 500ms or 30s; 0 is never [setting
    /// detection.handler_deadline_ms].
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    handler_deadline: Option<u64>,

    /// Run the server alone, without a parent process that starts it again when it dies [setting supervisor.enabled].
    #[arg(long)]
    no_supervise: bool,

    /// How log lines look [setting logging.format].
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(LogFormat::NAMES))]
    log_format: Option<String>,

    /// The lowest level to log, alone or per target [setting logging.level].
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,

    /// Change any setting; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    assignments: Vec<String>,
}

const ON_OFF: [&str; 2] = ["on", "off"];

fn milliseconds(text: &str) -> Result<u64, String> {
    read_duration(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What the program can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Command {
    /// Run the server.
    Serve,
    /// Print every setting in force and where it came from, and stop.
    CheckConfig,
}

impl CommandLine {
    /// The flags, with this process's environment and working directory, as sources of settings.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let Self {
            command: _,
            config,
            listen,
            port,
            lab,
            lanes,
            quarantine,
            breakers,
            handler_deadline,
            no_supervise,
            log_format,
            log_level,
            assignments,
        } = self;
        let switched = |switch: &Option<String>| switch.as_ref().map(|on| (on == "on").to_string());
        let texts = [
            ("--listen", "server.listen", listen.clone()),
            ("--lab", "server.lab", lab.then(|| "true".to_owned())),
            ("--lanes", "server.lanes", switched(lanes)),
            ("--quarantine", "recovery.quarantine", switched(quarantine)),
            ("--breakers", "recovery.breakers", switched(breakers)),
            (
                "--handler-deadline",
                "detection.handler_deadline_ms",
                handler_deadline.map(|ms| ms.to_string()),
            ),
            ("--no-supervise", "supervisor.enabled", no_supervise.then(|| "false".to_owned())),
            ("--log-format", "logging.format", log_format.clone()),
            ("--log-level", "logging.level", log_level.clone()),
        ];
        Sources {
            file: config.clone(),
            directory: PathBuf::new(),
            environment: std::env::vars_os().collect(),
            flags: texts
                .into_iter()
                .filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)))
                .collect(),
            assignments: assignments.clone(),
            port: *port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Effective, Origin, Problems, Settings, load};
    use clap::{CommandFactory as _, error::ErrorKind};

    fn parse(arguments: &[&str]) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(["game-admin-backend"].iter().chain(arguments))
    }

    fn settings(arguments: &[&str]) -> Result<Effective, Problems> {
        let sources = parse(arguments).expect("well formed").sources();
        load(&Sources { environment: Vec::new(), ..sources })
    }

    #[test]
    fn the_declaration_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn without_arguments_it_serves() {
        assert_eq!(parse(&[]).expect("well formed").command, Command::Serve);
    }

    #[test]
    fn each_flag_sets_its_setting_before_and_after_the_command() {
        let arguments = [
            "--listen",
            "[::1]:80",
            "--port",
            "0",
            "--set",
            "recovery.grace_ms=1",
            "check-config",
            "--lab",
            "--log-format",
        ];
        let arguments =
            [&arguments[..], &["json", "--log-level", "warn", "--set", "recovery.retry_after_ms=2"]].concat();
        assert_eq!(parse(&arguments).expect("well formed").command, Command::CheckConfig);

        let Effective { settings, entries } = settings(&arguments).expect("valid");
        assert_eq!(settings.server.listen.to_string(), "[::1]:0");
        assert!(settings.server.lab);
        assert_eq!(settings.logging.format, LogFormat::Json);
        assert_eq!(settings.logging.level, "warn");
        assert_eq!((settings.recovery.grace_ms, settings.recovery.retry_after_ms), (1, 2));
        let flags: Vec<_> =
            entries.iter().filter(|entry| entry.origin != Origin::Default).map(|e| &e.origin).collect();
        let expected = ["--port", "--lab", "--set", "--set", "--log-format", "--log-level"];
        assert_eq!(flags, expected.map(|flag| Origin::Flag(flag.to_owned())).iter().collect::<Vec<_>>());
    }

    #[test]
    fn each_switch_and_time_sets_its_setting() {
        let Settings { server, detection, recovery, .. } = settings(&[]).expect("valid").settings;
        assert!(server.lanes && recovery.quarantine && recovery.breakers);
        assert_eq!(detection.handler_deadline_ms, 30_000);

        let off = ["--lanes", "off", "--quarantine", "off", "--breakers", "off", "--handler-deadline", "0"];
        let Effective { settings: Settings { server, detection, recovery, .. }, entries } =
            settings(&off).expect("valid");
        assert!(!server.lanes && !recovery.quarantine && !recovery.breakers);
        assert_eq!(detection.handler_deadline_ms, 0);
        let given: Vec<_> = entries.iter().filter(|entry| entry.origin != Origin::Default).collect();
        for (entry, flag) in given.iter().zip(["--lanes", "--handler-deadline", "--quarantine", "--breakers"])
        {
            assert_eq!(entry.origin, Origin::Flag(flag.to_owned()), "{}", entry.setting.key);
        }
        assert_eq!(given.len(), 4);

        let on = ["--lanes", "on", "--quarantine", "on", "--breakers", "on", "--handler-deadline", "1m 30s"];
        let Settings { server, detection, recovery, .. } = settings(&on).expect("valid").settings;
        assert!(server.lanes && recovery.quarantine && recovery.breakers);
        assert_eq!(detection.handler_deadline_ms, 90_000);
    }

    #[test]
    fn a_flag_and_an_assignment_of_the_same_setting_are_refused() {
        for (flag, value, assignment) in [
            ("--lanes", "on", "server.lanes=false"),
            ("--quarantine", "off", "recovery.quarantine=true"),
            ("--breakers", "off", "recovery.breakers=true"),
            ("--handler-deadline", "1s", "detection.handler_deadline_ms=2"),
        ] {
            let problems = settings(&[flag, value, "--set", assignment]).expect_err("twice").to_string();
            assert!(problems.contains(&format!("is given twice: by {flag} and by --set")), "{problems}");
        }
    }

    #[test]
    fn a_wrong_value_of_a_flag_is_refused_by_its_name() {
        let problems = settings(&["--listen", "here"]).expect_err("not an address").to_string();
        assert!(problems.starts_with("server.listen = \"here\" (flag --listen) is not valid"), "{problems}");
        let problems = settings(&["--log-level", "inof"]).expect_err("not a level").to_string();
        assert!(problems.contains("(flag --log-level) is not valid: \"inof\" is not a level"), "{problems}");
        let problems = settings(&["--handler-deadline", "25h"]).expect_err("longer than a day").to_string();
        let expected =
            "detection.handler_deadline_ms = \"90000000\" (flag --handler-deadline) is out of bounds";
        assert!(problems.starts_with(expected), "{problems}");

        for (arguments, named) in [
            (["--port", "70000"], "--port"),
            (["--log-format", "xml"], "--log-format"),
            (["--prot", "1"], "--prot"),
            (["--lanes", "yes"], "[possible values: on, off]"),
            (["--quarantine", "true"], "--quarantine"),
            (["--breakers", "no"], "--breakers"),
            (["--handler-deadline", "soon"], "not a time such as 500ms, 2s or 1m"),
            (["check-confg", "--lab"], "check-confg"),
        ] {
            let error = parse(&arguments).expect_err("wrong");
            assert!(error.to_string().contains(named), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn help_says_which_source_wins() {
        let help = parse(&["--help"]).expect_err("help is no command");
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert!(help.to_string().contains("strongest first"));
        // Flags that are no setting have no place in that order.
        let options = CommandLine::command();
        let flags = options.get_arguments().filter_map(clap::Arg::get_long);
        for flag in flags.filter(|flag| *flag != "config") {
            assert!(PRECEDENCE.contains(&format!("--{flag}")), "--{flag}");
        }
    }
}
