//! A supervisor and its worker, which do what the tests ask of them. See `parent.rs` and `worker.rs`.

#[cfg(target_os = "linux")]
mod board;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    if worker::takes_its_own_way() {
        return std::process::ExitCode::SUCCESS;
    }
    match watertight_supervisor::Supervised::from_env() {
        Ok(Some(supervised)) => worker::run(supervised),
        Ok(None) => parent::run(),
        Err(error) => {
            say(&format!("not supervised: {error}"));
            std::process::ExitCode::FAILURE
        }
    }
}

/// Tells the test, which may have gone.
#[cfg(target_os = "linux")]
fn say(line: &str) {
    use std::io::Write as _;
    _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(not(target_os = "linux"))]
fn main() {}
