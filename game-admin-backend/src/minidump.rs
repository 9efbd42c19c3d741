//! Minidumps of the server, written by a process that waits for its death.

use std::{io, path::Path};

use watertight_recorder::{FlightRecorder, NotRecorded};

/// The first argument of the process that waits.
const HELPER: &str = "--minidump-into";

/// Has crashes marked, and written down if there is a directory for that.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn mark_crashes(recorder: FlightRecorder, directory: Option<&Path>) -> Result<(), NotRecorded> {
    use std::process::Command;

    use tracing::warn;
    use watertight_recorder::Dumper;

    let start = |directory: &Path| {
        let program = std::env::current_exe()?;
        Dumper::start(Command::new(program).arg(HELPER).arg(directory))
    };
    match directory.map(start).transpose() {
        Ok(Some(dumper)) => recorder.mark_and_dump_crashes(dumper),
        Ok(None) => recorder.mark_crashes(),
        Err(error) => {
            warn!(%error, "no minidumps will be written: their process cannot be started");
            recorder.mark_crashes()
        }
    }
}

/// Has crashes marked.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn mark_crashes(recorder: FlightRecorder, _: Option<&Path>) -> Result<(), NotRecorded> {
    recorder.mark_crashes()
}

/// Does the work of the process that waits, if this is one.
///
/// # Errors
///
/// If a minidump cannot be written.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn help() -> Option<io::Result<()>> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != HELPER {
        return None;
    }
    let directory = arguments.next()?;
    Some(watertight_recorder::dump_parent(Path::new(&directory)).map(|_| ()))
}

/// Nobody waits here.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn help() -> Option<io::Result<()>> {
    let _ = HELPER;
    None
}
