//! Built with `panic = "abort"`, watertight can do nothing but say so, loudly.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MAIN: &str = "\
fn main() {
    watertight::Watertight::builder().install().expect(\"nothing is installed\");
}
";

/// Builds and runs a program that aborts, outside of the workspace: a profile's `panic` holds for all of its crates,
/// and tests never have it. Takes ten seconds the first time.
fn build_and_run() -> Output {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("abort");
    std::fs::create_dir_all(program.join("src")).expect("the target directory can be written");
    let manifest = format!(
        "[package]\nname = \"abort\"\nedition = \"2024\"\n\
         [dependencies]\nwatertight = {{ path = {core:?} }}\n\
         [profile.dev]\npanic = \"abort\"\ndebug = false\nincremental = false\n\
         [workspace]\n"
    );
    std::fs::write(program.join("Cargo.toml"), manifest).expect("the target directory can be written");
    std::fs::write(program.join("src/main.rs"), MAIN).expect("the target directory can be written");
    // The same versions as the workspace: they are there already, and nothing has to be fetched.
    std::fs::copy(core.join("../../Cargo.lock"), program.join("Cargo.lock"))
        .expect("the workspace has a lock file");
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--target-dir", "target"])
        .current_dir(&program)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs")
}

/// Would reveal a warning that only a configured log would show, or that does not say what to do. That nobody else is
/// warned is checked with the hook that is replaced, in `install.rs`.
#[test]
fn a_build_that_aborts_is_warned_about() {
    let output = build_and_run();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let warning = text.lines().find(|line| line.contains("panic = \"abort\"")).unwrap_or_default();
    assert!(warning.contains("cannot isolate") && warning.contains("Remove"), "{text}");
}
