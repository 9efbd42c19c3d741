//! What a parent hands down: memory that outlives this process, and what the processes before it have left.

use std::io;
#[cfg(unix)]
use std::sync::Arc;

use tracing::warn;
use watertight::{Builder, RingSink};
#[cfg(unix)]
use watertight::{Journal, Sink as _};
#[cfg(unix)]
use watertight_recorder::FlightRecorder;
use watertight_supervisor::Supervised;

use crate::settings::Supervisor;
#[cfg(unix)]
use crate::{metrics, minidump};

/// What the parent, if there is one, has handed down for the isolation of faults.
#[derive(Debug, Default)]
pub struct Left {
    #[cfg(unix)]
    recorder: Option<FlightRecorder>,
    #[cfg(unix)]
    journal: Option<Journal>,
}

impl Left {
    /// Takes it. What cannot be used is warned about, and done without.
    #[must_use]
    #[cfg(unix)]
    pub fn take(worker: &mut Supervised, settings: &Supervisor) -> Self {
        let recorder = worker.flight_recorder().unwrap_or_else(|error| {
            warn!("if the server dies, nobody will know at whose work: {error}");
            None
        });
        if let Some(recorder) = &recorder
            && let Err(error) = minidump::mark_crashes(*recorder, settings.minidumps.as_deref())
        {
            warn!("whoever is at work when the server dies is only a suspect: {error}");
        }
        let journal = worker.journal().unwrap_or_else(|error: io::Error| {
            warn!("what earlier servers have left cannot be read: {error}");
            None
        });
        if let Some(damaged) = journal.as_ref().map(Journal::damaged).filter(|damaged| *damaged > 0) {
            warn!(damaged, "lines of the journal make no sense and are left out");
        }
        Self { recorder, journal }
    }

    /// Nothing is handed down here.
    #[must_use]
    #[cfg(not(unix))]
    pub fn take(_: &mut Supervised, _: &Supervisor) -> Self {
        Self::default()
    }

    /// What earlier servers have told of deaths: operators see and count it here as well.
    pub(crate) fn show_earlier(&self, incidents: &RingSink) {
        #[cfg(unix)]
        for (death, _) in self.journal.iter().flat_map(watertight::Store::deaths).filter(|(_, told)| *told) {
            metrics::count_death(&death);
            incidents.incident(&Arc::new(death.to_incident()));
        }
        #[cfg(not(unix))]
        let _ = incidents;
    }

    /// Hands it on.
    pub(crate) fn hand(self, builder: Builder) -> Builder {
        #[cfg(unix)]
        {
            let builder = match self.recorder {
                Some(recorder) => builder.recorder(recorder),
                None => builder,
            };
            match self.journal {
                Some(journal) => builder.store(journal),
                None => builder,
            }
        }
        #[cfg(not(unix))]
        builder
    }
}
