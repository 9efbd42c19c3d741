//! Whose code a location belongs to.

use watertight::{Component, Location};

use super::{MEMORY, Target, text};

pub(super) const TARGET: Target = Target {
    name: "component",
    check,
    words: &[
        "/",
        "\\",
        "registry",
        "src",
        "index.crates.io-1949cf8c6b5b557f",
        "serde-1.0.228",
        "md-5-0.10.6",
        "x-1.2.3-rc.1",
        "git",
        "checkouts",
        "axum-0a1b2c3d",
        "4e5f6a7",
        "vendor",
        "rustc",
        "59807616e",
        "library",
        "lib",
        "rustlib",
        "/registry/src/i/",
        "/git/checkouts/",
        "-",
        "0.1.2",
        "C:",
        "main.rs",
    ],
    memory: MEMORY,
};

/// A crate's name and version stand in the path, either separator means the same, and the short form has no folder.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    let location = Location::new(&*text, 7, 3);
    let component = Component::of(&location);
    if let Component::Crate { name, version } = &component {
        assert!(!name.is_empty() && text.contains(name.as_str()) && text.contains(version.as_str()));
    }
    assert_eq!(Component::of(&Location::new(text.replace('\\', "/"), 7, 3)), component);
    assert_eq!(Component::of(&Location::new(text.replace('/', "\\"), 7, 3)), component);
    let short = location.to_string();
    assert!(short.ends_with(":7") && !short.contains(['/', '\\']), "{short}");
    assert!(text.ends_with(location.file_name()));
}
