//! A child process: what it prints, what it takes, how it dies. Linux only.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::observation::{After, Process};

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// At how many of a hundred looks a thread runs that spins. A server's threads sleep nearly always.
const SPINNING: usize = 80;

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    looks: Arc<Looks>,
    looking: Option<JoinHandle<()>>,
    printed: Vec<(Printed, JoinHandle<()>)>,
}

type Printed = Arc<Mutex<Vec<Line>>>;

/// What a child printed, and when.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

#[derive(Debug)]
struct Looks {
    child: Mutex<Child>,
    /// The process that is looked at: it, or the worker that it has at the time.
    server: AtomicU32,
    over: AtomicBool,
    ended: Mutex<Option<(Instant, ExitStatus)>>,
    since: Mutex<Since>,
}

/// What was seen since the offence.
#[derive(Debug, Default)]
struct Since {
    peak_kib: u64,
    /// How often it was looked.
    looks: usize,
    /// How often each thread was running then.
    running: HashMap<u32, usize>,
}

/// Where a child stood when the offence began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    resident_kib: u64,
}

impl Watched {
    /// Starts it. What it prints after `ready` on a line of its standard output is answered once it is there. What it
    /// prints after `worker` is the id of a process of its own, which is looked at in its place from then on.
    pub(crate) fn start(
        mut command: Command,
        ready: &'static str,
        worker: &'static str,
        patience: Duration,
    ) -> Result<(Self, String)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let (found, told) = mpsc::channel();
        let output = child.stdout.take().context("a child has an output")?;
        let errors = child.stderr.take().context("a child has an output")?;
        let looks = Arc::new(Looks {
            server: AtomicU32::new(child.id()),
            child: Mutex::new(child),
            over: AtomicBool::new(false),
            ended: Mutex::new(None),
            since: Mutex::default(),
        });
        let output = read(output, {
            let looks = Arc::clone(&looks);
            move |line| {
                if let Some(rest) = line.strip_prefix(ready) {
                    // Whoever waited may have given up.
                    _ = found.send(rest.to_owned());
                } else if let Some(id) = line.strip_prefix(worker).and_then(|id| id.parse().ok()) {
                    looks.server.store(id, Ordering::Relaxed);
                }
            }
        });
        let errors = read(errors, |_| {});
        let looking = thread::spawn({
            let looks = Arc::clone(&looks);
            move || looks.look()
        });
        // From here on the child is killed whatever happens.
        let watched = Self { looks, looking: Some(looking), printed: vec![output, errors] };
        let told = told.recv_timeout(patience);
        let told = told.with_context(|| format!("the server does not listen: {:?}", watched.errors()))?;
        Ok((watched, told))
    }

    /// Remembers where it stands.
    pub(crate) fn mark(&self) -> Mark {
        let resident_kib = resident_kib(self.looks.server.load(Ordering::Relaxed)).unwrap_or(0);
        *lock(&self.looks.since) = Since { peak_kib: resident_kib, ..Since::default() };
        Mark { at: Instant::now(), resident_kib }
    }

    /// What it did since.
    pub(crate) fn since(&self, mark: &Mark) -> Process {
        let ended = *lock(&self.looks.ended);
        let since = lock(&self.looks.since);
        let spins = |running: &&usize| **running * 100 > since.looks * SPINNING;
        let spinning = since.running.values().filter(spins).count();
        let grown_kib = since.peak_kib.saturating_sub(mark.resident_kib);
        #[expect(clippy::cast_precision_loss, reason = "kibibytes of one process")]
        let grown_mib = grown_kib as f64 / 1024.0;
        let died = ended.map(|(at, status)| After::new(at.saturating_duration_since(mark.at), death(status)));
        Process {
            died,
            workers: Vec::new(),
            back: None,
            last_words: None,
            spinning,
            grown_mib: (grown_mib * 100.0).round() / 100.0,
        }
    }

    /// Kills it, and answers all lines of its standard output and of its standard error.
    pub(crate) fn end(mut self) -> (Vec<Line>, Vec<Line>) {
        self.kill();
        let mut lines = self.printed.drain(..).map(|(lines, reader)| {
            // The pipe is closed now.
            _ = reader.join();
            std::mem::take(&mut *lock(&lines))
        });
        (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
    }

    fn errors(&self) -> Vec<Line> {
        self.printed.last().map(|(lines, _)| lock(lines).clone()).unwrap_or_default()
    }

    fn kill(&mut self) {
        self.looks.over.store(true, Ordering::Release);
        if let Some(looking) = self.looking.take() {
            _ = looking.join();
        }
        let mut child = lock(&self.looks.child);
        // It may have ended by itself.
        _ = child.kill();
        _ = child.wait();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Looks {
    fn look(&self) {
        while !self.over.load(Ordering::Acquire) {
            let mut child = lock(&self.child);
            lock(&self.since).add(self.server.load(Ordering::Relaxed));
            if let Ok(Some(status)) = child.try_wait() {
                *lock(&self.ended) = Some((Instant::now(), status));
                return;
            }
            drop(child);
            thread::sleep(LOOK);
        }
    }
}

impl Since {
    fn add(&mut self, id: u32) {
        self.peak_kib = self.peak_kib.max(resident_kib(id).unwrap_or(0));
        self.looks += 1;
        for (thread, runs) in threads(id) {
            *self.running.entry(thread).or_default() += usize::from(runs);
        }
    }
}

fn read(
    output: impl Read + Send + 'static,
    seen: impl Fn(&str) + Send + 'static,
) -> (Printed, JoinHandle<()>) {
    let lines = Printed::default();
    let reader = thread::spawn({
        let lines = Arc::clone(&lines);
        move || {
            for text in BufReader::new(output).lines().map_while(Result::ok) {
                seen(&text);
                lock(&lines).push(Line { at: Instant::now(), text });
            }
        }
    });
    (lines, reader)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a process ended with, as a shell would say it.
fn death(status: ExitStatus) -> String {
    match status.signal() {
        Some(6) => "SIGABRT".to_owned(),
        Some(9) => "SIGKILL".to_owned(),
        Some(11) => "SIGSEGV".to_owned(),
        Some(24) => "SIGXCPU".to_owned(),
        Some(other) => format!("signal {other}"),
        None => format!("exit code {}", status.code().unwrap_or_default()),
    }
}

/// The threads of a process, and which of them run or wait for a processor right now.
fn threads(id: u32) -> Vec<(u32, bool)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let seen = tasks.flatten().filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, runs(&stat)?))
    });
    seen.collect()
}

