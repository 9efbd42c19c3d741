//! A supervisor and its worker, which do what the tests ask of them. See `parent.rs` and `worker.rs`.

#[cfg(unix)]
mod board;
#[cfg(unix)]
mod parent;
#[cfg(unix)]
mod worker;

#[cfg(unix)]
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
#[cfg(unix)]
fn say(line: &str) {
    use std::io::Write as _;
    _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(not(unix))]
fn main() {}
