//! Servers of others, to compare with: `bench/peers`. Nothing is installed from here, so each may be missing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mortal::Program;
use crate::server::{Kind, binary};

/// A peer's program, or what to do for it to be there.
pub(crate) type Found = Result<Program, String>;

/// Of the peers that were found since they were last asked for.
static VERSIONS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The versions of the peers that were found since this was last asked: `node v22.1.0`.
pub(crate) fn versions() -> Vec<String> {
    std::mem::take(&mut VERSIONS.lock().unwrap_or_else(PoisonError::into_inner))
}

fn found(versions: impl IntoIterator<Item = String>) {
    VERSIONS.lock().unwrap_or_else(PoisonError::into_inner).extend(versions);
}

/// The server of the bench on bare socketioxide.
pub(crate) fn bare() -> Result<Program> {
    let program = binary("WATERTIGHT_BENCH_SERVER", "watertight-bench-server")?;
    Ok(Program::new(program, [Kind::Bare.name(), "--port"]))
}

/// Socket.IO's own server.
pub(crate) fn node() -> Found {
    const MISSING: &str = "Node's socket.io is left out: it needs Node (https://nodejs.org, or `apt-get install nodejs npm`) \
                           and `npm ci` in `bench/peers/node`";
    let folder = folder("node");
    let versions = node_versions(&folder).map_err(|error| format!("{MISSING} ({error:#})"))?;
    found(versions);
    Ok(Program::new("node", [folder.join("server.js")]))
}

fn node_versions(folder: &Path) -> Result<[String; 2]> {
    let node = output(Command::new("node").arg("--version"))?;
    let package = folder.join("node_modules/socket.io/package.json");
    let text = fs::read_to_string(&package).with_context(|| format!("cannot read {}", package.display()))?;
    let package: Value = serde_json::from_str(&text).with_context(|| format!("in {}", package.display()))?;
    let version = package["version"].as_str().unwrap_or("of no known version");
    Ok([format!("node {node}"), format!("socket.io {version}")])
}

/// A process of Erlang's for each connection. Compiled into `build`.
pub(crate) fn erlang(build: &Path) -> Found {
    let version = r#"io:format("~s, erts ~s", [erlang:system_info(otp_release), erlang:system_info(version)]), halt()."#;
    let version = output(Command::new("erl").args(["-noinput", "-eval", version]))
        .map_err(|error| format!("Erlang is left out: `apt-get install erlang-base` ({error:#})"))?;
    compile(build).map_err(|error| format!("Erlang is left out: {error:#}"))?;
    found([format!("erlang {version}")]);
    let begin = ["-noinput", "-pa"].map(OsString::from);
    let end = ["-s", "bench_server", "start"].map(OsString::from);
    let arguments = begin.into_iter().chain([build.into()]).chain(end);
    Ok(Program::new("erl", arguments))
}

fn compile(build: &Path) -> Result<()> {
    fs::create_dir_all(build).with_context(|| format!("cannot make {}", build.display()))?;
    for module in ["bench_server.erl", "bench_connection.erl"] {
        output(Command::new("erlc").arg("-o").arg(build).arg(folder("erlang").join(module)))?;
    }
    Ok(())
}

fn folder(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(peer)
}

/// What a program prints. When it fails, its first line of that is the error.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = printed.lines().chain(errors.lines()).next().unwrap_or_default();
    ensure!(output.status.success(), "{name} failed: {first}");
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_compile_says_so_in_a_line() {
        let error = output(Command::new("sh").args(["-c", "echo first; echo second; exit 1"]));
        assert_eq!(error.unwrap_err().to_string(), "sh failed: first");
        assert!(output(&mut Command::new("no-such-program")).is_err());
    }
}
