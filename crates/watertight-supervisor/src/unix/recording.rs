//! The flight recorder: who was at work when a worker died, for the next one to know.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM};
use watertight::flight::Record;
use watertight::{Death, Exit, IncidentId, Journal};
use watertight_recorder::{
    FlightFile, FlightRecorder, NotRecorded, minidump_of, shared_journal, shared_memory,
};

use super::Supervised;
use crate::{BlackBox, Descriptors, Ending, Told, WorkerDeath};

const BOARD: &str = "watertight-board";
const JOURNAL: &str = "watertight-journal";

/// How many minidumps are kept.
const MINIDUMPS: usize = 16;
/// A minidump that has no incident's name after this is nobody's: its helper was slower than the death.
const TOO_LATE: Duration = Duration::from_secs(60);

/// A [`BlackBox`] that knows at whose work a worker died.
///
/// Every worker gets memory for its [board](watertight::flight), and the same [journal](watertight::Journal) as those before
/// it: [`Supervised::flight_recorder`] and [`Supervised::journal`]. When one dies that was not told to stop, to drain, or that it
/// is late, its board is read, and the
/// [`Death`](watertight::Death) is written to the journal, where the next worker finds it: it records the incident, and
/// refuses the client whose work it was.
pub struct Recording {
    journal: File,
    boards: HashMap<u64, Board>,
    minidumps: Option<PathBuf>,
    tell: Box<dyn FnMut(&Death)>,
}

struct Board {
    file: FlightFile,
    /// The last answer, and when it was first seen.
    answers: RefCell<(u64, Instant)>,
    /// For how long it had not answered when it was ended for that, and who held its threads then, if that could be read.
    wedged: Option<(Duration, Option<Record>)>,
}

impl Recording {
    /// With an empty journal that lives as long as the parent.
    ///
    /// # Errors
    ///
    /// When the operating system has no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self::in_journal(shared_journal()?))
    }

    /// With this journal, which is open for reading and appending: one on a disk outlives the parent as well.
    #[must_use]
    pub fn in_journal(journal: File) -> Self {
        Self { journal, boards: HashMap::new(), minidumps: None, tell: Box::new(log) }
    }

    /// Where workers have their [minidumps](watertight_recorder::Dumper) written. Each gets the name of its death's incident;
    /// the latest 16 are kept. Default: nowhere.
    #[must_use]
    pub fn minidumps(mut self, directory: impl Into<PathBuf>) -> Self {
        self.minidumps = Some(directory.into());
        self
    }

    /// Who is told of a death when it has been read, in place of the log.
    #[must_use]
    pub fn tell(mut self, tell: impl FnMut(&Death) + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    fn bury(&mut self, worker: &WorkerDeath, board: Option<Board>) {
        let silent = board.as_ref().and_then(|board| Some(board.wedged.as_ref()?.0));
        let record = board.and_then(|board| {
            let read = || match Record::read(&board.file) {
                Ok(record) => Some(record),
                Err(error) => {
                    tracing::warn!(generation = worker.generation, "nobody knows who was at work: {error}");
                    None
                }
            };
            // What it was aborted for, not what it did when that signal came.
            board.wedged.and_then(|(_, record)| record).or_else(read)
        });
        let mut death = Death::new(exit_of(worker, silent), record.as_ref());
        if let Some(directory) = &self.minidumps {
            death.minidump = keep_minidump(directory, worker.pid, &death);
        }
        if let Err(error) = Journal::append_death(&self.journal, &death) {
            tracing::error!(%error, incident = %death.id, "the next worker will not know of this death");
        }
        (self.tell)(&death);
    }
}

/// Gives the minidump of a worker, if there is one, its place.
fn keep_minidump(directory: &Path, worker: u32, death: &Death) -> Option<String> {
    let (written, kept) = (minidump_of(directory, worker), directory.join(format!("{}.dmp", death.id)));
    match fs::rename(&written, &kept) {
        Ok(()) => {
            forget_oldest(directory);
            Some(kept.display().to_string())
        }
        Err(error) => {
            // Of a death that nobody could catch there is none.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "a minidump cannot be kept: {}", written.display());
            }
            None
        }
    }
}

