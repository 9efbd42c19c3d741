//! Setting up: once per process.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::activity::{Activity, ActivityKind};
use crate::breaker::Breakers;
use crate::builder::Builder;
use crate::compartment::Compartment;
use crate::conduct::{ConductSettings, Rates};
use crate::error::InstallError;
use crate::fault::Report;
use crate::guard::quietly;
use crate::identity::{Identity, TrustedProxies};
use crate::inner::{Command, Counters, Inner};
use crate::lanes::{self};
use crate::moment::Moment;
use crate::quarantine::{Entry, Held};
use crate::registry::Registry;
use crate::seal::{Notice, SealMode};
use crate::transport::{ServerId, TransportTasks};
use crate::watchdog::Stall;

pub(crate) static INSTALLED: OnceLock<Watertight> = OnceLock::new();
/// Held while installing, so that two threads cannot both do it.
pub(crate) static INSTALLING: Mutex<()> = Mutex::new(());

/// How soon a drain looks for further compartments.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The panic hook, the recovery thread and all they share, of this process. Get it with
/// [`Watertight::builder`] or [`installed`].
#[derive(Clone)]
pub struct Watertight {
    pub(crate) inner: Arc<Inner>,
}

/// Numbers since the process started, and how much there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Panics that the hook has seen.
    pub panics: u64,
    /// Incidents recorded.
    pub incidents: u64,
    /// Incidents that are nobody's.
    pub unattributed: u64,
    /// Compartments sealed with nothing left of them.
    pub sealed: u64,
    /// Seals that left something behind.
    pub overdue: u64,
    /// Faults that found the queue full.
    pub lost: u64,
    /// Panics of sinks and policies.
    pub recovery_panics: u64,
    /// Warnings that clients were sent.
    pub warned: u64,
    /// Quarantines that began.
    pub quarantined: u64,
    /// Connects that were refused for a quarantine.
    pub refused: u64,
    /// Breakers that opened.
    pub tripped: u64,
    /// Messages beyond their client's rate.
    pub limited: u64,
    /// Compartments there are.
    pub compartments: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Entries of the task table.
    pub tasks: usize,
}

/// The recovery of this process, when one is installed.
#[must_use]
#[inline]
pub fn installed() -> Option<&'static Watertight> {
    INSTALLED.get()
}

/// The recovery of this process. Installs the defaults (every panic disconnects, incidents go to
/// `tracing`) when nothing is installed yet.
///
/// # Panics
///
/// When the recovery thread cannot be started.
pub fn ensure_installed() -> &'static Watertight {
    if let Some(installed) = installed() {
        return installed;
    }
    match Watertight::builder().install() {
        Ok(_) | Err(InstallError::AlreadyInstalled) => {}
        Err(error) => panic!("cannot install watertight: {error}"),
    }
    installed().expect("it is installed now, by this thread or another")
}

/// Reports a fault. Without an installed recovery it is only logged.
pub fn submit(report: Box<Report>) {
    match installed() {
        Some(watertight) => watertight.inner.submit(report),
        None => tracing::error!(target: "watertight", ?report, "fault, and watertight is not installed"),
    }
}

impl Watertight {
    /// Starts from the defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Seals a compartment for a reason that is nobody's fault, such as an operator's wish. The seal begins at
    /// once, whether the future is awaited or not. The future is done when nothing of the compartment is left; at
    /// once when it is being sealed already.
    pub fn seal(
        &self,
        compartment: &Arc<Compartment>,
        notice: Notice,
        mode: SealMode,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (done, finished) = oneshot::channel();
        let compartment = Arc::clone(compartment);
        // The recovery thread lives as long as the process.
        let _ = self.inner.commands.send(Command::Seal { compartment, notice, mode, done });
        async {
            // An error means that it is being sealed already.
            let _ = finished.await;
        }
    }

    /// Seals every compartment of one server (or of all, with `None`), such as at its end. Stops waiting after
    /// `bound`; answers how many are left then.
    pub async fn drain(&self, server: Option<ServerId>, notice: &Notice, bound: Duration) -> usize {
        let ours = || {
            let all = Registry::global().all().into_iter();
            all.filter(move |compartment| server.is_none() || compartment.server() == server)
        };
        let sealing = async {
            // Again for those that come while the others go, and for those whose seal was under way already.
            while ours().next().is_some() {
                let seals =
                    ours().map(|compartment| self.seal(&compartment, notice.clone(), SealMode::Disconnect));
                futures_util::future::join_all(seals).await;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(bound, sealing).await;
        ours().count()
    }

    /// Whether recovery mode is on: there was an incident within the quiet period.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.inner.recovering.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Counters {
            panics,
            incidents,
            unattributed,
            sealed,
            overdue,
            recovery_panics,
            warned,
            quarantined,
            refused,
            tripped,
            limited,
        } = &self.inner.counters;
        Stats {
            panics: panics.get(),
            incidents: incidents.get(),
            unattributed: unattributed.get(),
            sealed: sealed.get(),
            overdue: overdue.get(),
            lost: self.inner.mailbox.overflow(),
            recovery_panics: recovery_panics.get(),
            warned: warned.get(),
            quarantined: quarantined.get(),
            refused: refused.get(),
            tripped: tripped.get(),
            limited: limited.get(),
            compartments: Registry::global().len(),
            connections: TransportTasks::connections(),
            tasks: TransportTasks::count(),
        }
    }

