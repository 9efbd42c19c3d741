//! A store in one file, which outlives the process: each line is one thing that happened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{MemoryStore, Store};
use crate::death::Death;
use crate::identity::Identity;
use crate::incident::{Incident, IncidentId};
use crate::quarantine::Entry;

/// How many deaths are kept, the oldest out first.
const MAX_DEATHS: usize = 64;
/// A longer line is damage: a death with 64 suspects has about 20 KiB.
const MAX_LINE: u64 = 256 * 1024;
/// From this size on the file is written anew, with what is still known.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Keeps quarantines and the deaths of the process in a file: one on a disk, or one in memory that a parent process
/// holds while the server is started again. Incidents are kept in memory only.
///
/// Lines that make no sense are left out and counted: a process may die in the middle of one.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: MemoryStore,
    deaths: Mutex<Vec<(Death, bool)>>,
    damaged: u64,
    file: Mutex<File>,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Quarantined(Entry),
    Lifted(Identity),
    Death(Box<Death>),
    Told(IncidentId),
}

impl Journal {
    /// Reads what `file` has. It must be open for reading and for appending.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn open(file: File) -> io::Result<Self> {
        let (known, mut deaths, mut damaged) = (MemoryStore::default(), Vec::new(), 0);
        for line in lines(&file)? {
            match line? {
                Some(Line::Quarantined(entry)) => known.quarantined(&entry),
                Some(Line::Lifted(identity)) => known.lifted(&identity),
                Some(Line::Death(death)) => deaths.push((*death, false)),
                Some(Line::Told(id)) => tell(&mut deaths, id),
                None => damaged += 1,
            }
        }
        deaths.drain(..deaths.len().saturating_sub(MAX_DEATHS));
        Ok(Self(Arc::new(Shared { known, deaths: Mutex::new(deaths), damaged, file: Mutex::new(file) })))
    }

    /// Adds a death to the journal in `file`, which must be open for appending, without reading it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn append_death(file: &File, death: &Death) -> io::Result<()> {
        append(file, &Line::Death(Box::new(death.clone())))
    }

    /// How many lines were left out because they made no sense.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.0.damaged
    }

    /// Writes a line; one that cannot be written is logged and lost with the process.
    fn write(&self, line: &Line) {
        let mut file = self.0.file.lock();
        let written = append(&file, line).and_then(|()| self.keep_small(&mut file));
        if let Err(error) = written {
            tracing::error!(target: "watertight", %error, "a restart will not know this: the journal cannot be written");
        }
    }

    /// Writes the file anew when it has become large.
    fn keep_small(&self, file: &mut File) -> io::Result<()> {
        if file.metadata()?.len() < MAX_SIZE {
            return Ok(());
        }
        let deaths = self.0.deaths.lock().clone();
        let lines = deaths.into_iter().flat_map(|(death, told)| {
            let id = death.id;
            [Some(Line::Death(Box::new(death))), told.then_some(Line::Told(id))].into_iter().flatten()
        });
        let lines = lines.chain(self.0.known.quarantine().into_iter().map(Line::Quarantined));
        let mut text = Vec::new();
        for line in lines {
            put(&mut text, &line)?;
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&text)
    }
}

fn tell(deaths: &mut [(Death, bool)], id: IncidentId) {
    if let Some((_, told)) = deaths.iter_mut().find(|(death, _)| death.id == id) {
        *told = true;
    }
}

fn put(text: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    // In front: what another process wrote before it died may have no end.
    text.push(b'\n');
    serde_json::to_writer(&mut *text, line).map_err(io::Error::from)
}

fn append(mut file: &File, line: &Line) -> io::Result<()> {
    let mut text = Vec::new();
    put(&mut text, line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// The lines of the file; `None` for each that makes no sense.
fn lines(mut file: &File) -> io::Result<impl Iterator<Item = io::Result<Option<Line>>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let mut skipping = false;
    Ok(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            let ends = line.ends_with(b"\n");
            let is_rest = std::mem::replace(&mut skipping, !ends && line.len() as u64 == MAX_LINE);
            if is_rest || line.trim_ascii().is_empty() {
                continue;
            }
            return Some(Ok(serde_json::from_slice(&line).ok()));
        }
    }))
}

impl Store for Journal {
    fn incident(&self, incident: &Arc<Incident>) {
        self.0.known.incident(incident);
    }

    fn recent(&self, limit: usize) -> Vec<Arc<Incident>> {
        self.0.known.recent(limit)
    }

    fn quarantined(&self, entry: &Entry) {
        self.0.known.quarantined(entry);
        self.write(&Line::Quarantined(entry.clone()));
    }

    fn lifted(&self, identity: &Identity) {
        self.0.known.lifted(identity);
        self.write(&Line::Lifted(identity.clone()));
    }

    fn quarantine(&self) -> Vec<Entry> {
        self.0.known.quarantine()
    }

    fn deaths(&self) -> Vec<(Death, bool)> {
        self.0.deaths.lock().clone()
    }

    fn death_told(&self, id: IncidentId) {
        tell(&mut self.0.deaths.lock(), id);
        self.write(&Line::Told(id));
    }
}
