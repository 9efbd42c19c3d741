//! The worker: serves something like HTTP, and does what `TRIAL_PLAN` (a file) and its requests say.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Command, ExitCode, Stdio, abort, exit, id},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpid, kill_process},
};
use watertight_supervisor::Supervised;

use crate::{board, say};

struct Worker {
    supervised: Supervised,
    stopping: AtomicBool,
    is_well: AtomicBool,
    connections: AtomicUsize,
}

fn plan() -> String {
    let plan = env::var_os("TRIAL_PLAN").and_then(|path| fs::read_to_string(path).ok());
    plan.unwrap_or_default().trim().to_owned()
}

/// Workers that do not know how to be one.
pub(crate) fn takes_its_own_way() -> bool {
    if env::var_os("SUPERVISED_BY").is_none() || plan() != "garbage" {
        return false;
    }
    let Ok(channel) = io::stdin().as_fd().try_clone_to_owned() else { return true };
    let mut channel = UnixStream::from(channel);
    for line in 0..10 {
        _ = channel.write_all(format!("\u{1}garbage {line}\n").as_bytes());
    }
    _ = channel.write_all(b"ready\n");
    // A flood, until the parent is tired of it: then the channel fills up and holds this thread, until the parent ends.
    while channel.write_all(&[0xff; 65536]).is_ok() {}
    true
}

pub(crate) fn run(mut supervised: Supervised) -> ExitCode {
    match plan().split_once(' ') {
        Some(("exit", code)) => return ExitCode::from(code.parse::<u8>().unwrap_or(1)),
        Some(("signal", "kill")) => _ = kill_process(getpid(), Signal::KILL),
        _ => {}
    }
    let listeners = supervised.listeners();
    let board = supervised.descriptor(board::NAME);
    let again = (supervised.listeners().len(), supervised.descriptor(board::NAME).is_some());
    assert_eq!(again, (0, false), "they are given once");
    let (stop, told) = match UnixStream::pair() {
        Ok(pair) => pair,
        Err(_) => return ExitCode::FAILURE,
    };
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGUSR1] {
        let Ok(stop) = stop.try_clone() else { return ExitCode::FAILURE };
        if signal_hook::low_level::pipe::register(signal, stop).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let worker = Arc::new(Worker {
        supervised,
        stopping: AtomicBool::new(false),
        is_well: AtomicBool::new(true),
        connections: AtomicUsize::new(0),
    });
    if plan() != "careless" {
        worker.supervised.on_parent_death(move || {
            say(&format!("orphaned {}", id()));
            _ = (&stop).write_all(b"X");
        });
    }
    if let Some(board) = board {
        let worker = Arc::clone(&worker);
        board::stamp(board, move || worker.is_well.load(Ordering::Relaxed));
    }
    if plan() == "hang" {
        say(&format!("hanging {}", id()));
    } else {
        worker.supervised.ready();
    }
    serve(&worker, listeners, &told);
    worker.stopping.store(true, Ordering::SeqCst);
    worker.supervised.stopping();
    say(&format!("draining {}", id()));
    // A worker that ignores that it is to end; whoever has told it kills it.
    while worker.connections.load(Ordering::SeqCst) > 0 || plan() == "stubborn" {
        thread::sleep(Duration::from_millis(1));
    }
    ExitCode::SUCCESS
}

/// Accepts until told to stop. The listeners are closed then.
fn serve(worker: &Arc<Worker>, listeners: Vec<TcpListener>, told: &UnixStream) {
    loop {
        let mut fds: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        fds.push(PollFd::new(told, PollFlags::IN));
        let told = match poll(&mut fds, None) {
            Ok(_) => fds.last().is_some_and(|fd| !fd.revents().is_empty()),
            Err(_) => false,
        };
        if told {
            return;
        }
        for listener in &listeners {
            // Whoever of two workers is late finds nothing, and must not wait for more.
            while let Ok((connection, _)) = listener.accept() {
                worker.connections.fetch_add(1, Ordering::SeqCst);
                let worker = Arc::clone(worker);
                thread::spawn(move || {
                    _ = worker.converse(&connection);
                    worker.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
}

impl Worker {
    /// Answers one request after the other. While the worker stops, the answer says that it is the last.
    fn converse(&self, connection: &TcpStream) -> io::Result<()> {
        connection.set_nonblocking(false)?;
        let mut requests = BufReader::new(connection).lines();
        while let Some(request) = requests.next().transpose()? {
            let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
            for line in requests.by_ref() {
                if line?.is_empty() {
                    break;
                }
            }
            let body = self.answer(&path);
            let last = self.stopping.load(Ordering::SeqCst);
            let how = if last { "close" } else { "keep-alive" };
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: {how}\r\nContent-Length: {}\r\n\r\n", body.len());
            (&*connection).write_all(format!("{head}{body}").as_bytes())?;
            if last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, path: &str) -> String {
        let (what, argument) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        match what.trim_start_matches('/') {
            "abort" => abort(),
            "exit" => exit(argument.parse().unwrap_or(1)),
            "slow" => {
                say(&format!("slow {}", id()));
                thread::sleep(Duration::from_millis(argument.parse().unwrap_or(0)));
                "slow".to_owned()
            }
            "wedge" => {
                self.is_well.store(false, Ordering::Relaxed);
                "wedged".to_owned()
            }
            "eat" => eat(),
            "environment" => env::vars().map(|(name, value)| format!("{name}={value}\n")).collect(),
            "descriptors" => descriptors(),
            "grandchild" => Command::new("sleep")
                .arg("60")
                .stdout(Stdio::null())
                .spawn()
                .map_or_else(|error| error.to_string(), |child| child.id().to_string()),
            "grandchild-descriptors" => {
                Command::new("ls").args(["-l", "/proc/self/fd"]).output().map_or_else(
                    |error| error.to_string(),
                    |ls| String::from_utf8_lossy(&ls.stdout).into_owned(),
                )
            }
            // A relative of the same program knows that it is nobody's worker.
            "relative" => Command::new(env::current_exe().unwrap_or_default())
                .env("TRIAL_SETTINGS", "program=/nonexistent")
                .stdin(OwnedFd::from(UnixStream::pair().map_or_else(|_| abort(), |(ours, _)| ours)))
                .output()
                .map_or_else(
                    |error| error.to_string(),
                    |out| String::from_utf8_lossy(&out.stdout).into_owned(),
                ),
            // A shell that ends before its child: the child is an orphan.
            "orphan" => Command::new("sh")
                .args(["-c", "sleep 0.01 & echo $!"])
                .stderr(Stdio::null())
                .output()
                .map_or_else(
                    |error| error.to_string(),
                    |sh| String::from_utf8_lossy(&sh.stdout).into_owned(),
                ),
            _ => format!("{} {} {}", id(), self.supervised.generation(), self.supervised.after_death()),
        }
    }
}

fn descriptors() -> String {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return String::new() };
    let lines = entries.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(format!("{} {}\n", entry.file_name().display(), target.display()))
    });
    lines.collect()
}

/// Takes memory until there is none.
fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&eaten);
    }
}
