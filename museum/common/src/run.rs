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
use crate::observation::{After, Observation, Recorded, Whose, millis};
use crate::process::{Line, Watched};
use crate::serve::{BACK, DIED, INCIDENT, READY, SOCKETS, WORKER};

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
    let (process, address) = Watched::start(command, READY, WORKER, PATIENCE)?;
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
    let since = |line: &Line| line.at.saturating_duration_since(mark.at);
    let deaths = output
        .iter()
        .filter_map(|line| Some(After::new(since(line), line.text.strip_prefix(DIED)?.to_owned())));
    did.workers = deaths.collect();
    did.back = did.workers.first().and_then(|first| {
        let back = output.iter().find(|line| line.text == BACK)?;
        Some(millis(since(back)) - first.ms)
    });
    if did.died.is_some() || !did.workers.is_empty() {
        did.last_words = last_words(&errors);
    }
    let incidents: Vec<Value> = output.iter().filter_map(|line| incident(&line.text)).collect();
    let recorded = incidents.iter().filter_map(|incident| recorded(incident, offender.addresses())).collect();
    // Until now: whoever leaves before the end is seen by the server as well.
    drop(clients);
    Ok(Observation {
        offender,
        others,
        process: did,
        panics: panics(&incidents, &errors),
        recorded,
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
fn panics(incidents: &[Value], errors: &[Line]) -> Vec<String> {
    let printed = errors.iter().filter_map(|line| {
        let (_, place) = line.text.split_once("panicked at ")?;
        Some(from_crate(place.trim_end_matches(':')))
    });
    let recorded = incidents.iter().filter(|incident| incident["fault"] == "panic").filter_map(location);
    let mut places: Vec<String> = printed.chain(recorded).collect();
    places.sort();
    places.dedup();
    places
}

/// The last line of what was printed as errors that says something of this run.
fn last_words(errors: &[Line]) -> Option<String> {
    errors
        .iter()
        .map(|line| &line.text)
        .rfind(|text| !text.is_empty() && !text.starts_with("note: "))
        .cloned()
}

/// The incident that a line tells of.
fn incident(line: &str) -> Option<Value> {
    serde_json::from_str(line.strip_prefix(INCIDENT)?).ok()
}

fn location(incident: &Value) -> Option<String> {
    incident["location"].as_str().map(from_crate)
}

/// What an incident says, where these are the offender's addresses.
fn recorded(incident: &Value, addresses: &[SocketAddr]) -> Option<Recorded> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let fault = text(&incident["fault"])?;
    Some(Recorded {
        fault: match incident["death"]["manner"].as_str() {
            Some(manner) => format!("{fault} ({manner})"),
            None => fault,
        },
        location: location(incident),
        attribution: text(&incident["attribution"])?,
        whose: whose(&incident["offender"], addresses),
        verdict: text(&incident["verdict"])?,
    })
}

fn whose(offender: &Value, addresses: &[SocketAddr]) -> Whose {
    if offender.is_null() {
        return Whose::Nobodys;
    }
    let peer = offender["peer"].as_str().and_then(|peer| peer.parse().ok());
    let is_the_offenders = match peer {
        Some(peer) => addresses.contains(&peer),
        // Of somebody who was named after the death of the process only the connection's number is known. The bystanders
        // have the first ones.
        None => {
            let number =
                offender["id"].as_str().and_then(|id| id.strip_prefix("connection-")?.parse::<usize>().ok());
            number.is_some_and(|number| number > BYSTANDERS)
        }
    };
    if is_the_offenders { Whose::Offenders } else { Whose::Anothers }
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
    fn who_is_known_by_a_number_is_no_bystander_beyond_theirs() {
        let whose = |offender: &str| whose(&serde_json::from_str(offender).expect("JSON"), &[]);
        assert_eq!(whose("null"), Whose::Nobodys);
        assert_eq!(whose(r#"{"id":"connection-2","peer":null}"#), Whose::Anothers);
        assert_eq!(whose(r#"{"id":"connection-3","peer":null}"#), Whose::Offenders);
        assert_eq!(whose(r#"{"id":"something else","peer":null}"#), Whose::Anothers);
    }

    #[test]
    fn panics_are_read_from_either_server() {
        let line = |text: &str| Line { at: Instant::now(), text: text.to_owned() };
        let errors =
            [line("thread 'w' (7) panicked at src/a.rs:1:2:"), line("a message"), line("note: more")];
        assert_eq!(panics(&[], &errors), ["src/a.rs:1"]);
        assert_eq!(last_words(&errors).as_deref(), Some("a message"));
        let incident = r#"{"fault":"panic","location":"src/b.rs:1:2","attribution":"transport","verdict":"disconnect",
            "offender":{"id":"x","peer":"127.0.0.1:7"}}"#;
        let incident = super::incident(&format!("{INCIDENT}{incident}")).expect("an incident");
        assert_eq!(panics(std::slice::from_ref(&incident), &[]), ["src/b.rs:1"]);
        let whose = |port| recorded(&incident, &[([127, 0, 0, 1], port).into()]).expect("a fault").whose;
        assert_eq!((whose(7), whose(8)), (Whose::Offenders, Whose::Anothers));
    }
}
