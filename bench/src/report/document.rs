//! `docs/performance.md`, made of the results that are there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Verdict, Written};

/// Above the first scenario.
const HEAD: &str = "# Performance

What Watertight costs and how it behaves under faults, beside bare servers that do the same work. This file is written by
`cargo xtask bench`, from what it has measured; nothing in it is written by hand.

Every server and every load generator runs on the same machine, over loopback. Servers that are compared take turns in
one run; ratios are medians over the turns, with the least and the greatest in brackets. A machine that others use as well
adds to every time: what part of its processors others had is said with each scenario. *Met* and *missed* are the bars
that the project has set itself.
";

/// Writes the document of `order`, which names scenarios by their file in `results`. What was not measured is left out;
/// what was measured in short is not for a document.
pub(crate) fn write(path: &Path, results: &Path, order: &[&str]) -> Result<()> {
    let mut text = HEAD.to_owned();
    let mut scenarios = 0;
    for scenario in order {
        let file = results.join(scenario).with_extension("json");
        let Ok(json) = fs::read_to_string(&file) else { continue };
        let written: Written = serde_json::from_str(&json)
            .with_context(|| format!("{} is of another version: measure again", file.display()))?;
        ensure!(
            !written.quick,
            "{} was measured in short: run `cargo xtask bench --only {scenario}`",
            file.display()
        );
        text.push('\n');
        text.push_str(&section(&written, results));
        scenarios += 1;
    }
    ensure!(scenarios > 0, "there are no results in {}", results.display());
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn section(written: &Written, results: &Path) -> String {
    let Written { scenario, quick: _, machine, noise, report } = written;
    let mut text = format!("## {}\n\n{}\n", report.title, report.about.trim());
    for table in &report.tables {
        _ = write!(text, "\n{}", table.markdown());
    }
    if results.join(scenario).with_extension("svg").is_file() {
        _ = write!(text, "\n![{}](../bench/results/{scenario}.svg)\n", report.title);
    }
    for note in &report.notes {
        _ = write!(text, "\n{note}\n");
    }
    let Verdict { faults, met, missed } = &report.verdict;
    let lines: Vec<_> = [("fault", faults), ("missed", missed), ("met", met)]
        .into_iter()
        .flat_map(|(word, lines)| lines.iter().map(move |line| format!("- *{word}*: {line}\n")))
        .collect();
    if !lines.is_empty() {
        _ = write!(text, "\n{}", lines.concat());
    }
    _ = write!(text, "\n`cargo xtask bench --only {scenario}`, {noise}. {machine}.\n");
    text
}
