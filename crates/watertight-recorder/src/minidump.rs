//! Minidumps: what the threads of a process were at when it died, for a debugger.
//!
//! A process cannot write down its own state while it dies. So it has a helper, a process that waits for that and does
//! nothing else: [`Dumper::start`] starts it, and [`dump_parent`] is what it does.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crash_handler::CrashContext;
use minidump_writer::CrashContextExt;
use minidump_writer::minidump_writer::MinidumpWriterConfig;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::minidump_of;

/// How long the dying process waits for its helper: every client waits with it.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How long the helper waits for each thread to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The most that a dump may have, in bytes. Stacks of hundreds of threads fit into it.
const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// The dying process's end of its helper.
#[derive(Debug)]
pub struct Dumper {
    request: OwnedFd,
    done: OwnedFd,
}

impl Dumper {
    /// Starts the helper: `command` has to call [`dump_parent`] and nothing else. It ends with this process.
    ///
    /// # Errors
    ///
    /// When the process cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut helper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (helper.stdin.take(), helper.stdout.take()) {
            (Some(request), Some(done)) => Ok(Self { request: request.into(), done: done.into() }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Has the helper write down this process as it is, and waits until it has.
    ///
    /// For a signal's handler: three system calls, no lock, no allocation, no panic.
    pub(crate) fn request(&self, context: &CrashContext) {
        // It fits into the pipe's buffer, so it is written at once or not at all.
        if rustix::io::write(&self.request, context.as_bytes()).is_ok() {
            let mut done = [PollFd::new(&self.done, PollFlags::IN)];
            // Whatever the answer, there is nothing else to wait for.
            let _ = poll(&mut done, Some(&PATIENCE));
        }
    }
}

/// Waits until the process at the other end of standard input dies, and writes its minidump into `directory`, as
/// `PROCESS.dmp`. Answers its path; `None` when that process ends in peace.
///
/// # Errors
///
/// When it cannot be written.
pub fn dump_parent(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut context = Vec::new();
    // No more than one: the process waits for the answer with its end of the pipe open.
    io::stdin().lock().take(size_of::<CrashContext>() as u64).read_to_end(&mut context)?;
    let Some(context) = CrashContext::from_bytes(&context) else { return Ok(None) };
    let written = write(directory, context);
    // Without the answer the process would wait longer for nothing.
    let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    written.map(Some)
}

fn write(directory: &Path, context: CrashContext) -> io::Result<PathBuf> {
    // The command line, the environment and what clients sent are in it: nobody else reads that.
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let path = minidump_of(directory, context.pid.unsigned_abs());
    // Half a dump would be taken for one.
    let part = path.with_extension("part");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    let mut config = MinidumpWriterConfig::new(context.pid, context.tid);
    config.set_minidump_size_limit(MAX_SIZE).stop_timeout(STOP_TIMEOUT);
    config.set_crash_context(CrashContextExt { inner: context });
    match config.write(&mut file) {
        Ok(_) => {
            fs::rename(&part, &path)?;
            Ok(path)
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(io::Error::other(error))
        }
    }
}