    /// The quarantine that the client of `compartment` is in; what is asked before it is let in.
    #[must_use]
    pub fn refuses(&self, compartment: &Compartment) -> Option<Held> {
        let held = self.inner.quarantine.check(&compartment.identity()?, Moment::now().instant);
        if held.is_some() {
            self.inner.counters.refused.add();
        }
        held
    }

    /// Refuses `identity` for `duration`, for a `reason` that operators read, and disconnects whoever it is connected as.
    /// `None` when quarantine is off or the identity is on the list of those who never are.
    pub fn quarantine(
        &self,
        identity: &Identity,
        duration: Duration,
        reason: impl Into<String>,
    ) -> Option<Held> {
        let held = self.inner.quarantine.add(identity, duration, reason, None, Moment::now())?;
        self.inner.counters.quarantined.add();
        self.inner.remember(identity);
        let theirs =
            Registry::global().all().into_iter().filter(|one| one.identity().as_ref() == Some(identity));
        for compartment in theirs {
            drop(self.seal(&compartment, held.notice(), SealMode::Expel));
        }
        Some(held)
    }

    /// Ends the quarantine of `identity` and forgives it everything. Answers whether it was in one.
    pub fn lift(&self, identity: &Identity) -> bool {
        if let Some(store) = &self.inner.store {
            quietly(|| store.lifted(identity));
        }
        self.inner.memory.forget(identity);
        self.inner.quarantine.lift(identity, Moment::now().instant)
    }

    /// Who is in quarantine, the one whose time ends soonest first.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Entry> {
        self.inner.quarantine.entries(Moment::now().instant)
    }

    /// The breakers of all activities.
    #[must_use]
    #[inline]
    pub fn breakers(&self) -> &Breakers {
        &self.inner.breakers
    }

    /// The proxies whose word on a client's address is taken.
    #[must_use]
    pub fn trusted_proxies(&self) -> &TrustedProxies {
        &self.inner.settings.proxies
    }

    /// Notes that a message was not let through to its handler.
    pub fn count_limited(&self) {
        self.inner.counters.limited.add();
    }

    /// What a new compartment is judged by.
    pub(crate) fn manners(&self) -> (Arc<ConductSettings>, Option<Box<Rates>>) {
        let rates = Rates::new(&self.inner.settings.rates, std::time::Instant::now());
        (Arc::clone(&self.inner.conduct), rates.map(Box::new))
    }

    /// Which pieces of work hold a thread right now for longer than the warning limit.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        self.inner.stalls.lock().clone()
    }

    /// Whether nothing is left to run handlers on: every lane thread that there may be has been held for longer than
    /// the [warning limit](Builder::stall_warn), or, without lanes, as many threads as the runtime that this is called
    /// on has workers.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let stalls = self.inner.stalls.lock();
        match lanes::lanes() {
            Some(lanes) => lanes.is_exhausted(stalls.iter().filter(|stall| stall.lane).count()),
            None => {
                Handle::try_current().is_ok_and(|runtime| stalls.len() >= runtime.metrics().num_workers())
            }
        }
    }

    /// How long after a disconnect a socket's rooms and namespaces are cleaned up at the latest, even if
    /// its disconnect handler is still running.
    #[must_use]
    pub fn disconnect_cleanup(&self) -> Duration {
        self.inner.settings.disconnect_cleanup
    }

    /// How long a disconnect handler may run before it is cancelled.
    #[must_use]
    pub fn disconnect_deadline(&self) -> Duration {
        self.inner.settings.disconnect_deadline
    }

    /// How long a handler of `activity` may run, if that is limited: by the policy, and for disconnect handlers by
    /// [`disconnect_deadline`](Self::disconnect_deadline) as well.
    #[must_use]
    pub fn deadline(&self, activity: &Activity) -> Option<Duration> {
        let limit = quietly(|| self.inner.policy.deadline(activity)).flatten();
        match activity.kind() {
            ActivityKind::Disconnect => {
                let bound = self.inner.settings.disconnect_deadline;
                Some(limit.map_or(bound, |limit| limit.min(bound)))
            }
            _ => limit,
        }
    }

    /// How many pieces of [`blocking`](crate::blocking) work may run at once.
    #[must_use]
    pub fn blocking_threads(&self) -> usize {
        self.inner.settings.blocking_threads
    }

    /// How long a refused client is asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.inner.settings.retry_after
    }
}

impl fmt::Debug for Watertight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watertight").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
