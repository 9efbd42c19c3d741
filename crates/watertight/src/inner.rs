//! What the hook, the guards and the recovery thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::breaker::Breakers;
use crate::compartment::Compartment;
use crate::conduct::{ConductSettings, Memory};
use crate::fault::{Fault, Report, SeenLocations};
use crate::mailbox::Mailbox;
use crate::policy::Policy;
use crate::quarantine::Quarantine;
use crate::seal::{Notice, SealMode};
use crate::settings::Settings;
use crate::sink::Sink;
use crate::stacks::Stack;
use crate::store::Store;
use crate::watchdog::Stall;

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    pub(crate) mailbox: Mailbox,
    pub(crate) quarantine: Quarantine,
    pub(crate) breakers: Breakers,
    pub(crate) store: Option<Box<dyn Store>>,
    pub(crate) conduct: Arc<ConductSettings>,
    pub(crate) memory: Memory,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) seen: SeenLocations,
    pub(crate) counters: Counters,
    pub(crate) recovering: AtomicBool,
    /// What holds threads right now.
    pub(crate) stalls: Mutex<Vec<Stall>>,
}

/// What others ask of the recovery thread.
pub(crate) enum Command {
    Seal {
        compartment: Arc<Compartment>,
        notice: Notice,
        mode: SealMode,
        done: oneshot::Sender<()>,
    },
    /// Tells the sinks of a thread that does not come back to its executor, and where it is.
    Stalling(Stall, Option<Arc<Stack>>),
    /// Tells them that it has.
    StallEnded(Stall),
}

impl Inner {
    /// Hands a fault to the recovery thread. When the queue is full the fault is counted as lost, and its
    /// compartment is sealed without asking the policy, on the way of the operator's commands: once for each.
    pub(crate) fn submit(&self, report: Box<Report>) {
        let Err(report) = self.mailbox.push(report) else {
            return;
        };
        if let Some(compartment) = report.compartment
            && report.outcome == crate::fault::Outcome::Escaped
            && compartment.lose_fault()
        {
            let notice = Notice::new(report.fault.code(), told_of(report.fault))
                .retry(true, self.settings.retry_after);
            let (done, _) = oneshot::channel();
            let seal = Command::Seal { compartment, notice, mode: SealMode::Disconnect, done };
            // The recovery thread lives as long as the process.
            let _ = self.commands.send(seal);
        }
    }
}

/// What a client is told about a fault unless details are configured to be exposed.
pub(crate) const GENERIC_MESSAGE: &str =
    "The server hit an internal error while it worked for this connection.";

/// What a client is told about `fault` unless details are configured to be exposed.
pub(crate) fn told_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Flood => "The connection sent more than it may.",
        Fault::Protocol => "The connection sent what the server does not understand.",
        Fault::Orphan => "The connection was lost.",
        Fault::SlowConsumer => "The connection does not read what it is sent.",
        _ => GENERIC_MESSAGE,
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) panics: Counter,
    pub(crate) incidents: Counter,
    pub(crate) unattributed: Counter,
    pub(crate) sealed: Counter,
    pub(crate) overdue: Counter,
    pub(crate) recovery_panics: Counter,
    pub(crate) warned: Counter,
    pub(crate) quarantined: Counter,
    pub(crate) refused: Counter,
    pub(crate) tripped: Counter,
    pub(crate) limited: Counter,
}
