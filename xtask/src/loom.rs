//! The loom models: the tests whose names begin with `loom_`.
//!
//! Loom replaces atomics and locks at compile time, under `--cfg watertight_loom`. Given through `RUSTFLAGS` that flag would
//! rebuild all that we depend on. Here the compiler of our own crates, and only of them, is this program, which passes
//! everything on and adds the flag. What we depend on is shared with the other tests where its features are the same; two
//! packages have fewer than all of them, so that some of it is built once more.

use std::{
    env,
    process::{Command, exit},
};

use anyhow::{Context, Result};

use crate::cargo::cargo;

/// Set where this program is called as a compiler. Cargo knows a compiler by its path: whoever changes what is compiled under
/// the same name runs `cargo clean -p` for our crates.
const COMPILER: &str = "WATERTIGHT_LOOM_COMPILER";

/// Checks the models.
pub(crate) fn models() -> Result<Command> {
    let packages = ["--package", "watertight", "--package", "watertight-socketioxide"];
    let mut command = cargo(["test", "--all-features", "--lib"]);
    command.args(packages).arg("loom_");
    command.env("RUSTC_WORKSPACE_WRAPPER", env::current_exe().context("cannot tell where this program is")?);
    command.env(COMPILER, "1");
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        // Loom's own advice: two or three find nearly every fault, and the search stays short.
        command.env("LOOM_MAX_PREEMPTIONS", "3");
    }
    Ok(command)
}

/// Whether cargo calls this program to compile.
pub(crate) fn is_compiler() -> bool {
    env::var_os(COMPILER).is_some()
}

/// Compiles as cargo asks: its arguments are the compiler and what that is to be called with.
pub(crate) fn compile() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let compiler = arguments.next().context("cargo names the compiler first")?;
    let status = Command::new(&compiler)
        .args(arguments)
        .args(["--cfg", "watertight_loom"])
        .status()
        .with_context(|| format!("cannot start {}", compiler.display()))?;
    exit(status.code().unwrap_or(1))
}
