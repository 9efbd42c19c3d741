//! The program: reads the command line and the settings, then serves or prints them.

use std::{
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use game_admin_backend::{
    ParentError, Plan,
    command_line::{Command, CommandLine},
    run,
    settings::{load, report},
};
use watertight_supervisor::{EXIT_OS, Outcome, Supervised};

/// The exit code for a wrong command line or wrong settings; the same that the parser of the command line uses.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    #[cfg(unix)]
    if let Some(helped) = game_admin_backend::minidump::help() {
        return exit_code(helped.map(|()| ExitCode::SUCCESS));
    }
    // Before there are threads.
    let worker = match Supervised::from_env() {
        Ok(worker) => worker,
        Err(error) => {
            complain(&format!("error: {}", with_causes(&error)));
            return ExitCode::from(EXIT_OS);
        }
    };
    match Plan::of_this_process() {
        Some(Ok(plan)) => return parents_exit_code(plan.supervise()),
        Some(Err(error)) => {
            complain(&format!("error: the plan of a parent process makes no sense: {error}"));
            return ExitCode::from(USAGE);
        }
        None => {}
    }
    let command_line = CommandLine::parse();
    let sources = command_line.sources();
    let effective = match load(&sources) {
        Ok(effective) => effective,
        Err(problems) => {
            for problem in &problems.0 {
                complain(&format!("error: {problem}"));
            }
            return ExitCode::from(USAGE);
        }
    };
    match command_line.command {
        Command::CheckConfig => match io::stdout().lock().write_all(report(&effective).as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("error: cannot write to standard output: {error}"));
                ExitCode::FAILURE
            }
        },
        Command::Serve if worker.is_none() && effective.settings.supervisor.enabled => {
            parents_exit_code(Plan::new(&effective.settings).carry_out())
        }
        Command::Serve => exit_code(
            run(effective.settings, &sources.ignored_variables(), worker).map(|()| ExitCode::SUCCESS),
        ),
    }
}

/// A parent that cannot work says so as the supervisor does, except where the server alone would have failed as well.
fn parents_exit_code(outcome: Result<Outcome, ParentError>) -> ExitCode {
    match outcome {
        Err(error @ (ParentError::Begin(_) | ParentError::Recording(_) | ParentError::Supervise(_))) => {
            complain(&format!("error: {}", with_causes(&error)));
            ExitCode::from(EXIT_OS)
        }
        outcome => exit_code(outcome),
    }
}

fn exit_code(outcome: Result<impl Into<ExitCode>, impl Error>) -> ExitCode {
    outcome.map_or_else(
        |error| {
            complain(&format!("error: {}", with_causes(&error)));
            ExitCode::FAILURE
        },
        Into::into,
    )
}

/// Writes to standard error, or nowhere if that is closed.
fn complain(line: &str) {
    _ = writeln!(io::stderr(), "{line}");
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
