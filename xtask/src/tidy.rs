//! What the documents say of the tests is true: every test that they name exists.

use std::path::{Path, PathBuf};

/// The folders that the documents abbreviate; the table at the head of `docs/guarantees.md` says the same.
const FOLDERS: [(&str, &str); 9] = [
    ("core", "crates/watertight/tests"),
    ("core-src", "crates/watertight/src"),
    ("axum", "crates/watertight-axum/tests/it"),
    ("sio", "crates/watertight-socketioxide/tests/it"),
    ("founding", "crates/watertight-founding/tests"),
    ("recorder", "crates/watertight-recorder/tests"),
    ("fuzz", "fuzz/tests"),
    ("server", "game-admin-backend/tests/it"),
    ("node", "test-client/e2e"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All `folder/file::name` in backticks.
fn named_tests(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|quoted| {
        let (path, name) = quoted.split_once("::")?;
        let (folder, file) = path.split_once('/')?;
        FOLDERS.iter().any(|(short, _)| *short == folder).then_some((folder, file, name))
    })
}

fn exists(folder: &str, file: &str, name: &str) -> bool {
    let Some((_, path)) = FOLDERS.iter().find(|(short, _)| *short == folder) else { return false };
    let Ok(text) = std::fs::read_to_string(root().join(path).join(file)) else { return false };
    let is_a_test = |name: &str| text.contains(&format!("fn {name}(")) || text.contains(&format!("{name}:"));
    match folder {
        // Titles are made of templates: what is around the holes must be there.
        "node" => text.contains(name),
        _ => is_a_test(name.rsplit("::").next().unwrap_or(name)),
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut checked = 0;
    for document in ["docs/guarantees.md", "docs/architecture.md", "docs/migration.md", "README.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect("the document is there");
        for (folder, file, name) in named_tests(&text) {
            assert!(
                exists(folder, file, name),
                "{document} names {folder}/{file}::{name}, and there is no such test"
            );
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} were found: has the way they are written changed?");
}

#[test]
fn a_test_that_is_not_there_is_not_found() {
    assert!(exists("core", "sweep.rs", "nothing_is_given_up_and_orphans_are_found"));
    for (folder, file, name) in
        [("core", "sweep.rs", "nothing"), ("core", "none.rs", "x"), ("nowhere", "x.rs", "y")]
    {
        assert!(!exists(folder, file, name), "{folder}/{file}::{name}");
    }
}
