//! Servers under measurement: real programs in processes of their own.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

/// How long a server may take until it listens, and until it has ended: on a busy machine, under a tool that counts its
/// instructions.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a server prints, with its address, once it listens.
const READY: &str = "listening on http://";

/// Variables of the environment that change what is measured, beside those of Watertight.
const SETTINGS: [&str; 3] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "TOKIO_WORKER_THREADS"];

/// What the handlers of the bench's server run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Bare,
    Guarded,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Bare, Self::Guarded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Guarded => "guarded",
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// The game server with its lab open, on a free port, and with defaults for everything else. It logs to `log`.
    pub(crate) fn lab(log: &Path) -> Result<Self> {
        let mut command = Command::new(binary("WATERTIGHT_SERVER", "game-admin-backend")?);
        command.args(["--lab", "--port", "0"]);
        Self::start(command, log)
    }

    /// The server of the bench, on a free port: the same handlers on bare socketioxide and on Watertight. It logs to `log`.
    pub(crate) fn bench(kind: Kind, arguments: &[&str], log: &Path) -> Result<Self> {
        Self::of_bench("watertight-bench-server", kind.name(), arguments, log)
    }

    /// The same with hardly anything that protects.
    pub(crate) fn least(arguments: &[&str], log: &Path) -> Result<Self> {
        Self::of_bench("watertight-bench-server", "least", arguments, log)
    }

    /// The same, with every allocation counted: slower, and `/stats` says to the byte what it holds.
    pub(crate) fn counted(kind: Kind, arguments: &[&str], log: &Path) -> Result<Self> {
        Self::of_bench("watertight-bench-server-counted", kind.name(), arguments, log)
    }

    /// The same as `bench`, with the program run by `tool`, and of any kind that the program has.
    pub(crate) fn under(mut tool: Command, kind: &str, arguments: &[&str], log: &Path) -> Result<Self> {
        tool.arg(bench_binary("watertight-bench-server")?).arg(kind).args(arguments);
        Self::start(tool, log)
    }

    fn of_bench(program: &str, kind: &str, arguments: &[&str], log: &Path) -> Result<Self> {
        let mut command = Command::new(bench_binary(program)?);
        command.arg(kind).args(arguments);
        Self::start(command, log)
    }

    /// Starts any program that prints `listening on http://ADDRESS` when it is ready. It runs in the folder of `log`
    /// and without the settings of our own environment, so that every run measures the same.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let folder = log.parent().context("a log is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        for (name, _) in env::vars_os() {
            let is_setting = name.to_string_lossy().starts_with("WATERTIGHT_")
                || SETTINGS.iter().any(|&known| name == known);
            // What the scenario has set is what it measures.
            if is_setting && !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let lines = child.stdout.take().map(BufReader::new);
        // From here on the child is killed whatever happens.
        let mut server = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let (found, address) = mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that a server which prints more is not blocked by it.
            for line in lines.into_iter().flat_map(BufReader::lines).map_while(Result::ok) {
                if let Some(address) = line.strip_prefix(READY) {
                    // Whoever waited may have given up.
                    _ = found.send(address.to_owned());
                }
            }
        });
        let address = address
            .recv_timeout(PATIENCE)
            .with_context(|| format!("{program} does not listen; its log is {}", log.display()))?;
        server.address = address.parse().with_context(|| format!("{program} listens on {address:?}"))?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether its process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        // What cannot be waited for is not there any more.
        !matches!(self.child.try_wait(), Ok(None))
    }
}

#[cfg(unix)]
impl Server {
    /// Ends it as ctrl-c does, and waits until it has.
    pub(crate) fn interrupt(mut self) -> Result<()> {
        use rustix::process::{Pid, Signal, kill_process};

        let process = i32::try_from(self.process()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(process, Signal::INT).context("cannot interrupt a server")?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "a server does not end when it is interrupted");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

#[cfg(not(unix))]
impl Server {
    /// There is no such request here.
    pub(crate) fn interrupt(self) -> Result<()> {
        anyhow::bail!("a server cannot be interrupted on this system")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A server of the bench: where the environment variable with its name in capitals says, else beside our own.
fn bench_binary(program: &str) -> Result<PathBuf> {
    binary(&program.to_uppercase().replace('-', "_"), program)
}

/// A program: where the environment variable says, else beside our own.
pub(crate) fn binary(variable: &str, name: &str) -> Result<PathBuf> {
    let path = if let Some(path) = env::var_os(variable) {
        PathBuf::from(path)
    } else {
        let ours = env::current_exe().context("cannot tell where we are")?;
        ours.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX))
    };
    ensure!(
        path.is_file(),
        "there is no {}: build it with `cargo build --release --package {name}`, or let {variable} name it",
        path.display()
    );
    Ok(path)
}

/// What the default panic hook prints of each panic.
const PANICKED: &[u8] = b" panicked at ";

/// How many panics the default hook has printed to a log.
pub(crate) fn panics_in(log: &Path) -> Result<u64> {
    let file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    let (mut lines, mut line, mut panics) = (BufReader::new(file), Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 {
        panics += u64::from(line.windows(PANICKED.len()).any(|text| text == PANICKED));
        line.clear();
    }
    Ok(panics)
}
