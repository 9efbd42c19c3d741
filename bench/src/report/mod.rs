//! What is printed and written of a measurement, and the document that is made of it.

mod chart;
mod document;
mod estimate;
mod number;
mod spread;
mod table;
mod times;
mod verdict;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use chart::{Bars, Chart, Lines};
pub(crate) use document::write as write_document;
pub(crate) use estimate::{Estimate, Kind};
pub(crate) use number::decimal;
pub(crate) use spread::Spread;
pub(crate) use table::Table;
pub(crate) use times::{Times, ms, or_dash};
pub(crate) use verdict::Verdict;

use crate::machine::{Machine, Noise};
use crate::peers;

/// What came of one scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// A heading.
    pub(crate) title: String,
    /// What was done, for whoever reads the numbers without the code: a paragraph or several, in Markdown.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
    /// What the numbers do not say by themselves, a sentence or two each.
    pub(crate) notes: Vec<String>,
    pub(crate) verdict: Verdict,
    /// Everything that was measured, for programs.
    pub(crate) details: Value,
    /// Drawn beside the results.
    #[serde(skip)]
    pub(crate) chart: Option<Chart>,
}

/// A report with where and when it was made, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    scenario: String,
    quick: bool,
    machine: Machine,
    noise: Noise,
    #[serde(flatten)]
    report: Report,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(title: impl Into<String>, about: impl Into<String>) -> Self {
        let (title, about) = (title.into(), about.into());
        let (tables, notes, verdict) = (Vec::new(), Vec::new(), Verdict::default());
        Self { title, about, tables, notes, verdict, details: Value::Null, chart: None }
    }

    /// Keeps everything that was measured.
    ///
    /// # Errors
    ///
    /// When it is no JSON.
    pub(crate) fn keep(&mut self, details: &impl Serialize) -> Result<()> {
        self.details = serde_json::to_value(details).context("results are JSON")?;
        Ok(())
    }

    /// Writes `SCENARIO.json`, and the chart as `SCENARIO.svg`.
    pub(crate) fn write(self, folder: &Path, scenario: &str, quick: bool, noise: Noise) -> Result<Verdict> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let machine = Machine::here(peers::versions());
        let written = Written { scenario: scenario.to_owned(), quick, machine, noise, report: self };
        let [numbers, chart] = files(folder, scenario);
        let text = serde_json::to_string_pretty(&written).context("results are JSON")?;
        fs::write(&numbers, text + "\n").with_context(|| format!("cannot write {}", numbers.display()))?;
        // The numbers are kept whatever comes of the chart.
        if let Some(drawing) = &written.report.chart {
            drawing.draw(&chart)?;
        }
        Ok(written.report.verdict)
    }
}

/// What is written of a scenario: its numbers and its chart.
fn files(folder: &Path, scenario: &str) -> [PathBuf; 2] {
    ["json", "svg"].map(|extension| folder.join(scenario).with_extension(extension))
}

/// Removes what an earlier measurement of the scenario has written.
///
/// # Errors
///
/// When it is there and stays.
pub(crate) fn forget(folder: &Path, scenario: &str) -> Result<()> {
    for file in files(folder, scenario) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_before_is_forgotten() {
        let folder = std::env::temp_dir().join(format!("watertight-results-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [numbers, chart] = files(&folder, "tell");
        let other = folder.join("storm.json");
        for file in [&numbers, &chart, &other] {
            fs::write(file, "old").unwrap();
        }
        forget(&folder, "tell").unwrap();
        assert_eq!([&numbers, &chart, &other].map(|file| file.exists()), [false, false, true]);
        forget(&folder, "tell").unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}
