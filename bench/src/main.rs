//! Measures what Watertight promises: `cargo xtask bench`.
//!
//! A real server in a process of its own, and a load generator of our own against it over real sockets. Every scenario
//! prints a table, writes its numbers as JSON, and checks what must hold whatever the machine is doing.

mod board;
mod bystander;
mod client;
mod lanes;
mod machine;
mod report;
mod server;
mod tell;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures what Watertight promises")]
struct CommandLine {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,

    /// Shorter, and with bars on time that are told but do not fail: for machines that do other things too.
    #[arg(long)]
    quick: bool,

    /// The folder for the results, one file for each scenario.
    #[arg(long, value_name = "PATH", default_value_os_t = default_results())]
    json: PathBuf,

    /// Measures in this process, with that board: what the scenario of the board starts.
    #[arg(long, value_enum, hide = true)]
    with_board: Option<board::Board>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// How soon the client of a panic is told and closed.
    Tell,
    /// What it costs to run handlers on lanes.
    Lanes,
    /// What the board costs for each poll.
    Board,
}

/// What every scenario is given.
struct Run {
    quick: bool,
    /// Where results and the servers' logs go.
    results: PathBuf,
}

fn default_results() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results")
}

fn main() -> ExitCode {
    let CommandLine { scenarios, quick, json, with_board } = CommandLine::parse();
    if let Some(board) = with_board {
        return match board::measure(board, quick) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let run = Run { quick, results: json };
    let chosen = if scenarios.is_empty() { Scenario::value_variants() } else { &scenarios };
    let mut all_passed = true;
    for scenario in chosen {
        let outcome = match scenario {
            Scenario::Tell => tell::run(&run),
            Scenario::Lanes => lanes::run(&run),
            Scenario::Board => board::run(&run),
        };
        match outcome {
            Ok(verdict) => {
                print!("\n{verdict}");
                all_passed &= verdict.passed(run.quick);
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                all_passed = false;
            }
        }
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
