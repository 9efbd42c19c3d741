//! The worker's side.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use listenfd::ListenFd;
use rustix::{
    net::{RecvFlags, recv},
    process::{Signal, getpid, kill_process},
    stdio::dup2_stdin,
};

use super::{
    channel::{AFTER_DEATH, READY, STOPPING, TAKEN_OVER},
    greeting::{Greeted, Greeting, PROTOCOL},
    spawn::parent_is_supervisor,
};
use crate::{EXIT_ORPHANED, NotSupervised, machine::DRAIN_MARGIN};

/// A worker's link to its parent.
#[derive(Debug)]
pub struct Supervised {
    generation: u64,
    listeners: Vec<TcpListener>,
    descriptors: Vec<(String, OwnedFd)>,
    link: Arc<Link>,
}

/// What the lifeline's thread shares.
struct Link {
    channel: UnixStream,
    after_death: AtomicBool,
    taken_over: AtomicBool,
    /// Held while what the parent said is on its way from the channel into these.
    listening: Mutex<()>,
    drain_timeout: Duration,
    on_parent_death: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Supervised {
    /// The link, if a [`Supervisor`](crate::Supervisor) has started this process; `None` if nobody has, or if it is
    /// a program that a worker has started.
    ///
    /// Call it once, first thing in the program and before there are threads: it takes `LISTEN_FDS` out of the
    /// environment. It takes standard input, which is `/dev/null` from then on, and starts a thread that waits for the end of
    /// the parent. When that comes before [`on_parent_death`](Self::on_parent_death) is called, the process ends
    /// at once with [`EXIT_ORPHANED`].
    ///
    /// # Errors
    ///
    /// If a supervisor has started this process and its channel or its sockets are not there.
    pub fn from_env() -> Result<Option<Self>, NotSupervised> {
        let Some(parent_is_supervisor) = parent_is_supervisor() else { return Ok(None) };
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        if !is_greeted(&channel) {
            return if parent_is_supervisor { Err(NotSupervised::NoChannel) } else { Ok(None) };
        }
        // Whatever this process starts would hold the channel otherwise.
        dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?;
        let Greeted { greeting, descriptors, rest } =
            Greeting::receive(&channel)?.map_err(NotSupervised::Greeting)?;
        let link = Arc::new(Link {
            channel,
            after_death: AtomicBool::new(greeting.after_death),
            taken_over: AtomicBool::new(false),
            listening: Mutex::new(()),
            drain_timeout: greeting.drain_timeout,
            on_parent_death: Mutex::new(None),
        });
        let listeners = listeners(greeting.listeners)?;
        thread::Builder::new().name("lifeline".to_owned()).spawn({
            let link = Arc::clone(&link);
            move || link.watch(rest)
        })?;
        Ok(Some(Self { generation: greeting.generation, listeners, descriptors, link }))
    }

    /// The listening sockets, in the order of the settings; empty the second time. They are non-blocking and have to
    /// stay so: the worker before and the worker after this one share that setting.
    pub fn listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// What the flight recorder has handed down under this name; `None` the second time.
    pub fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.descriptors.iter().position(|(given, _)| given == name)?;
        Some(self.descriptors.swap_remove(index).1)
    }

    /// Tells the parent that this worker serves. Once is enough.
    pub fn ready(&self) {
        self.link.say(READY);
    }

    /// Tells the parent that this worker has begun to drain.
    pub fn stopping(&self) {
        self.link.say(STOPPING);
    }

    /// What to do when the parent is gone: stop accepting, drain, end, as on SIGTERM. It runs on a thread of its own; the
    /// process is killed when it is still there 2 s after the drain timeout of the supervisor. Only the last one counts.
    pub fn on_parent_death(&self, callback: impl FnOnce() + Send + 'static) {
        *self.link.callback() = Some(Box::new(callback));
    }

    /// Which worker this is: 1 for the first, one more for each that was started after it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this worker replaces one that died, so that its clients come back all at once. It may become true later:
    /// when the old worker dies while this one is about to take over.
    #[must_use]
    pub fn after_death(&self) -> bool {
        self.link.after_death.load(Ordering::Acquire)
    }

    /// Whether another worker serves, so that this one should accept nothing any more. The parent says so before it sends
    /// SIGTERM.
    #[must_use]
    pub fn taken_over(&self) -> bool {
        self.link.taken_over()
    }
}

