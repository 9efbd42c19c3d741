//! The table at the end.

use std::{fmt, time::Duration};

use crate::{steps::Step, tally::Tally};

/// How one step went.
pub(crate) struct Row {
    pub(crate) step: Step,
    pub(crate) tally: Tally,
    /// Why, where the numbers do not say it; else empty.
    pub(crate) remark: &'static str,
    pub(crate) took: Duration,
}

impl Row {
    /// Whether nothing in it failed.
    pub(crate) fn passed(&self) -> bool {
        self.tally.failed == 0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, tally, remark, took } = self;
        let result = if self.passed() { "ok" } else { "FAILED" };
        let Tally { passed, failed, ignored } = tally;
        write!(
            f,
            "{step:<8} {result:<8} {passed:>6} {failed:>8} {ignored:>8} {:>8.1} s",
            took.as_secs_f64()
        )?;
        if remark.is_empty() { Ok(()) } else { write!(f, "  {remark}") }
    }
}

/// How all of them went.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    set_up_failed: bool,
}

impl Report {
    /// For a run that ended before its steps could.
    pub(crate) fn of_failed_set_up() -> Self {
        Self { rows: Vec::new(), set_up_failed: true }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether nothing failed at all.
    pub(crate) fn all_passed(&self) -> bool {
        self.total().failed == 0
    }

    /// `N passed, N failed`
    pub(crate) fn closing_line(&self) -> String {
        let Tally { passed, failed, .. } = self.total();
        format!("{passed} passed, {failed} failed")
    }

    fn total(&self) -> Tally {
        let mut total = if self.set_up_failed { Tally::of_check(false) } else { Tally::default() };
        self.rows.iter().for_each(|row| total += row.tally);
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{:<8} {:<8} {:>6} {:>8} {:>8} {:>10}",
            "step", "result", "passed", "failed", "ignored", "time"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let took: Duration = self.rows.iter().map(|row| row.took).sum();
        writeln!(f, "{:<8} {:>42.1} s\n", "all", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: Step, passed: u64, failed: u64) -> Row {
        Row {
            step,
            tally: Tally { passed, failed, ignored: 0 },
            remark: "",
            took: Duration::from_millis(1500),
        }
    }

    #[test]
    fn the_closing_line_adds_up_every_step() {
        let mut report = Report::default();
        report.push(row(Step::Fmt, 1, 0));
        report.push(row(Step::Test, 40, 2));
        assert_eq!(report.closing_line(), "41 passed, 2 failed");
        assert!(!report.all_passed());
    }

    #[test]
    fn a_failed_set_up_is_a_failure() {
        assert_eq!(Report::of_failed_set_up().closing_line(), "0 passed, 1 failed");
    }

    #[test]
    fn the_table_has_a_line_for_each_step_in_columns() {
        let mut report = Report::default();
        report.push(row(Step::Fmt, 1, 0));
        report.push(row(Step::Clippy, 0, 1));
        let table = report.to_string();
        let widths: Vec<_> = table.lines().map(str::len).take(4).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        assert!(table.contains("FAILED"), "{table}");
    }
}
