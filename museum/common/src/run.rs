//! Plays the scenes of an exhibit and looks.

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::bystander::Bystanders;
use crate::exhibit::{Scene, Setting, Stage};
use crate::http;
use crate::observation::{Observation, Recorded};
use crate::process::Watched;
use crate::serve::{INCIDENT, READY, SOCKETS};

/// How many do nothing and must notice nothing.
const BYSTANDERS: usize = 2;
/// How long an offender is watched.
const WATCH: Duration = Duration::from_secs(3);
/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the bystanders echo before the offence.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long a scene may take in one setting, whatever happens in it.
const SCENE: Duration = Duration::from_mins(1);
/// How long a server may take to forget who has left.
const FORGETTING: Duration = Duration::from_secs(1);

/// One scene as it was seen, in every setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Its name.
    pub scene: String,
    /// Its title.
    pub title: String,
    /// What was seen, each time.
    pub settings: Vec<(Setting, Vec<Observation>)>,
    /// What had to be seen, and whether it was.
    pub expected: Vec<(Setting, String, bool)>,
}

/// Plays a scene in every setting.
pub(crate) async fn play(scene: &Scene) -> Result<Seen> {
    let (mut settings, mut expected) = (Vec::new(), Vec::new());
    for &(setting, expectations) in scene.expect {
        let mut seen = Vec::new();
        for _ in 0..scene.rounds {
            let round = timeout(SCENE, observe(scene, setting)).await.context("it does not end").flatten();
            seen.push(round.with_context(|| format!("scene {}, {setting}", scene.name))?);
        }
        for &expectation in expectations {
            expected.push((
                setting,
                expectation.to_string(),
                seen.iter().all(|seen| expectation.holds(seen)),
            ));
        }
        settings.push((setting, seen));
    }
    Ok(Seen { scene: scene.name.to_owned(), title: scene.title.to_owned(), settings, expected })
}

async fn observe(scene: &Scene, setting: Setting) -> Result<Observation> {
    let mut command = Command::new(env::current_exe().context("cannot tell where we are")?);
    command.args(["--serve", scene.name, "--setting", &setting.to_string()]);
    // The stacks of tests and servers are what a user has.
    command.env_remove("RUST_MIN_STACK").env_remove("RUST_BACKTRACE");
    let (process, address) = Watched::start(command, READY, PATIENCE)?;
    let server: SocketAddr = address.parse().context("a server tells its address")?;

    let bystanders = Bystanders::join(server, scene.parser, BYSTANDERS).await?;
    tokio::time::sleep(WARM_UP).await;
    let mark = process.mark();
    bystanders.watch();
    let start = Instant::now();
    let offender = (scene.offend)(Stage { server, parser: scene.parser, watch: WATCH }).await?;
    // Whoever has been closed is watched no more, and the others are all the same.
    tokio::time::sleep(WATCH.saturating_sub(start.elapsed())).await;
    let mut did = process.since(&mark);
    let left_behind = left_behind(server, BYSTANDERS).await;
    let (others, clients) = bystanders.finish().await?;
    let (output, errors) = process.end();
    if did.died.is_some() {
        did.last_words = errors.iter().rfind(|line| !line.is_empty() && !line.starts_with("note: ")).cloned();
    }
    // Until now: whoever leaves before the end is seen by the server as well.
    drop(clients);
    Ok(Observation {
        offender,
        others,
        process: did,
        panics: panics(&output, &errors),
        recorded: output.iter().filter_map(|line| recorded(line)).collect(),
        left_behind,
    })
}

/// How many sockets more than `connected` the server still has after a while. `None` when it does not say.
async fn left_behind(server: SocketAddr, connected: usize) -> Option<usize> {
    let start = Instant::now();
    loop {
        let count = timeout(FORGETTING, http::get(server, SOCKETS)).await.ok()?.ok()?;
        let more = count.body.trim().parse::<usize>().ok()?.saturating_sub(connected);
        if more == 0 || start.elapsed() > FORGETTING {
            return Some(more);
        }
        tokio::time::sleep(FORGETTING / 20).await;
    }
}

/// Where a server panicked: what the standard hook printed of it, and what Watertight recorded in its place.
fn panics(output: &[String], errors: &[String]) -> Vec<String> {
    let printed = errors.iter().filter_map(|line| {
        let (_, place) = line.split_once("panicked at ")?;
        Some(from_crate(place.trim_end_matches(':')))
    });
    let recorded = output.iter().filter_map(|line| recorded(line)).filter(|fault| fault.fault == "panic");
    let mut places: Vec<String> = printed.chain(recorded.filter_map(|fault| fault.location)).collect();
    places.sort();
    places.dedup();
    places
}

fn recorded(line: &str) -> Option<Recorded> {
    let incident: Value = serde_json::from_str(line.strip_prefix(INCIDENT)?).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Recorded {
        fault: text(&incident["fault"]).or_else(|| incident["fault"].as_object()?.keys().next().cloned())?,
        location: text(&incident["location"]).map(|place| from_crate(&place)),
        attribution: text(&incident["attribution"])?,
        offender: incident["offender"]["peer"].as_str().and_then(|peer| peer.parse().ok()),
        verdict: text(&incident["verdict"])?,
    })
}

/// `engineioxide-0.10.2/src/transport/ws.rs:190` of a path in cargo's folders or in a repository, without the column.
fn from_crate(place: &str) -> String {
    let place = place.rsplit_once(':').map_or(place, |(place, _column)| place);
    match place.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_registry, rest)| rest).to_owned(),
        None => place.split_once("/library/").map_or(place, |(_, rest)| rest).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_the_crates_folder_on() {
        let place =
            "/home/me/.cargo/registry/src/index.crates.io-1/engineioxide-0.10.2/src/transport/ws.rs:190:18";
        assert_eq!(from_crate(place), "engineioxide-0.10.2/src/transport/ws.rs:190");
        assert_eq!(from_crate("src/main.rs:3:1"), "src/main.rs:3");
        assert_eq!(from_crate("/rustc/0/library/core/src/str/mod.rs:833:21"), "core/src/str/mod.rs:833");
    }

    #[test]
    fn panics_are_read_from_either_server() {
        let errors = ["thread 'w' (7) panicked at src/a.rs:1:2:".to_owned(), "a message".to_owned()];
        assert_eq!(panics(&[], &errors), ["src/a.rs:1"]);
        let incident = r#"{"fault":"panic","location":"src/b.rs:1:2","attribution":"transport","verdict":"disconnect",
            "offender":{"id":"x","peer":"127.0.0.1:7"}}"#;
        let output = [format!("{INCIDENT}{incident}")];
        assert_eq!(panics(&output, &[]), ["src/b.rs:1"]);
        let fault = recorded(&output[0]).expect("a fault");
        assert_eq!(fault.offender, Some(([127, 0, 0, 1], 7).into()));
    }
}
