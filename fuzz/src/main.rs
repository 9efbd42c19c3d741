//! Fuzzes all targets, or some, one after another.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use watertight_fuzz::{Fuzzer, TARGETS, Target};

#[derive(Parser)]
#[command(about = "Throws anything at what this project parses itself", version)]
struct Cli {
    /// Only these targets; all when none is named.
    targets: Vec<String>,

    /// How long each is fuzzed.
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// Where the random inputs begin; another one each time when it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let Cli { targets, seconds, seed } = Cli::parse();
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut failed = false;
    for target in chosen(&targets)? {
        match Fuzzer::new(target, seed)?.run(Duration::from_secs(seconds)) {
            Ok(ran) => {
                let each = ran.most_memory / 1024;
                println!(
                    "{:10} {:>10} inputs, at most {each} KiB allocated for one",
                    target.name, ran.inputs
                );
            }
            Err(failure) => {
                failed = true;
                println!("{:10} fails with {}: {}", target.name, failure.file.display(), failure.message);
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(names: &[String]) -> Result<Vec<Target>> {
    if names.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    let named = |name: &String| match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => Ok(*target),
        None => {
            let all: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            bail!("there is no target `{name}`, but {}", all.join(", "))
        }
    };
    names.iter().map(named).collect()
}
