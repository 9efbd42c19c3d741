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
            println!("not supervised: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() {}
