//! What a process is set up with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::activity::Activity;
use crate::board::Board;
use crate::breaker::{BreakerSettings, Breakers};
use crate::conduct::{ConductSettings, Memory, RateSettings};
use crate::error::InstallError;
use crate::fault::SeenLocations;
use crate::guard::quietly;
use crate::hook;
use crate::identity::TrustedProxies;
use crate::inner::{Counters, Inner};
use crate::install::{INSTALLED, INSTALLING, Watertight};
use crate::lanes::{self, LaneSettings};
use crate::mailbox::Mailbox;
use crate::moment::Moment;
use crate::policy::{Policy, StandardPolicy};
use crate::quarantine::{Quarantine, QuarantineSettings};
use crate::recorder::Recorder;
use crate::recovery;
use crate::settings::{PreviousHook, Settings};
use crate::sink::{Sink, TracingSink};
use crate::stacks::{self, Stacks};
use crate::store::Store;
use crate::watchdog;

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
    recorder: Option<Box<dyn Recorder>>,
}

impl Builder {
    /// Starts from the defaults.
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            policy: Box::new(StandardPolicy::new()),
            sinks: Vec::new(),
            quarantine: QuarantineSettings::default(),
            breakers: BreakerSettings::default(),
            conduct: ConductSettings::default(),
            store: None,
            stacks: None,
            recorder: None,
        }
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

    /// Memory that outlives the process, where it writes whose work each thread is at: whoever reads that when the process
    /// is dead knows at whose work it died. See [`flight`](crate::flight). Default: none.
    pub fn recorder(mut self, recorder: impl Recorder) -> Self {
        self.recorder = Some(Box::new(recorder));
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
        let Self { settings, policy, mut sinks, quarantine, breakers, conduct, store, stacks, recorder } =
            self;
        settings.check()?;
        quarantine.check()?;
        breakers.check()?;
        conduct.check()?;
        let _installing = INSTALLING.lock();
        if INSTALLED.get().is_some() {
            return Err(InstallError::AlreadyInstalled);
        }
        if let Some(recorder) = recorder {
            if !Board::record(recorder) {
                return Err(InstallError::Recorder);
            }
            Activity::write_all();
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
            memory: Memory::new(),
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
        // Before anybody can connect.
        let aftermath = inner.draw_conclusions(Moment::now());
        if let Some(stacks) = stacks {
            stacks::set(stacks);
        }
        if let Some(settings) = inner.settings.lanes {
            lanes::start(settings).map_err(InstallError::Thread)?;
        }
        watchdog::start(Arc::clone(&inner)).map_err(InstallError::Thread)?;
        recovery::start(Arc::clone(&inner), commands, aftermath).map_err(InstallError::Thread)?;
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

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}
