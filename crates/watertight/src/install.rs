//! Setting up: once per process.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::activity::{Activity, ActivityKind};
use crate::breaker::{BreakerSettings, Breakers};
use crate::compartment::Compartment;
use crate::conduct::{ConductSettings, RateSettings, Rates};
use crate::error::InstallError;
use crate::fault::{Report, SeenLocations};
use crate::guard::quietly;
use crate::hook;
use crate::identity::{Identity, TrustedProxies};
use crate::inner::{Command, Counters, Inner};
use crate::lanes::{self, LaneSettings};
use crate::mailbox::Mailbox;
use crate::moment::Moment;
use crate::policy::{Policy, StandardPolicy};
use crate::quarantine::{Entry, Held, Quarantine, QuarantineSettings};
use crate::recovery;
use crate::registry::Registry;
use crate::seal::{Notice, SealMode};
use crate::settings::{PreviousHook, Settings};
use crate::sink::{Sink, TracingSink};
use crate::stacks::{self, Stacks};
use crate::store::Store;
use crate::transport::{ServerId, TransportTasks};
use crate::watchdog::{self, Stall};

static INSTALLED: OnceLock<Watertight> = OnceLock::new();
/// Held while installing, so that two threads cannot both do it.
static INSTALLING: Mutex<()> = Mutex::new(());

/// How soon a drain looks for further compartments.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The panic hook, the recovery thread and all they share, of this process. Get it with
/// [`Watertight::builder`] or [`installed`].
#[derive(Clone)]
pub struct Watertight {
    inner: Arc<Inner>,
}

/// Sets up the process. Finish with [`install`](Self::install).
#[must_use = "nothing is installed until `install` is called"]
pub struct Builder {
    settings: Settings,
    policy: Box<dyn Policy>,
    sinks: Vec<Box<dyn Sink>>,
    quarantine: QuarantineSettings,
    breakers: BreakerSettings,
    conduct: ConductSettings,
    store: Option<Box<dyn Store>>,
    stacks: Option<Box<dyn Stacks>>,
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
        Builder {
            settings: Settings::default(),
            policy: Box::new(StandardPolicy::new()),
            sinks: Vec::new(),
            quarantine: QuarantineSettings::default(),
            breakers: BreakerSettings::default(),
            conduct: ConductSettings::default(),
            store: None,
            stacks: None,
        }
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
        self.inner.quarantine.lift(identity, Moment::now().instant)
    }

    /// Who is in quarantine, the one whose time ends soonest first.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Entry> {
        self.inner.quarantine.entries(Moment::now().instant)
    }

    /// The breakers of all activities.
    #[must_use]
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

