//! A supervisor under test: a process whose output is followed, and a client of its worker.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// What takes longer has gone wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Trial {
    pub(crate) parent: Child,
    pub(crate) address: SocketAddr,
    lines: Receiver<String>,
    seen: Vec<String>,
    plan: PathBuf,
}

/// How a trial is begun.
pub(crate) struct Setup {
    pub(crate) command: Command,
    plan: PathBuf,
}

/// A trial whose first worker is ready.
pub(crate) fn begin(settings: &str) -> Trial {
    setup(settings, "").begin()
}

pub(crate) fn setup(settings: &str, plan: &str) -> Setup {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watertight-test-worker"));
    command.env("TRIAL_SETTINGS", settings);
    Setup::new(command, plan)
}

impl Setup {
    /// `command` must come down to the test's program.
    pub(crate) fn new(mut command: Command, plan: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("watertight-trial-{}-{count}", std::process::id()));
        fs::write(&path, plan).expect("the plan is written");
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"] {
            if !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        command.env("TRIAL_PLAN", &path).stdout(Stdio::piped()).stdin(Stdio::null()).process_group(0);
        Self { command, plan: path }
    }

    /// Without waiting for anything; there is no address yet.
    pub(crate) fn start(mut self) -> Trial {
        let mut parent = self.command.spawn().expect("the supervisor starts");
        let (sender, lines) = mpsc::channel();
        let stdout = parent.stdout.take().expect("standard output is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                _ = sender.send(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Trial { parent, address, lines, seen: Vec::new(), plan: self.plan }
    }

    pub(crate) fn begin(self) -> Trial {
        let mut trial = self.start();
        trial.address = trial.listening();
        trial.wait_for("Ready");
        trial
    }
}

impl Trial {
    pub(crate) fn listening(&mut self) -> SocketAddr {
        let line = self.wait_for("Listening");
        let address = line.split(['[', ']', ',']).nth(1).and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {line}"))
    }

    /// Waits for a line that begins so, and answers it.
    pub(crate) fn wait_for(&mut self, beginning: &str) -> String {
        self.wait_for_any(&[beginning])
    }

    pub(crate) fn wait_for_any(&mut self, beginnings: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if beginnings.iter().any(|beginning| line.starts_with(beginning)) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}: no {beginnings:?} among\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Everything that was said so far and is said until the end of all processes.
    pub(crate) fn everything_until_the_end(&mut self) -> &[String] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return &self.seen,
                Err(RecvTimeoutError::Timeout) => panic!("somebody still runs:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Everything that is said until the end, which this signal brings.
    pub(crate) fn everything_until_the_end_of(&mut self, signal: Signal) -> &[String] {
        self.signal(signal);
        self.everything_until_the_end()
    }

    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        poll_until("the supervisor ends", || {
            status = self.parent.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.expect("it has just ended")
    }

    pub(crate) fn plan(&self, plan: &str) {
        fs::write(&self.plan, plan).expect("the plan is written");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.parent.id(), signal);
    }

    /// Asks the worker; the answer's body.
    pub(crate) fn ask(&self, path: &str) -> io::Result<String> {
        Client::connect(self.address)?.ask(path).map(|answer| answer.body)
    }

    /// The worker's process and generation, and whether it replaces a dead one.
    pub(crate) fn worker(&self) -> (u32, u64, bool) {
        let body = self.ask("/").expect("the worker answers");
        let words: Vec<_> = body.split(' ').collect();
        let [pid, generation, after_death] = words[..] else { panic!("three words, not {body}") };
        let number = "a number";
        (pid.parse().expect(number), generation.parse().expect(number), after_death == "true")
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        _ = self.parent.kill();
        _ = self.parent.wait();
        _ = fs::remove_file(&self.plan);
        if thread::panicking() {
            self.seen.extend(self.lines.try_iter());
            eprintln!("what was said:\n{}", self.seen.join("\n"));
        }
    }
}

/// One connection.
pub(crate) struct Client {
    connection: BufReader<TcpStream>,
}

pub(crate) struct Answer {
    pub(crate) body: String,
    pub(crate) is_last: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { connection: BufReader::new(connection) })
    }

    pub(crate) fn ask(&mut self, path: &str) -> io::Result<Answer> {
        self.send(path)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, path: &str) -> io::Result<()> {
        self.connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
    }

    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        let (mut length, mut is_last) = (0, false);
        loop {
            let mut line = String::new();
            if self.connection.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            is_last |= line == "Connection: close";
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().map_err(io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        Ok(Answer { body: String::from_utf8_lossy(&body).into_owned(), is_last })
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(as_pid(pid), signal).expect("the process is there");
}

/// Whether the process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    test_kill_process(as_pid(pid)).is_ok() && !is_zombie
}

fn as_pid(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Asks again and again, with a deadline.
pub(crate) fn poll_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it takes too long until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