/// Removes all but the latest minidumps, whose names sort by time, and those that came too late for their death.
fn forget_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let (mut dumps, mut late) = (Vec::new(), Vec::new());
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_kind = |kind: &str| path.extension().is_some_and(|extension| extension == kind);
        let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_kind("dmp") && name.parse::<IncidentId>().is_ok() {
            dumps.push(path);
        } else if (is_kind("dmp") || is_kind("part"))
            && name.parse::<u32>().is_ok()
            && age.is_some_and(|age| age > TOO_LATE)
        {
            late.push(path);
        }
    }
    for path in late {
        // Its helper may be about to remove it as well.
        let _ = fs::remove_file(path);
    }
    dumps.sort();
    for old in &dumps[..dumps.len().saturating_sub(MINIDUMPS)] {
        if let Err(error) = fs::remove_file(old) {
            tracing::warn!(%error, "an old minidump cannot be removed: {}", old.display());
        }
    }
}

/// Whether it ended by a signal that nobody sends to have it end.
fn is_crash(worker: &WorkerDeath) -> bool {
    const ASKED: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGKILL];
    // One that does not start is aborted.
    worker.told != Some(Told::NotReady)
        && matches!(worker.ending, Ending::Signal(signal) if !ASKED.contains(&signal))
}

fn exit_of(worker: &WorkerDeath, silent: Option<Duration>) -> Exit {
    let mut exit = Exit::now(worker.uptime);
    match worker.ending {
        Ending::Signal(signal) => exit.signal = Some(name_of(signal)),
        Ending::Exited(code) => exit.code = Some(code),
        Ending::Unknown => {}
    }
    exit.out_of_memory = worker.oom_killed;
    exit.wedged = worker.was_wedged().then(|| silent.unwrap_or(worker.uptime));
    exit
}

fn name_of(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), ToOwned::to_owned)
}

fn log(death: &Death) {
    tracing::error!(incident = %death.id, manner = death.manner.as_str(), "{death}");
}

impl BlackBox for Recording {
    fn prepare(&mut self, generation: u64) -> io::Result<Descriptors> {
        let file = shared_memory()?;
        let inherited = OwnedFd::from(file.try_clone()?);
        let board =
            Board { file: FlightFile::new(file), answers: RefCell::new((0, Instant::now())), wedged: None };
        self.boards.insert(generation, board);
        Ok(vec![(BOARD, inherited), (JOURNAL, self.journal.try_clone()?.into())])
    }

    fn not_started(&mut self, generation: u64) {
        self.boards.remove(&generation);
    }

    fn answered(&self, generation: u64) -> Option<Duration> {
        let board = self.boards.get(&generation)?;
        // A worker that keeps no board does not say.
        let answers = Record::answers(&board.file).ok()?;
        let mut last = board.answers.borrow_mut();
        if last.0 != answers {
            *last = (answers, Instant::now());
        }
        Some(last.1.elapsed())
    }

    fn wedged(&mut self, generation: u64, _pid: u32, silent: Duration) {
        if let Some(board) = self.boards.get_mut(&generation) {
            board.wedged = Some((silent, Record::read(&board.file).ok()));
        }
    }

    fn died(&mut self, death: &WorkerDeath) {
        let board = self.boards.remove(&death.generation);
        // One that ends by itself before it is ready is a fault of its configuration, and served nobody.
        let served = death.was_ready || matches!(death.ending, Ending::Signal(_));
        let unasked = served && !death.was_asked_for() && death.told != Some(Told::NotReady);
        if unasked || is_crash(death) {
            self.bury(death, board);
        }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("boards", &self.boards.len()).finish_non_exhaustive()
    }
}

impl Supervised {
    /// The memory for this worker's board, for [`Builder::recorder`](watertight::Builder::recorder).
    /// [`mark_crashes`](FlightRecorder::mark_crashes) adds the marks of dying threads. `None` when the parent keeps no
    /// [`Recording`], and the second time.
    ///
    /// # Errors
    ///
    /// When the memory cannot be used, as that of a parent of another build.
    pub fn flight_recorder(&mut self) -> Result<Option<FlightRecorder>, NotRecorded> {
        let Some(board) = self.descriptor(BOARD) else { return Ok(None) };
        FlightRecorder::map(&File::from(board)).map(Some)
    }

    /// What earlier workers have left, for [`Builder::store`](watertight::Builder::store). `None` when the parent keeps no
    /// [`Recording`], and the second time.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn journal(&mut self) -> io::Result<Option<Journal>> {
        self.descriptor(JOURNAL).map(|journal| Journal::open(journal.into())).transpose()
    }
}
