//! What is printed and written of a measurement.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// Three digits, as many as a measurement over a network can mean.
const DIGITS: u8 = 3;
/// In microseconds; what takes longer counts as this.
const LONGEST: u64 = 60_000_000;

/// How long many of one thing took.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(LONGEST, DIGITS)?))
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
    }

    /// `quantile` is from 0 to 1.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn p50(&self) -> Duration {
        self.quantile(0.50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }
}

/// As the numbers that are looked at, in milliseconds.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary {
            count: u64,
            p50_ms: f64,
            p90_ms: f64,
            p99_ms: f64,
            max_ms: f64,
        }
        let ms = |quantile| self.quantile(quantile).as_secs_f64() * 1000.0;
        let count = self.0.len();
        Summary { count, p50_ms: ms(0.5), p90_ms: ms(0.9), p99_ms: ms(0.99), max_ms: ms(1.0) }
            .serialize(serializer)
    }
}

/// `1.23`, for columns that are headed with their unit.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// A dash where there is no number.
pub(crate) fn or_dash(number: Option<String>) -> String {
    number.unwrap_or_else(|| "-".to_owned())
}

/// Columns, the first two of words and the others of numbers. Rows are printed as they come, so widths are given.
pub(crate) struct Columns<const N: usize> {
    widths: [usize; N],
}

impl<const N: usize> Columns<N> {
    /// Prints the heads, and is as wide as they are, and at least 7.
    pub(crate) fn print_heads(heads: [&str; N]) -> Self {
        let columns = Self { widths: heads.map(|head| head.len().max(7)) };
        columns.print(&heads.map(ToOwned::to_owned));
        columns
    }

    pub(crate) fn print(&self, cells: &[String; N]) {
        println!("{}", self.line(cells));
    }

    fn line(&self, cells: &[String; N]) -> String {
        let cells = cells.iter().zip(self.widths).enumerate();
        let padded =
            cells.map(
                |(column, (cell, width))| {
                    if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            );
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// What a scenario found beside its numbers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// What must not be, whatever the machine is doing.
    pub(crate) faults: Vec<String>,
    /// Bars on time that were met, and that were not.
    pub(crate) met: Vec<String>,
    pub(crate) missed: Vec<String>,
}

impl Verdict {
    /// Noise only adds to a time, so a bar that is missed proves nothing on a busy machine: `quick` forgives it.
    pub(crate) fn passed(&self, quick: bool) -> bool {
        self.faults.is_empty() && (quick || self.missed.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, met, missed } = self;
        for (word, lines) in [("met", met), ("MISSED", missed), ("FAULT", faults)] {
            for line in lines {
                writeln!(f, "{word}: {line}")?;
            }
        }
        Ok(())
    }
}

/// Writes the results of a scenario.
pub(crate) fn write(folder: &Path, scenario: &str, results: &impl Serialize) -> Result<()> {
    let path = folder.join(scenario).with_extension("json");
    let text = serde_json::to_string_pretty(results).context("results are JSON")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_three_digits() {
        let mut times = Times::new().unwrap();
        (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
        assert_eq!(ms(times.p50()), "50.01", "the upper end of what counts as the same");
        assert!(times.p99() >= Duration::from_millis(99) && times.p99() < Duration::from_millis(100));
        times.add(Duration::from_hours(1));
        assert!(times.quantile(1.0) <= Duration::from_secs(61));
    }

    #[test]
    fn columns_are_aligned() {
        let columns = Columns { widths: [9, 7, 7] };
        let line = columns.line(&["polling".into(), "x".into(), "1.25".into()]);
        assert_eq!(line, "polling    x           1.25");
    }

    #[test]
    fn a_quick_run_forgives_time_and_nothing_else() {
        let slow = Verdict { missed: vec!["late".into()], ..Verdict::default() };
        assert!(slow.passed(true) && !slow.passed(false));
        let wrong = Verdict { faults: vec!["lost".into()], ..Verdict::default() };
        assert!(!wrong.passed(true) && !wrong.passed(false));
    }
}
