//! What the service manager is told, by the protocol of `sd_notify(3)`.
//!
//! Written out here because `sd-notify` 0.5 knows no abstract sockets (`@…`, as some container managers give), opens a
//! socket for every message, and waits without a limit for a manager that does not read.

use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    process,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::Happening;

/// How long the manager may keep the parent waiting for one message.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    state: State,
    /// How often the manager wants to hear that all is well, halved as `sd_watchdog_enabled(3)` advises.
    interval: Option<Duration>,
    ping_at: Duration,
}

/// What the manager knows.
#[derive(Debug, Default)]
struct State {
    ready: bool,
    reloading: bool,
    stopping: bool,
}

impl Notifier {
    /// As the environment says.
    pub(super) fn from_env() -> io::Result<Self> {
        let path = env::var_os("NOTIFY_SOCKET");
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self::new(path.as_deref(), watchdog.map(Duration::from_micros))
    }

    /// Nobody to tell.
    pub(super) fn nobody() -> Self {
        Self { manager: None, state: State::default(), interval: None, ping_at: Duration::ZERO }
    }

    fn new(path: Option<&OsStr>, watchdog: Option<Duration>) -> io::Result<Self> {
        let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(Self::nobody()) };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let interval = watchdog.map(|within| (within / 2).max(Duration::from_millis(1)));
        Ok(Self { manager: Some((socket, address(path)?)), interval, ..Self::nobody() })
    }

    /// Tells the manager what concerns it.
    pub(super) fn observe(&mut self, happening: &Happening) -> io::Result<()> {
        if self.manager.is_none() {
            return Ok(());
        }
        match self.state.note(happening) {
            Some(note) => self.send(&note),
            None => Ok(()),
        }
    }

    /// When [`ping`](Self::ping) is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.interval.map(|_| self.ping_at)
    }

    /// Tells the manager that all is well, if it is and if it is time to.
    pub(super) fn ping(&mut self, now: Duration, is_well: bool) -> io::Result<()> {
        let Some(interval) = self.interval.filter(|_| now >= self.ping_at) else { return Ok(()) };
        self.ping_at = now + interval;
        if is_well { self.send("WATCHDOG=1\n") } else { Ok(()) }
    }

    fn send(&self, note: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.manager else { return Ok(()) };
        socket.send_to_addr(note.as_bytes(), address).map(drop)
    }
}

impl State {
    fn note(&mut self, happening: &Happening) -> Option<String> {
        let (signal, status) = match happening {
            Happening::Ready { pid, .. } => (self.becomes_ready(), format!("worker {pid} serves")),
            Happening::Died(death) if !self.stopping => ("", format!("the worker died: {}", death.ending)),
            Happening::Restarting { delay, .. } => ("", format!("another worker starts in {delay:.1?}")),
            Happening::IntensityExceeded { restarts, period, .. } => {
                let status = format!("workers die faster than {restarts} times in {period:?}");
                ("", status)
            }
            Happening::Wedged { silent, .. } => ("", format!("the worker has not answered for {silent:.1?}")),
            Happening::NotReady { limit, .. } => ("", format!("the worker was not ready within {limit:?}")),
            Happening::CannotStart { error, .. } => ("", format!("a worker cannot be started: {error}")),
            Happening::ConfigurationFault(death) => {
                ("", format!("the first worker was never ready: {}", death.ending))
            }
            // A manager that has asked for a reload wants to hear of it at once.
            Happening::TakeoverBegun { .. }
            | Happening::ReloadRemembered
            | Happening::ReloadHurries { .. } => {
                self.reloading = true;
                let monotonic = clock_gettime(ClockId::Monotonic);
                let usec = i128::from(monotonic.tv_sec) * 1_000_000 + i128::from(monotonic.tv_nsec) / 1000;
                let note = format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=a new worker is to serve\n");
                return Some(note);
            }
            Happening::TakeoverEnded { .. } => ("", "the old worker has drained".to_owned()),
            Happening::TakeoverFailed { .. } => {
                (self.becomes_ready(), "the new worker was never ready: the old one serves".to_owned())
            }
            Happening::Stopping { .. } => {
                self.stopping = true;
                ("STOPPING=1\n", "the workers drain".to_owned())
            }
            _ => return None,
        };
        Some(format!("{signal}STATUS={}\n", status.replace('\n', " ")))
    }

    /// `READY=1` is for the first time, and for the end of a reload.
    fn becomes_ready(&mut self) -> &'static str {
        if self.ready && !self.reloading {
            return "";
        }
        (self.ready, self.reloading) = (true, false);
        "READY=1\n"
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt as _;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Happening {
        Happening::Ready { generation: 1, pid: 7, after: Duration::ZERO, after_death: None }
    }

    #[test]
    fn readiness_is_told_once_and_after_a_reload() {
        let mut state = State::default();
        assert_eq!(state.note(&ready()).unwrap(), "READY=1\nSTATUS=worker 7 serves\n");
        assert_eq!(state.note(&ready()).unwrap(), "STATUS=worker 7 serves\n");
        let begun = state.note(&Happening::TakeoverBegun { old: 1, new: 2 }).unwrap();
        let usec = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split_once('\n'));
        assert!(usec.unwrap().0.parse::<u64>().unwrap() > 0);
        assert!(state.note(&Happening::TakeoverFailed { old: 1, new: 2 }).unwrap().starts_with("READY=1\n"));
        assert!(state.note(&Happening::TakeoverFailed { old: 1, new: 2 }).unwrap().starts_with("STATUS="));
    }

    #[test]
    fn every_reload_begins_and_ends() {
        for happening in [Happening::ReloadRemembered, Happening::ReloadHurries { generation: 2 }] {
            let mut state = State { ready: true, ..State::default() };
            assert!(state.note(&happening).unwrap().starts_with("RELOADING=1\nMONOTONIC_USEC="));
            assert!(state.note(&ready()).unwrap().starts_with("READY=1\n"));
        }
    }

    #[test]
    fn a_status_is_one_line() {
        let happening = Happening::CannotStart { generation: 1, error: "a\nREADY=1".to_owned() };
        assert_eq!(
            State::default().note(&happening).unwrap(),
            "STATUS=a worker cannot be started: a READY=1\n"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_manager_hears_that_all_is_well_only_when_it_is() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("watertight-notify-{}", process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut bytes = [0; 64];
        let path = format!("@{name}");
        let mut notifier = Notifier::new(Some(OsStr::new(&path)), Some(Duration::from_millis(20))).unwrap();

        notifier.ping(Duration::ZERO, true).unwrap();
        assert_eq!(manager.recv(&mut bytes).unwrap(), b"WATCHDOG=1\n".len());
        assert_eq!(notifier.deadline(), Some(Duration::from_millis(10)));
        notifier.ping(Duration::from_millis(9), true).unwrap();
        assert!(manager.recv(&mut bytes).is_err(), "it is not time yet");
        notifier.ping(Duration::from_millis(10), false).unwrap();
        assert!(manager.recv(&mut bytes).is_err(), "all is not well");
        notifier.ping(Duration::from_millis(20), true).unwrap();
        assert!(manager.recv(&mut bytes).is_ok());
    }
}
