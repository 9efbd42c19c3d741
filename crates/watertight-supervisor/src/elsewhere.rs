//! The supervisor on systems that are no Unix: a worker that dies is replaced by the same policy, and binds its sockets itself.
//!
//! No descriptors are passed, so clients are refused while no worker runs; there are no signals, no takeover, and no wedge is
//! ended. The worker's standard input is a pipe whose other end is the parent's: its end is the end of the parent.

use std::{
    collections::VecDeque,
    env,
    io::{self, Read as _},
    net::{SocketAddr, TcpListener},
    process::{self, Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    BlackBox, EXIT_ORPHANED, Ending, NoBlackBox, NotSupervised, Observer, Outcome, SuperviseError,
    SupervisorSettings, TracingObserver,
    machine::{Action, DRAIN_MARGIN, Event, Machine},
};

/// Set for a worker: the protocol, its version, the parent's process, the generation, whether it replaces a dead one, and
/// the drain timeout in milliseconds.
const VARIABLE: &str = "SUPERVISED_BY";
/// A worker cannot say that it is ready. One that has lived this long is taken for ready, where the settings say nothing.
const READY_AFTER: Duration = Duration::from_secs(2);
/// How often the parent looks whether the worker still runs. There is no portable way to wait for it and for a timer.
const LOOK: Duration = Duration::from_millis(20);

/// The parent: keeps a worker alive. Here it holds no sockets.
pub struct Supervisor {
    settings: SupervisorSettings,
    observer: Box<dyn Observer>,
    black_box: Box<dyn BlackBox>,
}

impl Supervisor {
    /// Nothing is bound here: the worker does that.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn new(settings: SupervisorSettings) -> Result<Self, SuperviseError> {
        let settings = match settings.ready_after {
            Some(_) => settings,
            None => settings.ready_after(READY_AFTER),
        };
        Ok(Self { settings, observer: Box::new(TracingObserver), black_box: Box::new(NoBlackBox) })
    }

    /// Who is told of everything. Default: [`TracingObserver`].
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// The flight recorder, which is told of deaths only. Default: [`NoBlackBox`].
    #[must_use]
    pub fn black_box(mut self, black_box: impl BlackBox + 'static) -> Self {
        self.black_box = Box::new(black_box);
        self
    }

    /// None: the worker binds its sockets itself.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &[]
    }

    /// Keeps a worker alive until that is of no use any more. To stop, end this process: the worker notices.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn run(mut self) -> Result<Outcome, SuperviseError> {
        let mut machine = Machine::new(&self.settings, fastrand::Rng::new());
        let began = Instant::now();
        let mut child: Option<(u64, Child)> = None;
        let mut events = VecDeque::from([Event::Time]);
        loop {
            while let Some(event) = events.pop_front() {
                for action in machine.handle(began.elapsed(), event) {
                    match action {
                        Action::Start { generation, after_death } => {
                            match spawn(&self.settings, generation, after_death) {
                                Ok(started) => {
                                    events.push_back(Event::Started { generation, pid: started.id() });
                                    child = Some((generation, started));
                                }
                                Err(error) => events
                                    .push_back(Event::CannotStart { generation, error: error.to_string() }),
                            }
                        }
                        // Every signal that is sent here is meant to end it.
                        Action::Signal { generation, .. } => {
                            if let Some((_, child)) = child.as_mut().filter(|(is, _)| *is == generation) {
                                _ = child.kill();
                            }
                        }
                        Action::Died(death) => self.black_box.died(&death),
                        Action::Wedged { .. }
                        | Action::TakenOver { .. }
                        | Action::AfterDeath { .. }
                        | Action::Look { .. } => {}
                        Action::Tell(happening) => self.observer.observe(&happening),
                        Action::Finish(outcome) => return Ok(outcome),
                    }
                }
            }
            let due = machine.deadline().map(|due| due.saturating_sub(began.elapsed()));
            thread::sleep(due.unwrap_or(LOOK).min(LOOK));
            if let Some((generation, status)) = ended(&mut child) {
                events.push_back(Event::Ended { generation, ending: status, oom_killed: None });
            }
            events.push_back(Event::Time);
        }
    }
}

fn ended(child: &mut Option<(u64, Child)>) -> Option<(u64, Ending)> {
    let (generation, process) = child.as_mut()?;
    let ending = match process.try_wait() {
        Ok(None) => return None,
        Ok(Some(status)) => status.code().map_or(Ending::Unknown, Ending::Exited),
        Err(_) => Ending::Unknown,
    };
    let ended = (*generation, ending);
    *child = None;
    Some(ended)
}

fn spawn(settings: &SupervisorSettings, generation: u64, after_death: bool) -> io::Result<Child> {
    let (parent, after_death) = (process::id(), u8::from(after_death));
    let drain = settings.drain_timeout.as_millis();
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).stdin(Stdio::piped());
    command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
    command.env(VARIABLE, format!("watertight 1 {parent} {generation} {after_death} {drain}"));
    command.spawn()
}

type Callback = Box<dyn FnOnce() + Send>;

/// A worker's link to its parent.
pub struct Supervised {
    generation: u64,
    after_death: bool,
    on_parent_death: Arc<Mutex<Option<Callback>>>,
}

