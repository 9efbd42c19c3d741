//! A store in one file, which outlives the process: each line is one thing that happened.

mod lines;

use std::fs::File;

use std::io::{self, Write};
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
/// Lines that make no sense are left out and counted: a process may die in the middle of one. From 16 MiB on the file is
/// written anew with what it still says. A process that is killed in that moment, or one that writes then, loses what it has
/// not written.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: MemoryStore,
    deaths: Mutex<Vec<(Death, bool)>>,
    damaged: u64,
    file: Mutex<Written>,
}

/// The file, and how large it may become before it is written anew.
#[derive(Debug)]
struct Written {
    file: File,
    limit: u64,
    least_limit: u64,
}

/// What a file says.
#[derive(Default)]
struct Contents {
    known: MemoryStore,
    /// Oldest first, each with whether it has been told.
    deaths: Vec<(Death, bool)>,
    damaged: u64,
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
        Self::with_limit(file, MAX_SIZE)
    }

    fn with_limit(file: File, limit: u64) -> io::Result<Self> {
        let Contents { known, deaths, damaged } = Contents::of(&file)?;
        let file = Mutex::new(Written { file, limit, least_limit: limit });
        Ok(Self(Arc::new(Shared { known, deaths: Mutex::new(deaths), damaged, file })))
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
        let mut written = self.0.file.lock();
        if let Err(error) = append(&written.file, line).and_then(|()| written.keep_small()) {
            tracing::error!(target: "watertight", %error, "a restart will not know this: the journal cannot be written");
        }
    }
}

impl Written {
    /// Writes the file anew when it has become large. What is still known is what the file says, not this process: others
    /// write into it as well.
    fn keep_small(&mut self) -> io::Result<()> {
        let Self { file, limit, least_limit } = self;
        if file.metadata()?.len() < *limit {
            return Ok(());
        }
        let text = Contents::of(file)?.to_text()?;
        file.set_len(0)?;
        file.write_all(&text)?;
        // When that much is known, not at every line.
        *limit = (*least_limit).max(2 * text.len() as u64);
        Ok(())
    }
}

impl Contents {
    fn of(file: &File) -> io::Result<Self> {
        let mut contents = Self::default();
        for line in lines::of(file, MAX_LINE) {
            match serde_json::from_slice(&line?) {
                Ok(line) => contents.add(line),
                Err(_) => contents.damaged += 1,
            }
        }
        Ok(contents)
    }

    fn add(&mut self, line: Line) {
        let Self { known, deaths, damaged: _ } = self;
        match line {
            Line::Quarantined(entry) => known.quarantined(&entry),
            Line::Lifted(identity) => known.lifted(&identity),
            // Written twice, it is still one.
            Line::Death(death) if deaths.iter().any(|(known, _)| known.id == death.id) => {}
            Line::Death(death) => {
                if deaths.len() >= MAX_DEATHS {
                    deaths.remove(0);
                }
                deaths.push((*death, false));
            }
            Line::Told(id) => tell(deaths, id),
        }
    }

    fn to_text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        for (death, told) in &self.deaths {
            put(&mut text, &Line::Death(Box::new(death.clone())))?;
            if *told {
                put(&mut text, &Line::Told(death.id))?;
            }
        }
        for entry in self.known.quarantine() {
            put(&mut text, &Line::Quarantined(entry))?;
        }
        Ok(text)
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
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

fn append(mut file: &File, line: &Line) -> io::Result<()> {
    let mut text = Vec::new();
    put(&mut text, line)?;
    file.write_all(&text)
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

#[cfg(all(test, not(watertight_loom)))]
mod tests;
