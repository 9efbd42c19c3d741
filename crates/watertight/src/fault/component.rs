//! Whose code a location belongs to.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Location;

/// Whose code panicked, read from the path of the location.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Component {
    /// The application: any path that is none of the others.
    UserCode,
    /// A dependency.
    Crate {
        /// Its name.
        name: String,
        /// Its version, or the revision of a git dependency; empty when the path does not say.
        version: String,
    },
    /// Rust's own library.
    Std,
    /// The panic had no location.
    Unknown,
}

impl Component {
    /// Reads the component from a location's path, with either kind of separator:
    ///
    /// - `…/registry/src/<registry>/<name>-<version>/…`: a crate of a registry,
    /// - `…/git/checkouts/<name>-<hash>/<revision>/…`: a crate from git,
    /// - `…/vendor/<name>[-<version>]/…`: a vendored crate,
    /// - `…/rustc/<hash>/library/…` or `…/lib/rustlib/src/…`: Rust's own library.
    #[must_use]
    pub fn of(location: &Location) -> Self {
        let parts: Vec<&str> = location.file().split(['/', '\\']).filter(|part| !part.is_empty()).collect();
        // From the innermost folder outwards: a home folder may itself be called `vendor`.
        for at in (0..parts.len()).rev() {
            let before = |back: usize| at.checked_sub(back).and_then(|index| parts.get(index)).copied();
            let after = |ahead: usize| parts.get(at + ahead).copied();
            match parts[at] {
                "src" if before(1) == Some("registry") => {
                    if let Some((name, version)) = after(2).and_then(split_version) {
                        return Self::Crate { name: name.into(), version: version.into() };
                    }
                }
                "checkouts" if before(1) == Some("git") => {
                    if let (Some(folder), Some(revision)) = (after(1), after(2)) {
                        let name = match folder.rsplit_once('-') {
                            Some((name, _hash)) if !name.is_empty() => name,
                            _ => folder,
                        };
                        return Self::Crate { name: name.into(), version: revision.into() };
                    }
                }
                "vendor" if after(2).is_some() => {
                    let folder = parts[at + 1];
                    let (name, version) = split_version(folder).unwrap_or((folder, ""));
                    return Self::Crate { name: name.into(), version: version.into() };
                }
                "library" if before(2) == Some("rustc") => return Self::Std,
                "rustlib" if after(1) == Some("src") => return Self::Std,
                _ => {}
            }
        }
        Self::UserCode
    }

    /// Whether this is the code between the socket and the application: HTTP, WebSocket, Engine.IO.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        const TRANSPORT: [&str; 9] = [
            "engineioxide",
            "engineioxide-core",
            "hyper",
            "hyper-util",
            "tokio-tungstenite",
            "tungstenite",
            "tokio-rustls",
            "rustls",
            "h2",
        ];
        matches!(self, Self::Crate { name, .. } if TRANSPORT.contains(&name.as_str()))
    }
}

/// Splits `md-5-0.10.6-rc.1` into `md-5` and `0.10.6-rc.1`: the version starts at the first dash
/// that is followed by `N.N.N`.
fn split_version(folder: &str) -> Option<(&str, &str)> {
    folder.match_indices('-').map(|(dash, _)| (&folder[..dash], &folder[dash + 1..])).find(|(name, rest)| {
        let mut numbers = rest.splitn(3, '.');
        let mut is_number =
            || numbers.next().is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        !name.is_empty()
            && is_number()
            && is_number()
            && rest.splitn(3, '.').nth(2).is_some_and(|patch| patch.starts_with(|c: char| c.is_ascii_digit()))
    })
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserCode => f.write_str("user code"),
            Self::Crate { name, version } if version.is_empty() => f.write_str(name),
            Self::Crate { name, version } => write!(f, "{name} {version}"),
            Self::Std => f.write_str("std"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> String {
        Component::of(&Location::new(path, 1, 1)).to_string()
    }

    #[test]
    fn the_founding_log_line_is_engineioxide() {
        let founding =
            r"C:\Users\GIGABYTE\.cargo\registry\src\<registry>\engineioxide-0.10.2\src\transport\ws.rs";
        assert_eq!(of(founding), "engineioxide 0.10.2");
        assert!(Component::of(&Location::new(founding, 190, 18)).is_transport());
    }

    #[test]
    fn registry_paths_give_name_and_version() {
        assert_eq!(
            of("/home/a/.cargo/registry/src/index-1949cf8c6b5b557f/md-5-0.10.6/src/lib.rs"),
            "md-5 0.10.6"
        );
        assert_eq!(of("/r/registry/src/i/foo-1.2.3-alpha.1/src/lib.rs"), "foo 1.2.3-alpha.1");
        assert_eq!(of("/r/registry/src/i/x-2-1.0.0+build-7/src/lib.rs"), "x-2 1.0.0+build-7");
    }

    #[test]
    fn other_origins() {
        assert_eq!(of("/home/a/.cargo/git/checkouts/axum-0a1b2c3d/4e5f6a7/axum/src/lib.rs"), "axum 4e5f6a7");
        assert_eq!(
            of("/git/checkouts/-0a1b2c3d/4e5f6a7/lib.rs"),
            "-0a1b2c3d 4e5f6a7",
            "every crate has a name"
        );
        assert_eq!(of("/srv/app/vendor/serde/src/lib.rs"), "serde");
        assert_eq!(of(r"D:\app\vendor\serde-1.0.1\src\lib.rs"), "serde 1.0.1");
        assert_eq!(of("/rustc/59807616e/library/core/src/option.rs"), "std");
        assert_eq!(of("/usr/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs"), "std");
    }

    #[test]
    fn everything_else_is_user_code() {
        for path in
            ["src/main.rs", "/srv/registry/src/main.rs", r"game\src\players\chat.rs", "", "vendor/x.rs"]
        {
            assert_eq!(of(path), "user code", "{path}");
        }
    }
}
