//! The parent: waits, and does what the machine decides.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{self, Pid, WaitOptions, WaitStatus},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::{
    callbacks::Callbacks,
    channel::{AFTER_DEATH, Channel, TAKEN_OVER},
    clock::Sleep,
    greeting::Greeting,
    listen::Listeners,
    notify::Notifier,
    oom::OomCounters,
    signals::Signals,
    spawn::spawn,
    terminal::Terminal,
};
use crate::{
    BlackBox, Ending, Happening, NoBlackBox, Observer, Outcome, SuperviseError, SupervisorSettings,
    TracingObserver,
    machine::{Action, Event, Machine, Signal},
};

/// The parent: holds the listening sockets and keeps a worker alive that serves them.
///
/// It runs on one thread, waits in `poll`, and needs less than 5 MiB.
pub struct Supervisor {
    settings: SupervisorSettings,
    listeners: Listeners,
    callbacks: Callbacks,
}

/// A supervisor at work.
struct Parent {
    settings: SupervisorSettings,
    listeners: Listeners,
    callbacks: Callbacks,
    machine: Machine,
    notifier: Notifier,
    children: Vec<Child>,
    began: Instant,
    sleep: Sleep,
    terminal: Terminal,
    /// Whether processes that lose their parent become this one's children.
    adopts: bool,
    outcome: Option<Outcome>,
}

/// A worker's process that has not been waited for, so that its process id is its own.
struct Child {
    generation: u64,
    pid: Pid,
    channel: Channel,
    oom: OomCounters,
}

impl Supervisor {
    /// Takes the listening sockets: those that the service manager hands over (`LISTEN_FDS`), else those of the settings.
    ///
    /// Call it before the process has threads: it takes `LISTEN_FDS` out of the environment. The sockets are bound with
    /// `SO_REUSEADDR`, are non-blocking, and are not inherited by anyone but the workers.
    ///
    /// # Errors
    ///
    /// If a socket cannot be had.
    pub fn new(settings: SupervisorSettings) -> Result<Self, SuperviseError> {
        let listeners = Listeners::take(&settings)?;
        let callbacks = Callbacks { observer: Box::new(TracingObserver), black_box: Box::new(NoBlackBox) };
        Ok(Self { settings, listeners, callbacks })
    }

    /// Who is told of everything. Default: [`TracingObserver`].
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.callbacks.observer = Box::new(observer);
        self
    }

    /// The flight recorder. Default: [`NoBlackBox`].
    #[must_use]
    pub fn black_box(mut self, black_box: impl BlackBox + 'static) -> Self {
        self.callbacks.black_box = Box::new(black_box);
        self
    }

    /// The real addresses, with the real port where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listeners.addresses
    }

    /// Keeps a worker alive until it is asked to stop, or until that is of no use any more.
    ///
    /// SIGTERM and SIGINT ask it to stop: the worker is sent SIGTERM, and is killed when it takes longer than its drain
    /// timeout and 2 s. The second one sends SIGTERM again and leaves one second, the third none. SIGHUP has a new worker take
    /// over, unless the parent's terminal is gone, which is to say that the window was closed: then it stops. SIGUSR1 and SIGUSR2 are passed on to the worker. These signals, and SIGCHLD, are caught from here on
    /// and ignored after the return.
    ///
    /// When this returns an error, the workers that still run notice that their parent has let go, and drain.
    ///
    /// # Errors
    ///
    /// If signals cannot be caught or waited for.
    pub fn run(self) -> Result<Outcome, SuperviseError> {
        let Self { settings, listeners, callbacks } = self;
        let terminal = Terminal::now();
        let signals = Signals::catch().map_err(SuperviseError::Signals)?;
        let machine = Machine::new(&settings, fastrand::Rng::new());
        let mut parent = Parent {
            settings,
            listeners,
            callbacks,
            machine,
            notifier: Notifier::nobody(),
            children: Vec::new(),
            began: Instant::now(),
            sleep: Sleep::new(),
            terminal,
            adopts: adopts(),
            outcome: None,
        };
        match Notifier::from_env() {
            Ok(notifier) => parent.notifier = notifier,
            Err(error) => parent.trouble("cannot tell the service manager anything", &error),
        }
        let Listeners { addresses, inherited, .. } = &parent.listeners;
        let listening = Happening::Listening { addresses: addresses.clone(), inherited: *inherited };
        parent.tell(&listening);
        parent.run(&signals)
    }
}

/// Whether this is process 1 of a container, or was made the reaper of its descendants.
fn adopts() -> bool {
    #[cfg(target_os = "linux")]
    let is_reaper = process::child_subreaper().is_ok_and(|reaper| reaper.is_some());
    #[cfg(not(target_os = "linux"))]
    let is_reaper = false;
    is_reaper || process::getpid().is_init()
}

