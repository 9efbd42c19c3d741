//! `cargo xtask fuzz`: throws anything at what this project parses itself.

use anyhow::{Result, bail};

use crate::{cargo::cargo, run};

/// Fuzzes `targets`, or all, for so many seconds each. An error when one of them fails.
pub(crate) fn fuzz(targets: &[String], seconds: u64) -> Result<()> {
    // Not for release: numbers that overflow are to be found as well.
    let mut command = cargo(["run", "--package", "watertight-fuzz", "--"]);
    command.args(["--seconds", &seconds.to_string()]).args(targets);
    if !run::run(command)?.success {
        bail!("a target fails; see above");
    }
    Ok(())
}
