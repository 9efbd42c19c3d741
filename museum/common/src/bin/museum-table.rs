//! Writes the tables of a document from what exhibits saw: `museum-table DOCUMENT RESULTS...`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use watertight_museum::{Results, table};

#[derive(Debug, Parser)]
#[command(about = "Writes the tables of a document from what exhibits saw")]
struct CommandLine {
    /// The document.
    document: PathBuf,

    /// What exhibits wrote.
    results: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let CommandLine { document, results } = CommandLine::parse();
    let mut text = read(&document)?;
    for path in &results {
        let results: Results = serde_json::from_str(&read(path)?)
            .with_context(|| format!("{} is not what an exhibit writes", path.display()))?;
        text = table::replace(&text, &results)?;
    }
    fs::write(&document, text).with_context(|| format!("cannot write {}", document.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