impl Parent {
    fn run(&mut self, signals: &Signals) -> Result<Outcome, SuperviseError> {
        self.handle(Event::Time);
        loop {
            if let Some(outcome) = self.outcome.take() {
                return Ok(outcome);
            }
            self.wait(signals)?;
            if self.sleep.was_long() {
                self.handle(Event::Suspended);
            }
            for (signal, count) in signals.arrived() {
                self.caught(signal, count);
            }
            // Before the dead are counted: what they said last is heard first.
            self.listen();
            self.reap();
            self.handle(Event::Time);
            let now = self.now();
            if let Err(error) = self.notifier.ping(now, self.machine.is_well()) {
                self.trouble("cannot tell the service manager that all is well", &error);
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for a signal, for a worker's word, or for what is due.
    fn wait(&self, signals: &Signals) -> Result<(), SuperviseError> {
        let channels = self.children.iter().filter_map(|child| child.channel.readable());
        let mut sockets: Vec<PollFd<'_>> = signals
            .sockets()
            .chain(channels)
            .map(|socket: &UnixStream| PollFd::new(socket, PollFlags::IN))
            .collect();
        let due = self.machine.deadline().into_iter().chain(self.notifier.deadline()).min();
        let timeout = due.map(|due| due.saturating_sub(self.now()));
        // Further away than this type can say is never.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut sockets, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(SuperviseError::Wait(error.into())),
        }
    }

    fn caught(&mut self, signal: i32, count: usize) {
        match signal {
            SIGCHLD => {}
            SIGTERM | SIGINT => (0..count).for_each(|_| self.handle(Event::Stop { signal })),
            SIGHUP if self.terminal.is_gone() => self.handle(Event::Stop { signal }),
            // However many came at once, one reload reads what they all mean.
            SIGHUP => self.handle(Event::Reload),
            _ => self.handle(Event::Forward { signal }),
        }
    }

    fn listen(&mut self) {
        let mut said = Vec::new();
        for child in &mut self.children {
            let generation = child.generation;
            said.extend(child.channel.read().into_iter().map(|message| Event::Said { generation, message }));
        }
        said.into_iter().for_each(|event| self.handle(event));
    }

    fn reap(&mut self) {
        let mut ended = Vec::new();
        for child in &self.children {
            match process::waitpid(Some(child.pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => ended.push((child.pid, ending(status))),
                Ok(None) | Err(Errno::INTR) => {}
                // Someone else in this program has waited for it.
                Err(_) => ended.push((child.pid, Ending::Unknown)),
            }
        }
        if self.adopts {
            // A worker may have died since it was asked for above.
            while let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) {
                ended.push((pid, ending(status)));
            }
        }
        for (pid, ending) in ended {
            self.ended(pid, ending);
        }
    }

    fn ended(&mut self, pid: Pid, ending: Ending) {
        let Some(index) = self.children.iter().position(|child| child.pid == pid) else {
            return self.tell(&Happening::Reaped { pid: number(pid) });
        };
        let Child { generation, mut channel, oom, .. } = self.children.swap_remove(index);
        for message in channel.read() {
            self.handle(Event::Said { generation, message });
        }
        let oom_killed = oom.verdict(ending);
        self.handle(Event::Ended { generation, ending, oom_killed });
    }

    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(self.now(), event) {
                events.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { generation, after_death } => {
                let event = self.start(generation, after_death);
                if let Event::CannotStart { .. } = event {
                    let trouble = self.callbacks.not_started(generation);
                    trouble.iter().for_each(|trouble| self.tell(trouble));
                }
                return Some(event);
            }
            Action::Signal { generation, signal } => self.signal(generation, signal),
            Action::Died(death) => {
                let trouble = self.callbacks.died(&death);
                trouble.iter().for_each(|trouble| self.tell(trouble));
            }
            Action::Wedged { generation, pid, silent } => {
                let trouble = self.callbacks.wedged(generation, pid, silent);
                trouble.iter().for_each(|trouble| self.tell(trouble));
            }
            Action::TakenOver { generation } => {
                if let Some(child) = self.child(generation) {
                    child.channel.say(TAKEN_OVER);
                }
            }
            Action::AfterDeath { generation } => {
                if let Some(child) = self.child(generation) {
                    child.channel.say(AFTER_DEATH);
                }
            }
            Action::Look { generation } => match self.callbacks.answered(generation) {
                Ok(ago) => return Some(Event::Answered { generation, ago }),
                Err(trouble) => self.tell(&trouble),
            },
            Action::Tell(happening) => self.tell(&happening),
            Action::Finish(outcome) => self.outcome = Some(outcome),
        }
        None
    }

    fn start(&mut self, generation: u64, after_death: bool) -> Event {
        let (mut descriptors, trouble) = self.callbacks.prepare(generation);
        if let Some(trouble) = trouble {
            self.tell(&trouble);
        }
        let greeting = Greeting {
            generation,
            after_death,
            drain_timeout: self.settings.drain_timeout,
            listeners: self.listeners.sockets.len(),
        };
        if let Err(error) = Greeting::check(&descriptors) {
            self.trouble("cannot hand the flight recorder's descriptors down", &error);
            descriptors = Vec::new();
        }
        match spawn(&self.settings, &self.listeners.sockets, &greeting, &descriptors) {
            Ok((id, channel)) => {
                let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
                    return Event::CannotStart { generation, error: format!("process id {id}") };
                };
                self.children.push(Child { generation, pid, channel, oom: OomCounters::now(id) });
                Event::Started { generation, pid: id }
            }
            Err(error) => Event::CannotStart { generation, error: error.to_string() },
        }
    }

    fn child(&self, generation: u64) -> Option<&Child> {
        self.children.iter().find(|child| child.generation == generation)
    }

    fn signal(&mut self, generation: u64, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => process::Signal::TERM,
            Signal::Abort => process::Signal::ABORT,
            Signal::Kill => process::Signal::KILL,
            Signal::Other(number) => match process::Signal::from_named_raw(number) {
                Some(signal) => signal,
                None => return,
            },
        };
        let Some(child) = self.child(generation) else { return };
        match process::kill_process(child.pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => self.trouble("cannot send a signal to the worker", &error.into()),
        }
    }

    fn tell(&mut self, happening: &Happening) {
        self.callbacks.observe(happening);
        if let Err(error) = self.notifier.observe(happening) {
            self.trouble("cannot tell the service manager", &error);
        }
    }

    fn trouble(&mut self, what: &'static str, error: &std::io::Error) {
        self.callbacks.observe(&Happening::Trouble { what, error: error.to_string() });
    }
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Signal(signal),
        (None, None) => Ending::Unknown,
    }
}

fn number(pid: Pid) -> u32 {
    u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0)
}
