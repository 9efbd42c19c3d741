//! `cargo xtask museum`: real bugs of pinned versions, without and with Watertight.
//!
//! Every exhibit is a program with a lock file of its own, outside of the workspace.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{cargo, root, target_dir},
    run,
};

/// The package that all exhibits share, and that writes the tables.
const COMMON: &str = "common";

/// Runs `only` these exhibits, or all, and writes the tables of those that hold into the document. An error when one does
/// not: a bug that does no harm any more, or a protection that is not what the table says.
pub(crate) fn museum(only: &[String]) -> Result<()> {
    let (mut held, mut failed) = (Vec::new(), Vec::new());
    // Not `--locked`: what our own crates need may have changed since. What is on show is pinned by the manifests as well.
    for exhibit in chosen(exhibits()?, only)? {
        println!("\n{exhibit}");
        let mut command = at(&exhibit, ["run", "--quiet", "--", "--results"]);
        command.arg(folder("results"));
        if run::run(command)?.success { held.push(exhibit) } else { failed.push(exhibit) }
    }
    let mut table = at(COMMON, ["run", "--quiet", "--bin", "museum-table", "--"]);
    table.arg(root().join("docs").join("museum.md"));
    table.args(held.iter().map(|exhibit| folder("results").join(exhibit).with_extension("json")));
    ensure!(run::run(table)?.success, "the tables cannot be written; see above");
    if !failed.is_empty() {
        bail!("not as it was: {}; see above", failed.join(", "));
    }
    Ok(())
}

/// Checks the format of every package of the museum; `cargo fmt` at the root does not know them.
pub(crate) fn formats() -> Result<Vec<Command>> {
    let packages = exhibits()?.into_iter().chain([COMMON.to_owned()]);
    Ok(packages.map(|package| at(&package, ["fmt", "--check"])).collect())
}

/// The names of all exhibits, which are folders.
fn exhibits() -> Result<Vec<String>> {
    let museum = root().join("museum");
    let entries = fs::read_dir(&museum).with_context(|| format!("cannot read {}", museum.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", museum.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.join("Cargo.toml").is_file() && name != COMMON {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn chosen(all: Vec<String>, only: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = only.iter().find(|name| !all.contains(name)) {
        bail!("there is no exhibit {unknown}; there are: {}", all.join(", "));
    }
    Ok(if only.is_empty() { all } else { only.to_vec() })
}

fn folder(name: &str) -> PathBuf {
    root().join("museum").join(name)
}

/// Cargo in the folder of a package of the museum. All build into one folder, where what they have in common is built
/// once.
fn at<'a>(package: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(folder(package)).env("CARGO_TARGET_DIR", target_dir().join("museum"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exhibit_has_a_lock_file_and_a_place_in_the_document() {
        let document =
            fs::read_to_string(root().join("docs").join("museum.md")).expect("the document is there");
        let all = exhibits().expect("the museum is there");
        assert!(!all.is_empty());
        for exhibit in all {
            assert!(folder(&exhibit).join("Cargo.lock").is_file(), "{exhibit} has no lock file");
            assert!(document.contains(&format!("<!-- table: {exhibit} -->")), "{exhibit} has no place");
        }
    }

    #[test]
    fn an_exhibit_that_is_not_there_is_an_error() {
        let all = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(all(), &[]).expect("all"), all());
        assert_eq!(chosen(all(), &["b".to_owned()]).expect("one"), ["b"]);
        assert!(chosen(all(), &["c".to_owned()]).is_err());
    }
}
