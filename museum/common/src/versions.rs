//! What a lock file pins.

use serde::{Deserialize, Serialize};

/// A package and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
}

/// The versions of `packages` in a lock file; those that it does not have are left out.
pub(crate) fn versions(lock: &str, packages: &[&str]) -> Vec<Version> {
    let entries = lock.split("[[package]]").filter_map(|entry| {
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        };
        Some(Version { package: value("name")?, version: value("version")? })
    });
    entries.filter(|found| packages.contains(&found.package.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_lock_file() {
        let lock = include_str!("../Cargo.lock");
        let found = versions(lock, &["axum", "no-such-package"]);
        assert_eq!((found.len(), found[0].package.as_str()), (1, "axum"));
        assert!(found[0].version.starts_with("0."));
    }
}
