//! What a step needs before it can run, installed only when it is missing.

use std::{fs, path::Path, process::Command, time::SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{cargo, node_peer, npm_in, test_client},
    run::{run, succeeds},
};

/// The oldest Node whose test runner has everything that the suite uses.
const NODE: u32 = 20;

/// Makes sure that a component of the toolchain is there: `command` is cargo's word for it.
pub(crate) fn component(command: &str, component: &str) -> Result<()> {
    let there = || succeeds(cargo([command, "--version"]));
    if there() {
        return Ok(());
    }
    println!("      `cargo {command}` is missing; installing it");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", component]);
    // Where there is no rustup, the message below says what to do.
    let _ = run(rustup);
    ensure!(
        there(),
        "`cargo {command}` is missing and could not be installed: run `rustup component add {component}`, \
         or install the package {component} of your system"
    );
    Ok(())
}

/// Makes sure that Node is there and that the packages of the suite are those of its lock file.
pub(crate) fn node_packages() -> Result<()> {
    node_packages_in(&test_client())
}

/// The same for the server on Node that the bench compares with. Without it the bench leaves that server out and says so.
pub(crate) fn node_peer_packages() -> Result<()> {
    node_packages_in(&node_peer())
}

fn node_packages_in(folder: &Path) -> Result<()> {
    let output = Command::new("node").arg("--version").output().context(
        "Node is missing: install it from https://nodejs.org or with `apt-get install nodejs npm`",
    )?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= NODE => {}
        _ => bail!("this needs Node {NODE} or newer, and `node --version` says {version:?}"),
    }
    if installed(folder) {
        return Ok(());
    }
    let outcome = run(npm_in(folder, ["ci", "--no-audit", "--no-fund"]))
        .context("npm is missing: it comes with Node, or with `apt-get install npm`")?;
    ensure!(outcome.success, "`npm ci` failed in {}", folder.display());
    Ok(())
}

/// Whether npm has already installed what the lock file says. npm writes its own copy of the lock when it is done.
fn installed(folder: &Path) -> bool {
    let changed = |path: &str| -> Option<SystemTime> {
        fs::metadata(folder.join(path)).and_then(|file| file.modified()).ok()
    };
    match (changed("node_modules/.package-lock.json"), changed("package-lock.json")) {
        (Some(copy), Some(lock)) => copy >= lock,
        _ => false,
    }
}

/// `v20.1.2` → 20
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_node() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("24.0.0"), Some(24));
        assert_eq!(major("node"), None);
    }
}
