//! Feeding a target.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::mutate::{MAX_LEN, mutated};
use crate::targets::Target;

/// An input that takes this long hangs, whatever the machine is doing: they take microseconds.
const HANGS: Duration = Duration::from_secs(10);
/// What an input may cost to allocate for each of its bytes, on top of what its target may anyhow.
const MEMORY_PER_BYTE: usize = 256;

type Trying = Arc<Mutex<Option<(Vec<u8>, Instant)>>>;

/// Feeds one target.
#[derive(Debug)]
pub struct Fuzzer {
    target: Target,
    random: fastrand::Rng,
    corpus: Vec<Vec<u8>>,
    /// What is being tried, and since when.
    trying: Trying,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// How many inputs were tried.
    pub inputs: u64,
    /// The most memory that one allocated, in bytes.
    pub most_memory: usize,
}

/// A promise that does not hold.
#[derive(Debug)]
pub struct Failure {
    /// The input, in a file.
    pub file: PathBuf,
    /// The panic's text.
    pub message: String,
}

impl Fuzzer {
    /// A fuzzer of `target`. The same `seed` tries the same inputs in the same order.
    ///
    /// # Errors
    ///
    /// When the corpus cannot be read.
    pub fn new(target: Target, seed: u64) -> Result<Self> {
        let folder = root().join("corpus").join(target.name);
        let files = fs::read_dir(&folder).with_context(|| format!("no corpus in {}", folder.display()))?;
        let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        let mut corpus = vec![Vec::new()];
        for path in paths {
            corpus.push(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        let trying = Arc::default();
        watch(target.name, &trying);
        Ok(Self { target, random: fastrand::Rng::with_seed(seed), corpus, trying })
    }

    /// Tries the corpus, and then new inputs for `time`.
    ///
    /// # Errors
    ///
    /// The first [`Failure`].
    pub fn run(&mut self, time: Duration) -> Result<Ran, Failure> {
        let (begun, mut ran) = (Instant::now(), Ran { inputs: 0, most_memory: 0 });
        for input in self.corpus.clone() {
            self.step(&input, &mut ran)?;
        }
        while begun.elapsed() < time {
            let input = mutated(&self.corpus, self.target.words, &mut self.random);
            self.step(&input, &mut ran)?;
        }
        Ok(ran)
    }

    fn step(&self, input: &[u8], ran: &mut Ran) -> Result<(), Failure> {
        *self.trying.lock() = Some((input.to_vec(), Instant::now()));
        let before = crate::allocated();
        let check = self.target.check;
        let outcome = catch_unwind(|| check(input));
        let memory = crate::allocated() - before;
        *self.trying.lock() = None;
        ran.inputs += 1;
        ran.most_memory = ran.most_memory.max(memory);
        let message = match outcome {
            Ok(()) if memory <= self.target.memory + MEMORY_PER_BYTE * input.len().min(MAX_LEN) => {
                return Ok(());
            }
            Ok(()) => format!("it allocates {memory} bytes"),
            Err(payload) => text_of(&*payload).to_owned(),
        };
        Err(Failure { file: keep(self.target.name, input), message })
    }
}

/// Ends the process when one input takes too long: a thread that hangs cannot be stopped.
fn watch(target: &'static str, trying: &Trying) {
    let trying = Arc::downgrade(trying);
    thread::spawn(move || {
        while let Some(trying) = trying.upgrade() {
            if let Some((input, since)) = &*trying.lock()
                && since.elapsed() > HANGS
            {
                eprintln!("{target} hangs with {}", keep(target, input).display());
                std::process::exit(1);
            }
            drop(trying);
            thread::sleep(HANGS / 10);
        }
    });
}

/// Writes an input to where people find it; answers the path.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = root().join("failures").join(target);
    // As FNV does it: the same input is the same file.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = folder.join(format!("{hash:016x}"));
    if let Err(error) = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, input)) {
        eprintln!("cannot write {}: {error}; the input is {input:?}", file.display());
    }
    file
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(a payload that is not text)")
}
