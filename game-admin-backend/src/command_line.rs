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
    use crate::settings::{Effective, Origin, Problems, load};
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
    fn a_wrong_value_of_a_flag_is_refused_by_its_name() {
        let problems = settings(&["--listen", "here"]).expect_err("not an address").to_string();
        assert!(problems.starts_with("server.listen = \"here\" (flag --listen) is not valid"), "{problems}");
        let problems = settings(&["--log-level", "inof"]).expect_err("not a level").to_string();
        assert!(problems.contains("(flag --log-level) is not valid: \"inof\" is not a level"), "{problems}");

        for (arguments, named) in [
            (["--port", "70000"], "--port"),
            (["--log-format", "xml"], "--log-format"),
            (["--prot", "1"], "--prot"),
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
    }
}
