//! The steps of `cargo xtask test`.

use std::{env, fmt, process::Command, thread, time::Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    bench,
    cargo::{cargo, npm, server_binary},
    loom, museum,
    report::{Report, Row},
    run, setup,
    tally::Tally,
};

/// How many tests run at once: at least four, because nearly all of them wait for something most of the time.
const THREADS: &str = "RUST_TEST_THREADS";

/// One step, in the order in which they run: the quick ones first, and each build before those that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Step {
    /// The format of the Rust code.
    Fmt,
    /// Lints with warnings denied.
    Clippy,
    /// Every Rust test, with the examples in the docs.
    Test,
    /// The loom models: every order in which threads can see what they share.
    Loom,
    /// The docs, with warnings denied.
    Doc,
    /// The server as a user runs it, and what measures it.
    Build,
    /// Short measurements of that server: what must hold whatever the machine is doing fails, times do not.
    Bench,
    /// The Node suite against that server.
    E2e,
}

impl Step {
    fn commands(self) -> Result<Vec<Command>> {
        Ok(match self {
            Self::Fmt => {
                let mut formats = vec![cargo(["fmt", "--all", "--check"])];
                formats.extend(museum::formats()?);
                formats
            }
            // Features only add, so all of them cover every line. Warnings are denied behind `--`: through RUSTFLAGS they
            // would rebuild every dependency.
            Self::Clippy => vec![cargo([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ])],
            Self::Test => {
                let mut tests =
                    vec![cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]), on_lanes()];
                if env::var_os(THREADS).is_none() {
                    let threads = thread::available_parallelism()?.get().max(4).to_string();
                    for tests in &mut tests {
                        tests.env(THREADS, &threads);
                    }
                }
                tests
            }
            Self::Loom => vec![loom::models()?],
            Self::Doc => {
                let mut doc = cargo(["doc", "--workspace", "--all-features", "--no-deps", "--lib"]);
                doc.env("RUSTDOCFLAGS", "-D warnings");
                vec![doc]
            }
            Self::Build => vec![bench::build()],
            Self::Bench => vec![bench::measurement(&[], true)],
            Self::E2e => {
                let mut suite = npm(["test"]);
                suite.env("WATERTIGHT_SERVER", server_binary());
                vec![suite]
            }
        })
    }

    /// Whether it runs the server that [`Step::Build`] builds.
    fn needs_server(self) -> bool {
        matches!(self, Self::Bench | Self::E2e)
    }

    /// Whether its commands report tests; any other step counts as one check.
    fn counts_tests(self) -> bool {
        matches!(self, Self::Test | Self::Loom | Self::E2e)
    }

    fn set_up(self) -> Result<()> {
        match self {
            Self::Fmt => setup::component("fmt", "rustfmt"),
            Self::Clippy => setup::component("clippy", "clippy"),
            Self::E2e => setup::node_packages(),
            Self::Test | Self::Loom | Self::Doc | Self::Build | Self::Bench => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Test => "test",
            Self::Loom => "loom",
            Self::Doc => "doc",
            Self::Build => "build",
            Self::Bench => "bench",
            Self::E2e => "e2e",
        })
    }
}

/// The steps to run for what was asked: everything when nothing was. Sets up all of them first, so that a missing
/// tool is told at once and not after ten minutes.
pub(crate) fn plan(only: &[Step]) -> Result<Vec<Step>> {
    let steps = chosen(only);
    println!("[0/{}] set-up", steps.len());
    let started = Instant::now();
    for step in &steps {
        step.set_up().with_context(|| format!("the step {step} cannot run"))?;
    }
    println!("      ready after {:.1} s", started.elapsed().as_secs_f64());
    Ok(steps)
}

/// Runs the steps. A failed one does not stop the others, except those that need what it builds.
pub(crate) fn run(steps: &[Step]) -> Result<Report> {
    let mut report = Report::default();
    let mut server = true;
    for (number, &step) in steps.iter().enumerate() {
        println!("\n[{}/{}] {step}", number + 1, steps.len());
        let started = Instant::now();
        let (tally, remark) = if step.needs_server() && !server {
            (Tally::of_check(false), "not run: the server did not build")
        } else {
            run_step(step)?
        };
        let row = Row { step, tally, remark, took: started.elapsed() };
        server &= step != Step::Build || row.passed();
        println!("      {row}");
        report.push(row);
    }
    Ok(report)
}

fn run_step(step: Step) -> Result<(Tally, &'static str)> {
    let mut tally = Tally::default();
    let mut success = true;
    for command in step.commands()? {
        let outcome = run::run(command)?;
        success &= outcome.success;
        tally += outcome.tally;
    }
    Ok(verdict(step.counts_tests(), success, tally))
}

/// What a step comes to, and a remark where the numbers do not explain it.
fn verdict(counts_tests: bool, success: bool, mut tally: Tally) -> (Tally, &'static str) {
    if !counts_tests {
        return (Tally::of_check(success), "");
    }
    if success && tally.passed == 0 && tally.failed == 0 {
        // A filter that matches nothing succeeds; a step that tested nothing must not.
        tally.failed = 1;
        return (tally, "no test ran");
    }
    if !success && tally.failed == 0 {
        tally.failed = 1;
        return (tally, "ended with an error outside the tests");
    }
    (tally, "")
}

fn chosen(only: &[Step]) -> Vec<Step> {
    let mut steps = if only.is_empty() { Step::value_variants().to_vec() } else { only.to_vec() };
    if steps.iter().any(|step| step.needs_server()) {
        // Nothing must ever run against yesterday's server.
        steps.push(Step::Build);
    }
    steps.sort();
    steps.dedup();
    steps
}

/// The tests of the drop-in once more, with the handlers on lanes: a setting of the whole process. They are compiled
/// already, with the features that they have in the workspace.
fn on_lanes() -> Command {
    let mut command = cargo(["test", "--workspace", "--all-features", "--test", "socketio"]);
    command.env("WATERTIGHT_TEST_LANES", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_runs_when_nothing_is_asked() {
        assert_eq!(chosen(&[]), Step::value_variants());
    }

    #[test]
    fn what_runs_the_server_brings_its_build() {
        assert_eq!(chosen(&[Step::E2e, Step::Fmt]), [Step::Fmt, Step::Build, Step::E2e]);
        assert_eq!(chosen(&[Step::Bench]), [Step::Build, Step::Bench]);
    }

    #[test]
    fn a_step_in_which_no_test_ran_has_failed() {
        assert_eq!(verdict(true, true, Tally::default()).0.failed, 1);
    }

    #[test]
    fn a_step_that_did_not_compile_has_failed() {
        let compiled_in_part = Tally { passed: 3, failed: 0, ignored: 0 };
        assert_eq!(verdict(true, false, compiled_in_part).0, Tally { passed: 3, failed: 1, ignored: 0 });
        assert_eq!(verdict(false, false, Tally::default()).0.failed, 1);
    }
}
