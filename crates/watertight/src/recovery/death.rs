//! Telling of the deaths before this run.

use std::sync::Arc;

use super::Recovery;
use crate::aftermath::Aftermath;
use crate::guard::quietly;
use crate::sink::Event;

impl Recovery {
    /// Tells the sinks and the store of them. What follows from them is in force already.
    pub(super) fn tell_deaths(&mut self, aftermath: Vec<Aftermath>) {
        for Aftermath { incident, held, tripped } in aftermath {
            let id = incident.id;
            self.inner.counters.incidents.add();
            if incident.offender.is_none() {
                self.inner.counters.unattributed.add();
            }
            self.tell_sinks(&Event::Fault(&incident));
            self.enter_mode();
            for (identity, held) in &held {
                self.tell_sinks(&Event::Quarantined { id, identity, held });
            }
            for (activity, tripped) in &tripped {
                self.tell_sinks(&Event::Tripped { id, activity, tripped });
            }
            let incident = Arc::new(incident);
            if let Some(store) = &self.inner.store {
                quietly(|| store.incident(&incident));
            }
            self.inner.each_sink(|sink| sink.incident(&incident));
            if let Some(store) = &self.inner.store {
                quietly(|| store.death_told(id));
            }
        }
    }
}
