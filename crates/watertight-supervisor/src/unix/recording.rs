//! The flight recorder: who was at work when a worker died, for the next one to know.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use watertight::flight::Record;
use watertight::{Death, Exit, Journal};
use watertight_recorder::{FlightFile, FlightRecorder, NotRecorded, shared_journal, shared_memory};

use super::Supervised;
use crate::{BlackBox, Descriptors, Ending, Told, WorkerDeath};

const BOARD: &str = "watertight-board";
const JOURNAL: &str = "watertight-journal";

/// A [`BlackBox`] that knows at whose work a worker died.
///
/// Every worker gets memory for its [board](watertight::flight), and the same [journal](watertight::Journal) as those before
/// it: [`Supervised::flight_recorder`] and [`Supervised::journal`]. When one dies its board is read, and the
/// [`Death`](watertight::Death) is written to the journal, where the next worker finds it: it records the incident, and
/// refuses the client whose work it was.
pub struct Recording {
    journal: File,
    boards: HashMap<u64, Board>,
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
        Self { journal, boards: HashMap::new(), tell: Box::new(log) }
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
        let death = Death::new(exit_of(worker, silent), record.as_ref());
        if let Err(error) = Journal::append_death(&self.journal, &death) {
            tracing::error!(%error, incident = %death.id, "the next worker will not know of this death");
        }
        (self.tell)(&death);
    }
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
        // One that was never ready served nobody.
        if !death.was_asked_for() && death.told != Some(Told::NotReady) {
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
    /// The memory for this worker's board, for [`Builder::recorder`](watertight::Builder::recorder), with the marks of
    /// dying threads where the platform has them. `None` when the parent keeps no [`Recording`], and the second time.
    ///
    /// # Errors
    ///
    /// When the memory cannot be used, as that of a parent of another build.
    pub fn flight_recorder(&mut self) -> Result<Option<FlightRecorder>, NotRecorded> {
        let Some(board) = self.descriptor(BOARD) else { return Ok(None) };
        let recorder = FlightRecorder::map(&File::from(board))?;
        if let Err(error) = recorder.mark_crashes() {
            tracing::warn!("whoever is at work when this process dies is only a suspect: {error}");
        }
        Ok(Some(recorder))
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
