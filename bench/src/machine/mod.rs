//! The machine that is measured on: what it is, and what else it was doing.

mod descriptors;
mod noise;
mod process;
mod threads;
mod watch;

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

pub(crate) use descriptors::descriptors;
pub(crate) use noise::{Listening, Noise};
pub(crate) use process::{adopt_orphans, backlog, children, kill};
pub(crate) use threads::{process_cpu_time, thread_cpu_time};
pub(crate) use watch::{Watch, cpu_time, load, resident};

/// What numbers are numbers of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    memory_gib: u64,
    system: String,
    rust: String,
    /// Of what is measured: `socketioxide 0.18.9`.
    versions: Vec<String>,
    /// What is checked out, with a `+` when something was changed since. `None` outside of a git checkout.
    commit: Option<String>,
}

/// Whose versions matter.
const MEASURED: [&str; 5] = ["socketioxide", "engineioxide", "axum", "hyper", "tokio"];

impl Machine {
    /// This one, as far as it tells, with what was measured beside our own.
    pub(crate) fn here(peers: impl IntoIterator<Item = String>) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let ours = versions(include_str!("../../../Cargo.lock"));
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            processors: available_parallelism().map_or(1, Into::into),
            memory_gib: kilobytes.div_ceil(1024 * 1024),
            system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            rust: said("rustc", &["--version"]).unwrap_or_else(unknown),
            versions: ours.into_iter().chain(peers).collect(),
            commit: commit(),
        }
    }
}

/// `1a2b3c4d5e+`
fn commit() -> Option<String> {
    let commit = said("git", &["rev-parse", "--short=10", "HEAD"])?;
    // What is written by a measurement changes nothing that is measured.
    let written = [":/", ":(top,exclude)bench/results", ":(top,exclude)docs/performance.md"];
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    let changed = said("git", &[&status[..], &written].concat());
    Some(commit + if changed.is_some_and(|changed| changed.is_empty()) { "" } else { "+" })
}

/// What a program prints in the folder of the bench. `None` when it fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The newest of each in a lock file: older ones are for tests of old versions.
fn versions(lock: &str) -> Vec<String> {
    let packages = |name: &str| {
        let name = format!("name = \"{name}\"\nversion = \"");
        let found = lock.split("[[package]]\n").filter_map(move |package| {
            let version = package.strip_prefix(&name)?.split('"').next()?;
            let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
            Some((numbers, version))
        });
        found.max().map(|(_, version)| version)
    };
    MEASURED.iter().filter_map(|name| Some(format!("{name} {}", packages(name)?))).collect()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, processors, memory_gib, system, rust, versions, commit } = self;
        write!(
            f,
            "{processor}, {processors} processors, {memory_gib} GiB, {system}; {rust}; {}; ",
            versions.join(", ")
        )?;
        match commit {
            Some(commit) => write!(f, "commit {commit}"),
            None => f.write_str("not a git checkout, so of no known commit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts() {
        let lock = "[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\n\n[[package]]\nname = \"axum\"\nversion = \"0.8.10\"\n\
                    [[package]]\nname = \"axum-core\"\nversion = \"0.9.0\"\n";
        assert_eq!(versions(lock), ["axum 0.8.10"]);
        assert_eq!(versions(include_str!("../../../Cargo.lock")).len(), MEASURED.len());
    }
}
