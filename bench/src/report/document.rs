//! `docs/performance.md`, made of the results that are there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::number::dashed;
use super::{Verdict, Written, files};

/// Above the first scenario.
const HEAD: &str = "# Performance

What Watertight costs and how it behaves under faults, beside bare servers that do the same work. This file is written by
`cargo xtask bench`, from what it has measured; nothing in it is written by hand.

Every server and every load generator runs on the same machine, over loopback. Servers that are compared take turns in
one run; ratios are medians over the turns, with the least and the greatest in brackets where nothing else is said. A
machine that others use as well adds to every time: with each scenario stands what part of all processors was used by
others, which are the processes that neither measure nor are measured, and what part the host took away; also the machine,
the versions, and the commit, with a `+` when something was changed since. *Met* and *missed* are the bars that the project
has set itself; *undecided* are those of which the measurement tells neither.
";

/// Writes the document of `order`, which names scenarios by their file in `results`, and says what was not measured. What
/// was measured in short is not for a document.
pub(crate) fn write(path: &Path, results: &Path, order: &[&str]) -> Result<()> {
    let mut text = HEAD.to_owned();
    let mut missing = Vec::new();
    for scenario in order {
        let [file, chart] = files(results, scenario);
        let Ok(json) = fs::read_to_string(&file) else {
            missing.push(format!("`{scenario}`"));
            continue;
        };
        let written: Written = serde_json::from_str(&json)
            .with_context(|| format!("{} is of another version: measure again", file.display()))?;
        ensure!(
            !written.quick,
            "{} was measured in short: run `cargo xtask bench --only {scenario}`",
            file.display()
        );
        text.push('\n');
        text.push_str(&dashed(&section(&written, chart.is_file())));
    }
    ensure!(missing.len() < order.len(), "there are no results in {}", results.display());
    if !missing.is_empty() {
        _ = write!(text, "\n## Not measured\n\nThere is no result of {}.\n", missing.join(", "));
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn section(written: &Written, has_chart: bool) -> String {
    let Written { scenario, quick: _, machine, noise, report } = written;
    let mut text = format!("## {}\n\n{}\n", report.title, report.about.trim());
    for table in report.tables.iter().filter(|table| !table.is_empty()) {
        _ = write!(text, "\n{}", table.markdown());
    }
    if has_chart {
        _ = write!(text, "\n![{}](../bench/results/{scenario}.svg)\n", report.title);
    }
    for note in &report.notes {
        _ = write!(text, "\n{note}\n");
    }
    let Verdict { faults, met, missed, undecided } = &report.verdict;
    let lines: Vec<_> = [("fault", faults), ("missed", missed), ("undecided", undecided), ("met", met)]
        .into_iter()
        .flat_map(|(word, lines)| lines.iter().map(move |line| format!("- *{word}*: {line}\n")))
        .collect();
    if !lines.is_empty() {
        _ = write!(text, "\n{}", lines.concat());
    }
    _ = write!(text, "\n`cargo xtask bench --only {scenario}`, {noise}. {machine}.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Listening, Machine};
    use crate::report::{Report, Table};

    #[test]
    fn shows_what_is_there_and_nothing_else() {
        let mut report = Report::new("Told", "How soon.");
        let mut table = Table::begin("Ratios", 1, &["site", "ratio"]);
        table.row(vec!["sync".into(), format!("{:.1}", f64::NAN)]);
        report.tables.extend([table, Table::begin("Empty", 1, &["site", "ratio"])]);
        report.verdict.bar(false, format!("{} of the throughput", f64::INFINITY));
        report.verdict.undecided.push("about as many".to_owned());
        let folder = std::env::temp_dir().join(format!("watertight-document-{}", std::process::id()));
        report.write(&folder, "tell", false, Listening::start().end()).unwrap();
        let path = folder.join("performance.md");
        write(&path, &folder, &["tell", "storm"]).unwrap();
        let text = fs::read_to_string(path).unwrap();
        fs::remove_dir_all(folder).unwrap();
        assert!(text.contains("| sync | - |") && text.contains("*missed*: - of the throughput"), "{text}");
        assert!(text.contains("- *undecided*: about as many\n"), "{text}");
        assert!(!text.contains("Empty") && !text.contains(".svg"), "{text}");
        assert!(text.contains("There is no result of `storm`."), "{text}");
        assert!(text.contains(&Machine::here([]).to_string()), "{text}");
    }
}
