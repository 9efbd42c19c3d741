//! Measures what Watertight promises: `cargo xtask bench`.
//!
//! A real server in a process of its own, and a load generator of our own against it over real sockets. Every scenario
//! prints a table, writes its numbers as JSON, and checks what must hold whatever the machine is doing.

mod bystander;
mod client;
mod crowd;
mod machine;
mod mortal;
mod peers;
mod report;
mod scenario;
mod server;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::scenario::{Scenario, board};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures what Watertight promises")]
struct CommandLine {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,

    /// Shorter, and with bars on time that are told but do not fail: for machines that do other things too.
    #[arg(long)]
    quick: bool,

    /// The folder for the results. Default: `bench/results`, and `bench/results/quick` for short measurements.
    #[arg(long, value_name = "PATH")]
    results: Option<PathBuf>,

    /// Makes this document of the results that are there, and measures nothing.
    #[arg(long, value_name = "PATH", conflicts_with = "scenarios")]
    document: Option<PathBuf>,

    /// Measures in this process, with that board: what the scenario of the board starts.
    #[arg(long, value_enum, hide = true)]
    with_board: Option<board::Board>,
}

/// What every scenario is given.
struct Run {
    quick: bool,
    /// Where results and the servers' logs go; the latter end in `.log`.
    results: PathBuf,
}

fn default_results(quick: bool) -> PathBuf {
    let results = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
    if quick { results.join("quick") } else { results }
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether everything holds.
fn run(command_line: CommandLine) -> Result<bool> {
    let CommandLine { scenarios, quick, results, document, with_board } = command_line;
    if let Some(board) = with_board {
        return board::measure(board, quick).map(|()| true);
    }
    let results = results.unwrap_or_else(|| default_results(quick));
    if let Some(document) = document {
        let order: Vec<_> = Scenario::value_variants().iter().map(|scenario| scenario.name()).collect();
        return report::write_document(&document, &results, &order).map(|()| true);
    }
    machine::adopt_orphans();
    let run = Run { quick, results };
    let chosen = if scenarios.is_empty() { Scenario::value_variants() } else { &scenarios };
    // What was found before must not pass for what is found now, wherever this ends.
    for scenario in chosen {
        report::forget(&run.results, scenario.name())?;
    }
    let mut all_passed = true;
    for scenario in chosen {
        // One that came to nothing leaves its own.
        peers::versions();
        match scenario.run(&run) {
            Ok(verdict) => {
                print!("\n{verdict}");
                all_passed &= verdict.passed(run.quick);
            }
            Err(error) => {
                eprintln!("error: {}: {error:#}", scenario.name());
                all_passed = false;
            }
        }
    }
    Ok(all_passed)
}
