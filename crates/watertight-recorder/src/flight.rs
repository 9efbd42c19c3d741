//! The flight recorder's memory: made by the parent, written by the worker, read by the parent.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use watertight::Recorder;
use watertight::flight::{Memory, WORDS};

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
use crate::Dumper;
use crate::NotRecorded;
use crate::sys;

/// Memory for one worker's board, of zeros. It is a file without a name, whose descriptor the worker inherits and
/// [maps](FlightRecorder::map), and nobody can make shorter. The parent only reads it, and maps nothing.
///
/// # Errors
///
/// When the operating system has none.
pub fn shared_memory() -> io::Result<File> {
    let file = unnamed_file("watertight-board")?;
    file.set_len(8 * WORDS as u64)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{SealFlags, fcntl_add_seals};

        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    }
    Ok(file)
}

/// A file without a name to which several processes may append, for a [`Journal`](watertight::Journal) that lives as long
/// as the parent.
///
/// # Errors
///
/// When the operating system has none.
pub fn shared_journal() -> io::Result<File> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let file = unnamed_file("watertight-journal")?;
    fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::APPEND)?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn unnamed_file(name: &str) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};

    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?))
}

#[cfg(not(target_os = "linux"))]
fn unnamed_file(_: &str) -> io::Result<File> {
    tempfile::tempfile()
}

/// Takes the program's own code out of this process's memory, on Linux on x86-64 and ARM64. What is called again is mapped
/// again, from the system's cache. For a parent that sleeps: the kernel maps 64 KiB around each function that was ever called,
/// and most of a server's parent was called once.
///
/// Breakpoints of a debugger are lost.
pub fn let_go_of_code() {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    sys::code::let_go_of_program();
}

/// Where the minidump of a process is written, if its crashes are dumped into this directory.
#[must_use]
pub fn minidump_of(directory: &Path, process: u32) -> PathBuf {
    directory.join(format!("{process}.dmp"))
}

/// A board's memory as the parent reads it.
#[derive(Debug)]
pub struct FlightFile(File);

impl FlightFile {
    /// To read what the process that inherited this file writes.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }

    /// The file, for the worker to inherit.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Memory for FlightFile {
    fn read(&self, word: usize, into: &mut [u64]) -> io::Result<()> {
        let at = u64::try_from(word)
            .ok()
            .and_then(|word| word.checked_mul(8))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut bytes = vec![0; into.len() * 8];
        self.0.read_exact_at(&mut bytes, at)?;
        for (word, bytes) in into.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(())
    }
}

/// The board of this process, in memory that its parent made.
#[derive(Debug, Clone, Copy)]
pub struct FlightRecorder(&'static [AtomicU64]);

impl FlightRecorder {
    /// Maps what [`shared_memory`] made, for the rest of the process's life.
    ///
    /// # Errors
    ///
    /// When it is too small for a board, as that of an earlier build may be, or cannot be mapped.
    pub fn map(file: &File) -> Result<Self, NotRecorded> {
        let has = file.metadata().map_err(NotRecorded::Memory)?.len();
        let needs = 8 * WORDS as u64;
        if has < needs {
            return Err(NotRecorded::TooSmall { has, needs });
        }
        Ok(Self(sys::map::words(file).map_err(NotRecorded::Memory)?))
    }

    /// Has signals that end the process mark whose thread got them, on Linux on x86-64 and ARM64. For the rest of the
    /// process's life, once in a process.
    ///
    /// # Errors
    ///
    /// Where that is not possible: whoever was at work is a suspect, then.
    pub fn mark_crashes(self) -> Result<(), NotRecorded> {
        #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
        return sys::crash::mark_crashes(self.0, None);
        #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
        return Err(NotRecorded::Platform);
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
impl FlightRecorder {
    /// [`mark_crashes`](Self::mark_crashes), and then has `dumper` write a minidump. It takes some tens of milliseconds more
    /// until the process is dead.
    ///
    /// # Errors
    ///
    /// As `mark_crashes`.
    pub fn mark_and_dump_crashes(self, dumper: Dumper) -> Result<(), NotRecorded> {
        sys::crash::mark_crashes(self.0, Some(dumper))
    }
}

impl Recorder for FlightRecorder {
    fn words(&self) -> &'static [AtomicU64] {
        self.0
    }

    fn thread(&self) -> u64 {
        #[cfg(target_os = "linux")]
        return rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs().into();
        #[cfg(not(target_os = "linux"))]
        return 0;
    }
}
