//! Where things are, and how to call the tools.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target` in the root.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The folder of the Node suite.
pub(crate) fn test_client() -> PathBuf {
    root().join("test-client")
}

/// The server that the Node suite and the measurements start.
pub(crate) fn server_binary() -> PathBuf {
    release_binary("game-admin-backend")
}

/// A program that has been built for release.
pub(crate) fn release_binary(name: &str) -> PathBuf {
    target_dir().join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// The cargo that runs us, called from the root.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// The folder of the server on Node that the bench compares with.
pub(crate) fn node_peer() -> PathBuf {
    root().join("bench").join("peers").join("node")
}

/// npm, called from the folder of the Node suite.
pub(crate) fn npm<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    npm_in(&test_client(), arguments)
}

/// npm, called from a folder.
pub(crate) fn npm_in<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    // On Windows npm is a script that only answers to its full name.
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(arguments).current_dir(folder);
    command
}
