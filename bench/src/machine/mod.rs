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
pub(crate) use process::{backlog, children, kill};
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
}

/// Whose versions matter.
const MEASURED: [&str; 5] = ["socketioxide", "engineioxide", "axum", "hyper", "tokio"];

impl Machine {
    /// This one, as far as it tells.
    pub(crate) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let rust = Command::new("rustc").arg("--version").output().ok();
        let rust = rust.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            processors: available_parallelism().map_or(1, Into::into),
            memory_gib: kilobytes.div_ceil(1024 * 1024),
            system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            rust: rust.filter(|rust| !rust.is_empty()).unwrap_or_else(unknown),
            versions: versions(include_str!("../../../Cargo.lock")),
        }
    }
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
        let Self { processor, processors, memory_gib, system, rust, versions } = self;
        write!(
            f,
            "{processor}, {processors} processors, {memory_gib} GiB, {system}; {rust}; {}",
            versions.join(", ")
        )
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