/// Whether a parent has something to say here. It looks without taking anything: standard input may be anyone's.
fn is_greeted(channel: &UnixStream) -> bool {
    let mut beginning = [0; 11];
    let expected = PROTOCOL.as_bytes().get(..beginning.len()).unwrap_or_default();
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    recv(channel, &mut beginning, flags).is_ok() && beginning == expected
}

fn listeners(count: usize) -> Result<Vec<TcpListener>, NotSupervised> {
    let mut given = if count == 0 { ListenFd::empty() } else { ListenFd::from_env() };
    let take = |index| {
        let listener = match given.take_tcp_listener(index) {
            Ok(Some(listener)) => listener.set_nonblocking(true).map(|()| listener),
            Ok(None) => Err(ErrorKind::NotFound.into()),
            Err(error) => Err(error),
        };
        listener.map_err(|source| NotSupervised::Listener { index, source })
    };
    (0..count).map(take).collect()
}

impl Link {
    fn callback(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn FnOnce() + Send>>> {
        self.on_parent_death.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listening(&self) -> std::sync::MutexGuard<'_, ()> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken_over(&self) -> bool {
        let _listening = self.listening();
        // What the parent has just said may not have been listened to.
        let mut waiting = [0; 256];
        let said = match recv(&self.channel, &mut waiting, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((length, _)) => waiting.get(..length).unwrap_or_default(),
            Err(_) => &[],
        };
        let mut lines = said.split(|byte| *byte == b'\n');
        self.taken_over.load(Ordering::Acquire) || lines.any(|line| line == TAKEN_OVER.as_bytes())
    }

    fn say(&self, line: &str) {
        // If the parent is gone the lifeline knows it, too.
        _ = (&self.channel).write_all(format!("{line}\n").as_bytes());
    }

    /// Listens to the parent until there is none.
    fn watch(&self, mut heard: Vec<u8>) {
        self.note(&mut heard);
        loop {
            // Waits without taking anything: whoever asks meanwhile finds it in the channel.
            _ = recv(&self.channel, &mut [0; 1], RecvFlags::PEEK);
            let listening = self.listening();
            let mut bytes = [0; 256];
            let is_there = match (&self.channel).read(&mut bytes) {
                Ok(count @ 1..) => {
                    heard.extend_from_slice(bytes.get(..count).unwrap_or_default());
                    true
                }
                Err(error) => error.kind() == ErrorKind::Interrupted,
                Ok(0) => false,
            };
            self.note(&mut heard);
            drop(listening);
            if !is_there {
                return self.orphaned();
            }
        }
    }

    /// Takes what was said in whole lines.
    fn note(&self, heard: &mut Vec<u8>) {
        while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            let line = heard.get(..end).unwrap_or_default();
            if line == AFTER_DEATH.as_bytes() {
                self.after_death.store(true, Ordering::Release);
            } else if line == TAKEN_OVER.as_bytes() {
                self.taken_over.store(true, Ordering::Release);
            }
            heard.drain(..=end);
        }
    }

    fn orphaned(&self) {
        let Some(callback) = self.callback().take() else {
            kill_after(DRAIN_MARGIN);
            process::exit(EXIT_ORPHANED.into());
        };
        kill_after(self.drain_timeout.saturating_add(DRAIN_MARGIN));
        // The panic is told by its hook; what it has kept from happening, the kill makes good.
        _ = catch_unwind(AssertUnwindSafe(callback));
    }
}

/// Ends this process for certain, whatever its other threads do, if it is still there then.
fn kill_after(patience: Duration) {
    let kill = move || {
        thread::sleep(patience);
        _ = kill_process(getpid(), Signal::KILL);
        // Process 1 of a container cannot kill itself.
        process::exit(EXIT_ORPHANED.into());
    };
    if thread::Builder::new().name("lifeline-end".to_owned()).spawn(kill).is_err() {
        process::exit(EXIT_ORPHANED.into());
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { channel, after_death, taken_over, listening: _, drain_timeout, on_parent_death: _ } = self;
        f.debug_struct("Link")
            .field("channel", channel)
            .field("after_death", after_death)
            .field("taken_over", taken_over)
            .field("drain_timeout", drain_timeout)
            .finish_non_exhaustive()
    }
}