impl Builder {
    /// Who decides what is done about a fault. Default: [`StandardPolicy`].
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Box::new(policy);
        self
    }

    /// Adds a sink. Without any, incidents go to [`TracingSink`].
    pub fn sink(mut self, sink: impl Sink) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// Whether clients are told the panic's own text. Default `false`: it may hold secrets.
    pub fn expose_details(mut self, expose: bool) -> Self {
        self.settings.expose_details = expose;
        self
    }

    /// How long a client gets to receive its notice before its transport is closed. 0 to 10 s, default
    /// 300 ms; a client that reads uses a millisecond of it.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// What a disconnected client is told to wait before it comes back. 0 to 1 h, default 1 s.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.settings.retry_after = wait;
        self
    }

    /// Recovery mode ends this long after the last incident. 100 ms to 24 h, default 60 s.
    pub fn quiet_period(mut self, quiet: Duration) -> Self {
        self.settings.quiet_period = quiet;
        self
    }

    /// How often the recovery sweeps. 10 ms to 60 s, default 1 s.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.settings.sweep_interval = interval;
        self
    }

    /// See [`Watertight::disconnect_cleanup`]. 0 to 60 s, default 500 ms.
    pub fn disconnect_cleanup(mut self, bound: Duration) -> Self {
        self.settings.disconnect_cleanup = bound;
        self
    }

    /// See [`Watertight::disconnect_deadline`]. 1 ms to 1 h, default 30 s.
    pub fn disconnect_deadline(mut self, bound: Duration) -> Self {
        self.settings.disconnect_deadline = bound;
        self
    }

    /// From when on work that does not return to its executor is reported, as [`Event::Stalling`](crate::Event), while it
    /// still holds its thread. 20 ms to 1 h, default 250 ms: a user notices a pause from about there.
    pub fn stall_warn(mut self, limit: Duration) -> Self {
        self.settings.stall_warn = limit;
        self
    }

    /// From when on such work is a [`Fault::Stall`](crate::Fault): its compartment is sealed although it still runs. 20 ms to
    /// 1 h, default 2 s.
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.settings.stall_limit = limit;
        self
    }

    /// Who is refused at connect after how many faults, and for how long. Default: see [`QuarantineSettings`].
    pub fn quarantine(mut self, settings: QuarantineSettings) -> Self {
        self.quarantine = settings;
        self
    }

    /// When an activity is switched off for everyone. Default: see [`BreakerSettings`].
    pub fn breakers(mut self, settings: BreakerSettings) -> Self {
        self.breakers = settings;
        self
    }

    /// What misbehaviour weighs, and what a score leads to. Default: see [`ConductSettings`].
    pub fn conduct(mut self, settings: ConductSettings) -> Self {
        self.conduct = settings;
        self
    }

    /// How fast each client may send. Default: nothing is limited.
    pub fn rates(mut self, settings: RateSettings) -> Self {
        self.settings.rates = settings;
        self
    }

    /// The proxies whose word on a client's address is taken. Default: none, a client is whoever opened the connection.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.settings.proxies = proxies;
        self
    }

    /// Where incidents and quarantines are kept for the next run. Default: nowhere.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// What takes the stack of a thread when a stall is reported: the stall and its incident have it then. Default: nothing.
    pub fn stacks(mut self, stacks: impl Stacks) -> Self {
        self.stacks = Some(Box::new(stacks));
        self
    }

    /// How many pieces of [`blocking`](crate::blocking) work run at once. 1 to 4,096, default 32.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.settings.blocking_threads = threads;
        self
    }

    /// Runs the application's handlers on threads of their own, apart from those that do I/O. Default: off, they run on
    /// the server's runtime.
    pub fn lanes(mut self, lanes: LaneSettings) -> Self {
        self.settings.lanes = Some(lanes);
        self
    }

    /// How many incidents of one location are told one by one in a second; the others are summarised. At
    /// least 1, default 20.
    pub fn storm_limit(mut self, limit: u32) -> Self {
        self.settings.storm_limit = limit;
        self
    }

    /// What becomes of the hook that is installed now. Default: it is replaced.
    pub fn previous_hook(mut self, previous: PreviousHook) -> Self {
        self.settings.previous_hook = previous;
        self
    }

    /// Installs the panic hook and starts the recovery thread, for the rest of the process's life.
    ///
    /// # Errors
    ///
    /// When it is installed already, a setting is out of its bounds, or the thread does not start. The
    /// process is then as it was.
    pub fn install(self) -> Result<Watertight, InstallError> {
        let Self { settings, policy, mut sinks, quarantine, breakers, conduct, store, stacks } = self;
        settings.check()?;
        quarantine.check()?;
        breakers.check()?;
        conduct.check()?;
        let _installing = INSTALLING.lock();
        if INSTALLED.get().is_some() {
            return Err(InstallError::AlreadyInstalled);
        }
        warn_about_abort();
        if sinks.is_empty() {
            sinks.push(Box::new(TracingSink));
        }
        let (sender, commands) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            settings,
            policy,
            sinks,
            mailbox: Mailbox::new(),
            quarantine: Quarantine::new(quarantine),
            breakers: Breakers::new(breakers),
            store,
            conduct: Arc::new(conduct),
            commands: sender,
            seen: SeenLocations::new(),
            counters: Counters::default(),
            recovering: std::sync::atomic::AtomicBool::new(false),
            stalls: Mutex::new(Vec::new()),
        });
        if let Some(store) = &inner.store
            && let Some(entries) = quietly(|| store.quarantine())
        {
            inner.quarantine.restore(entries, Moment::now());
        }
        if let Some(stacks) = stacks {
            stacks::set(stacks);
        }
        if let Some(settings) = inner.settings.lanes {
            lanes::start(settings).map_err(InstallError::Thread)?;
        }
        watchdog::start(Arc::clone(&inner)).map_err(InstallError::Thread)?;
        recovery::start(Arc::clone(&inner), commands).map_err(InstallError::Thread)?;
        let watertight = INSTALLED.get_or_init(|| Watertight { inner: Arc::clone(&inner) }).clone();
        hook::install(inner);
        Ok(watertight)
    }
}

/// A program built with `panic = "abort"` dies of its first panic, and nothing here can help it.
fn warn_about_abort() {
    if cfg!(panic = "abort") {
        const WARNING: &str = "this program is built with panic = \"abort\": every panic ends the whole process and \
             watertight cannot isolate it. Remove `panic = \"abort\"` from the profile in Cargo.toml.";
        tracing::error!(target: "watertight", "{WARNING}");
        // Whatever the logging is set to.
        eprintln!("watertight: {WARNING}");
    }
}

impl fmt::Debug for Watertight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watertight").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}
