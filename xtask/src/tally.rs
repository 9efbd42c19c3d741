//! Counts tests by reading what the test runners print.

use std::ops::AddAssign;

/// How many tests, or checks, ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored by an attribute, or skipped because something optional is absent.
    pub(crate) ignored: u64,
}

impl Tally {
    /// A check that is not made of tests, such as the format.
    pub(crate) fn of_check(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed), ignored: 0 }
    }

    /// Adds what one line of a runner's output says, if it is one of its summary lines.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(found) = libtest(line).or_else(|| node(line)) {
            *self += found;
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, ignored } = other;
        self.passed += passed;
        self.failed += failed;
        self.ignored += ignored;
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn libtest(line: &str) -> Option<Tally> {
    let summary = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        summary
            .split([';', '.'])
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    Some(Tally { passed: number("passed"), failed: number("failed"), ignored: number("ignored") })
}

/// `ℹ pass 5` from the reporter `spec`, or `# pass 5` from `tap`.
fn node(line: &str) -> Option<Tally> {
    let (word, number) = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# "))?.split_once(' ')?;
    let number = number.trim().parse().ok()?;
    match word {
        "pass" => Some(Tally { passed: number, ..Tally::default() }),
        // A cancelled test ran out of time, or its set-up failed.
        "fail" | "cancelled" => Some(Tally { failed: number, ..Tally::default() }),
        "skipped" | "todo" => Some(Tally { ignored: number, ..Tally::default() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn adds_up_the_summaries_of_libtest() {
        let tally = read(
            "running 2 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.12s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        );
        assert_eq!(tally, Tally { passed: 5, failed: 4, ignored: 1 });
    }

    #[test]
    fn reads_both_reporters_of_node() {
        let spec = read(
            "✔ a (1.2ms)\nℹ tests 9\nℹ suites 0\nℹ pass 5\nℹ fail 1\nℹ cancelled 2\nℹ skipped 1\nℹ todo 0",
        );
        assert_eq!(spec, Tally { passed: 5, failed: 3, ignored: 1 });
        let tap =
            read("# tests 9\n# pass 5\n# fail 1\n# cancelled 2\n# skipped 1\n# todo 0\n# duration_ms 12.5");
        assert_eq!(tap, spec);
    }

    #[test]
    fn output_of_the_tests_themselves_counts_nothing() {
        assert_eq!(read("passed 5\nfail 3\n# a heading\nℹ p50 1.2 ms"), Tally::default());
    }

    #[test]
    fn a_check_is_one_or_the_other() {
        assert_eq!(Tally::of_check(true), Tally { passed: 1, failed: 0, ignored: 0 });
        assert_eq!(Tally::of_check(false), Tally { passed: 0, failed: 1, ignored: 0 });
    }
}
