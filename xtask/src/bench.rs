//! `cargo xtask bench`: measures what Watertight promises, against the server as a user runs it.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    cargo::{cargo, server_binary},
    run,
};

/// Measures `only` these scenarios, or all. An error when something that must hold does not.
pub(crate) fn bench(only: &[String], quick: bool) -> Result<()> {
    for command in [server(), measurement(only, quick)] {
        if !run::run(command)?.success {
            bail!("not everything holds; see above");
        }
    }
    Ok(())
}

/// Builds the server.
pub(crate) fn server() -> Command {
    cargo(["build", "--release", "--package", "game-admin-backend"])
}

/// Builds the load generator and measures. Needs the server.
pub(crate) fn measurement(only: &[String], quick: bool) -> Command {
    let mut command = cargo(["run", "--release", "--package", "watertight-bench", "--"]);
    command.args(only).env("WATERTIGHT_SERVER", server_binary());
    if quick {
        command.arg("--quick");
    }
    command
}
