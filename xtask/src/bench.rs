//! `cargo xtask bench`: measures what Watertight promises, against the server as a user runs it.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{
    cargo::{cargo, release_binary, root, server_binary},
    run, setup,
};

/// Measures `only` these scenarios, or all. An error when something that must hold does not.
pub(crate) fn bench(only: &[String], quick: bool) -> Result<()> {
    ensure!(run::run(build())?.success, "the servers do not build; see above");
    // A short measurement takes the peers that are there.
    if !quick && let Err(missing) = setup::node_peer_packages() {
        println!("      {missing:#}");
    }
    let holds = run::run(measurement(only, quick))?.success;
    // Also of what does not hold: the document says so.
    if !quick {
        ensure!(run::run(document())?.success, "the document cannot be written; see above");
    }
    ensure!(holds, "not everything holds; see above");
    Ok(())
}

/// Builds the server as a user runs it, and the load generator with the servers of the bench, at once: what they have in
/// common is built once.
pub(crate) fn build() -> Command {
    let mut command = cargo(["build", "--release"]);
    for package in ["game-admin-backend", "watertight-bench", "watertight-bench-server"] {
        command.args(["--package", package]);
    }
    command
}

/// Measures, with what has been built.
pub(crate) fn measurement(only: &[String], quick: bool) -> Command {
    let mut command = Command::new(release_binary("watertight-bench"));
    command.args(only).env("WATERTIGHT_SERVER", server_binary());
    if quick {
        command.arg("--quick");
    }
    command
}

/// Writes the document of the results that are there.
fn document() -> Command {
    let mut command = Command::new(release_binary("watertight-bench"));
    command.arg("--document").arg(root().join("docs").join("performance.md"));
    command
}