impl Supervised {
    /// The link, if a [`Supervisor`] has started this process; `None` if nobody has.
    ///
    /// Call it once, first thing in the program. It takes standard input, and starts a thread that waits for the end of the
    /// parent. When that comes before [`on_parent_death`](Self::on_parent_death) is called, the process ends at once
    /// with [`EXIT_ORPHANED`].
    ///
    /// # Errors
    ///
    /// If the supervisor is of another version, or the thread cannot be started.
    pub fn from_env() -> Result<Option<Self>, NotSupervised> {
        let Some(value) = env::var_os(VARIABLE) else { return Ok(None) };
        let value = value.to_string_lossy().into_owned();
        let Some((generation, after_death, drain_timeout)) = parse(&value) else {
            return Err(NotSupervised::Greeting(value));
        };
        let on_parent_death = Arc::new(Mutex::new(None::<Callback>));
        let callback = Arc::clone(&on_parent_death);
        thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
            let mut bytes = [0; 64];
            while io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            let Some(callback) = callback.lock().unwrap_or_else(PoisonError::into_inner).take() else {
                process::exit(EXIT_ORPHANED.into());
            };
            thread::spawn(move || {
                thread::sleep(drain_timeout.saturating_add(DRAIN_MARGIN));
                process::exit(EXIT_ORPHANED.into());
            });
            callback();
        })?;
        Ok(Some(Self { generation, after_death, on_parent_death }))
    }

    /// Always empty here: the worker binds its sockets itself.
    pub fn listeners(&mut self) -> Vec<TcpListener> {
        Vec::new()
    }

    /// Nothing here: who lives for two seconds is taken for ready.
    pub fn ready(&self) {}

    /// Nothing here.
    pub fn stopping(&self) {}

    /// What to do when the parent is gone: stop accepting, drain, end. It runs on a thread of its own; the process is ended when
    /// it is still there 2 s after the drain timeout of the supervisor. Only the last one counts.
    pub fn on_parent_death(&self, callback: impl FnOnce() + Send + 'static) {
        *self.on_parent_death.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(callback));
    }

    /// Which worker this is: 1 for the first, one more for each that was started after it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether another worker serves: on this system none takes over.
    #[must_use]
    pub fn taken_over(&self) -> bool {
        false
    }

    /// Whether this worker replaces one that died, so that its clients come back all at once.
    #[must_use]
    pub fn after_death(&self) -> bool {
        self.after_death
    }
}

fn parse(value: &str) -> Option<(u64, bool, Duration)> {
    let mut words = value.strip_prefix("watertight 1 ")?.split(' ').skip(1);
    let generation = words.next()?.parse().ok()?;
    let after_death = words.next()? == "1";
    Some((generation, after_death, Duration::from_millis(words.next()?.parse().ok()?)))
}

/// It runs on every system; these use a shell.
#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Exceeded, Happening, RestartPolicy};

    fn outcome(script: &str, settings: SupervisorSettings) -> (Outcome, Vec<Happening>) {
        let (told, happenings) = mpsc::channel();
        let settings = SupervisorSettings { program: "sh".into(), ..settings }.arguments(["-c", script]);
        let observer = move |happening: &Happening| _ = told.send(happening.clone());
        let supervisor = Supervisor::new(settings).expect("nothing is bound");
        let outcome = supervisor.observer(observer).run().expect("nothing can go wrong");
        (outcome, happenings.try_iter().collect())
    }

    #[test]
    fn workers_that_die_are_replaced_until_there_were_too_many() {
        let policy = RestartPolicy::default()
            .backoff(Duration::ZERO, Duration::ZERO)
            .intensity(2, Duration::from_secs(60))
            .when_exceeded(Exceeded::Exit);
        let settings = SupervisorSettings::program("").restart(policy).ready_after(Duration::from_millis(1));
        let (outcome, told) = outcome("sleep 0.1; exit 3", settings);
        assert_eq!(outcome, Outcome::IntensityExceeded);
        let died = |happening: &&Happening| matches!(happening, Happening::Died(death) if death.was_ready && death.ending == Ending::Exited(3));
        assert_eq!(told.iter().filter(died).count(), 3);
    }

    #[test]
    fn the_first_worker_has_to_live_a_while() {
        let (outcome, _) = outcome("exit 3", SupervisorSettings::program(""));
        assert_eq!(outcome.exit_code(), crate::EXIT_CONFIGURATION);
    }

    #[test]
    fn a_worker_is_told_who_it_is_and_holds_a_lifeline() {
        // It ends well only if it knows its generation and if its standard input does not end.
        let script = "set -- $SUPERVISED_BY; [ $2.$4.$5.$6 = 1.1.0.7000 ] || exit 4; \
                      timeout 0.1 cat; [ $? = 124 ] && exit 5";
        let settings = SupervisorSettings::program("").drain_timeout(Duration::from_secs(7));
        let (outcome, _) = outcome(script, settings);
        assert!(matches!(outcome, Outcome::ConfigurationFault(death) if death.ending == Ending::Exited(5)));
        assert_eq!(parse("watertight 1 77 3 1 250"), Some((3, true, Duration::from_millis(250))));
        assert_eq!(parse("watertight 2 77 3 1 250"), None);
    }
}
