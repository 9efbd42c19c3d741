//! What the exhibits of the museum share.
//!
//! An exhibit is a program of its own with pinned versions. Started without arguments it starts a server for each scene
//! and setting as a child process of its own, lets clients play, writes what it saw as JSON, and fails when that is
//! not what the exhibit says. `cargo xtask museum` runs all of them and writes the tables of `docs/museum.md`.

mod bystander;
mod client;
mod exhibit;
mod expect;
pub mod http;
mod observation;
mod packet;
mod process;
mod run;
mod serve;
pub mod table;
mod versions;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

pub use anyhow::Result;
use anyhow::{Context as _, ensure};
use clap::Parser as _;
use serde::{Deserialize, Serialize};
use watertight_supervisor::Supervised;

pub use axum::Router;
pub use client::{Client, Probe};
pub use exhibit::{Exhibit, Offending, PLENTY_MIB, Scene, Setting, Stage, together};
pub use expect::Expect;
pub use observation::{After, Fate, Observation, Others, Process, Recorded, Watched, Whose};
pub use packet::{Heard, Parser};
pub use run::Seen;
pub use serde_json::Value;
pub use serve::{THREADS, sockets_route};
pub use tokio::time::sleep;
pub use tokio_tungstenite::tungstenite::Message;
pub use versions::Version;

/// What an exhibit writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// The exhibit.
    pub exhibit: String,
    /// What it is pinned to.
    pub versions: Vec<Version>,
    /// What was seen.
    pub scenes: Vec<Seen>,
}

#[derive(Debug, clap::Parser)]
#[command(about = "Reproduces real bugs of pinned versions, without and with Watertight")]
struct CommandLine {
    /// The folder for the results.
    #[arg(long, value_name = "PATH", default_value = "../results")]
    results: PathBuf,

    /// Only this scene, and nothing is written.
    #[arg(long, value_name = "SCENE")]
    only: Option<String>,

    /// Be the server of this scene instead, until killed.
    #[arg(long, value_name = "SCENE")]
    serve: Option<String>,

    /// How it is served.
    #[arg(long, value_enum, default_value_t = Setting::Bare)]
    setting: Setting,
}

/// The `main` of every exhibit.
pub fn main(exhibit: &Exhibit) -> ExitCode {
    // First thing, before there are threads.
    let worker = match Supervised::from_env() {
        Ok(worker) => worker,
        Err(error) => {
            eprintln!("error: {}: {error}", exhibit.name);
            return ExitCode::FAILURE;
        }
    };
    match run(exhibit, CommandLine::parse(), worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error:#}", exhibit.name);
            ExitCode::FAILURE
        }
    }
}

fn run(exhibit: &Exhibit, line: CommandLine, worker: Option<Supervised>) -> Result<()> {
    if let Some(name) = &line.serve {
        let scene = exhibit.scenes.iter().find(|scene| scene.name == name);
        return serve::serve(
            scene.with_context(|| format!("there is no scene {name}"))?,
            line.setting,
            worker,
        );
    }
    let chosen = |scene: &&Scene| line.only.as_ref().is_none_or(|only| only == scene.name);
    let runtime = tokio::runtime::Runtime::new()?;
    let mut scenes = Vec::new();
    for scene in exhibit.scenes.iter().filter(chosen) {
        println!("{}: {}", exhibit.name, scene.title);
        let seen = runtime.block_on(run::play(scene))?;
        print!("{}", table::of_scene(&seen));
        for (setting, what, holds) in &seen.expected {
            println!("{} {setting}: {what}", if *holds { "  seen    " } else { "  NOT SEEN" });
        }
        scenes.push(seen);
    }
    ensure!(!scenes.is_empty(), "there is no such scene");
    let missing = scenes.iter().flat_map(|scene| &scene.expected).filter(|(_, _, holds)| !holds).count();
    if line.only.is_none() {
        let versions = versions::versions(exhibit.lock, exhibit.packages);
        write(&line.results, &Results { exhibit: exhibit.name.to_owned(), versions, scenes })?;
    }
    ensure!(missing == 0, "{missing} of what had to be seen was not");
    Ok(())
}

fn write(folder: &std::path::Path, results: &Results) -> Result<()> {
    let path = folder.join(&results.exhibit).with_extension("json");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let text = serde_json::to_string_pretty(results)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
