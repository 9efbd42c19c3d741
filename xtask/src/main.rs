//! One command for each chore of this repository: `cargo xtask test` checks everything.
//!
//! It does its own set-up, needs nothing but Rust and Node, and runs the same way on a desk and in CI.

mod bench;
mod cargo;
mod fuzz;
mod loom;
mod museum;
mod report;
mod run;
mod setup;
mod steps;
mod tally;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{report::Report, steps::Step};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The chores of this repository", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything: format, lints, Rust tests, loom models, docs, short measurements, and the Node suite on a
    /// real server.
    Test {
        /// Only this step, with whatever it needs; may be given several times.
        #[arg(long, value_name = "STEP", value_enum)]
        only: Vec<Step>,
    },
    /// Measure what Watertight promises, against a real server.
    Bench {
        /// Only this scenario; may be given several times. An unknown one is answered with those there are.
        #[arg(long, value_name = "SCENARIO")]
        only: Vec<String>,

        /// Shorter; bars on time are told but do not fail.
        #[arg(long)]
        quick: bool,
    },
    /// Play real bugs of pinned versions of socketioxide against bare servers and protected ones, and write what was
    /// seen into `docs/museum.md`. Linux only.
    Museum {
        /// Only this exhibit, a folder of `museum`; may be given several times.
        #[arg(long, value_name = "EXHIBIT")]
        only: Vec<String>,
    },
    /// Throw anything at what this project parses itself. What fails is kept in `fuzz/failures`.
    Fuzz {
        /// Only these targets, which are the folders of `fuzz/corpus`.
        targets: Vec<String>,

        /// How long each is fuzzed.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    if loom::is_compiler() {
        return exit_code(loom::compile());
    }
    match Cli::parse().chore {
        Chore::Test { only } => test(&only),
        Chore::Bench { only, quick } => exit_code(bench::bench(&only, quick)),
        Chore::Museum { only } => exit_code(museum::museum(&only)),
        Chore::Fuzz { targets, seconds } => exit_code(fuzz::fuzz(&targets, seconds)),
    }
}

fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(only: &[Step]) -> ExitCode {
    let report = match steps::plan(only).and_then(|plan| steps::run(&plan)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            Report::of_failed_set_up()
        }
    };
    print!("\n{report}");
    // Alone on the last line, for people and for scripts.
    println!("{}", report.closing_line());
    if report.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
