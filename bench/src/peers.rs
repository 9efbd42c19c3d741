//! Servers of others, to compare with: `bench/peers`. Nothing is installed from here, so each may be missing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};

use crate::mortal::Program;
use crate::server::{Kind, binary};

/// A peer's program, or what to do for it to be there.
pub(crate) type Found = Result<Program, String>;

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
    let is_there = folder.join("node_modules/socket.io/package.json").is_file()
        && output("node", &["--version"]).is_ok();
    if is_there { Ok(Program::new("node", [folder.join("server.js")])) } else { Err(MISSING.to_owned()) }
}

/// A process of Erlang's for each connection. Compiled into `build`.
pub(crate) fn erlang(build: &Path) -> Result<Found> {
    if output("erlc", &["-help"]).is_err() {
        return Ok(Err("Erlang is left out: `apt-get install erlang-base`".to_owned()));
    }
    fs::create_dir_all(build).with_context(|| format!("cannot make {}", build.display()))?;
    for module in ["bench_server.erl", "bench_connection.erl"] {
        let mut compile = Command::new("erlc");
        let output = compile.arg("-o").arg(build).arg(folder("erlang").join(module)).output()?;
        anyhow::ensure!(
            output.status.success(),
            "erlc {module}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let begin = ["-noinput", "-pa"].map(OsString::from);
    let end = ["-s", "bench_server", "start"].map(OsString::from);
    let arguments = begin.into_iter().chain([build.into()]).chain(end);
    Ok(Ok(Program::new("erl", arguments)))
}

fn folder(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(peer)
}

fn output(program: &str, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program).args(arguments).output()?)
}