/// `id (name) state ...`
fn runs(stat: &str) -> Option<bool> {
    // The name may hold anything, also spaces and brackets.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.starts_with('R'))
}

fn resident_kib(id: u32) -> Option<u64> {
    resident_of(&fs::read_to_string(format!("/proc/{id}/status")).ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_of_proc() {
        assert_eq!(
            (runs("42 (a) S b) R 1 2"), runs("42 (a) R b) S 1 2"), runs("")),
            (Some(true), Some(false), None)
        );
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2048));
        assert_eq!(resident_of(""), None);
    }

    fn shell(script: &str) -> (Watched, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Watched::start(command, "ready ", "worker ", Duration::from_secs(10)).expect("there is a shell")
    }

    #[test]
    fn a_death_is_told_with_its_signal_and_what_was_printed() {
        let (child, told) = shell("echo ready x; echo two >&2; kill -ABRT $$");
        let start = Instant::now();
        let mark = child.mark();
        while child.since(&mark).died.is_none() {
            assert!(start.elapsed() < Duration::from_secs(10), "its death is not seen");
            thread::sleep(LOOK);
        }
        assert_eq!(child.since(&mark).died.expect("dead").what, "SIGABRT");
        let (output, errors) = child.end();
        let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(
            (told.as_str(), texts(output), texts(errors)),
            ("x", vec!["ready x".into()], vec!["two".into()])
        );
    }

    #[test]
    fn a_spinning_child_is_seen_to_spin() {
        let (child, _) = shell("echo ready x; while :; do :; done");
        let mark = child.mark();
        thread::sleep(Duration::from_millis(500));
        let seen = child.since(&mark);
        assert!(seen.spinning == 1 && seen.died.is_none(), "{seen:?}");
        let (child, _) = shell("echo ready x; sleep 60");
        let mark = child.mark();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(child.since(&mark).spinning, 0);
    }
}
