//! Runs a command, shows what it prints, and counts the tests in it.

use std::{
    io::{BufRead, BufReader, Write, stdout},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::tally::Tally;

/// How a command ended.
pub(crate) struct Outcome {
    /// Its exit code was zero.
    pub(crate) success: bool,
    /// The tests that its output reports.
    pub(crate) tally: Tally,
}

/// Runs `command` to its end. Errors when it cannot be started.
pub(crate) fn run(mut command: Command) -> Result<Outcome> {
    println!("      $ {}", shown(&command));
    // Cargo's own progress goes to stderr and keeps its colours; only stdout is read on the way.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;

    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("cannot read the command's output")?;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            tally.read(line);
            // A reader that went away (`| head`) is no reason to end the tests.
            let _ = writeln!(stdout(), "{line}");
        }
    }
    let status = child.wait().context("cannot wait for the command")?;
    Ok(Outcome { success: status.success(), tally })
}

/// Whether `command` can be started and succeeds; it prints nothing.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let settings = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy().into_owned();
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value)))
    });
    let program = std::path::Path::new(command.get_program());
    let program = program.file_stem().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| quoted(&argument.to_string_lossy()));
    settings.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--lib"]).env("RUSTFLAGS", "--cfg x");
        assert_eq!(shown(&command), "RUSTFLAGS=\"--cfg x\" cargo test --lib");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_that_names_it() {
        let error = run(Command::new("no-such-program-here")).err().unwrap();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
