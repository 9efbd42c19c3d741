//! One fault in one server, and what everybody felt.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer};
use tokio::time::{Instant, timeout_at};

use super::bystanders::{Bystanders, Felt};
use super::party::{Language, News, Party};
use super::peer::{Peer, Programs};
use crate::mortal::Mortal;

/// How long everything is quiet before the fault.
const QUIET: Duration = Duration::from_millis(300);

/// How long a promised end is waited for: a busy machine breaks no promise.
const PROMISED: Duration = Duration::from_secs(10);

/// What came of one fault. All times are from the offender's message on.
#[derive(Serialize)]
pub(super) struct Trial {
    /// When the offender was told what happened, and when its connection had ended; `None` when not in the time that was
    /// watched.
    #[serde(serialize_with = "as_ms", rename = "told_ms")]
    pub(super) told: Option<Duration>,
    #[serde(serialize_with = "as_ms", rename = "closed_ms")]
    pub(super) closed: Option<Duration>,
    pub(super) felt: Felt,
    #[serde(serialize_with = "as_ms", rename = "worst_echo_ms")]
    pub(super) worst: Option<Duration>,
    /// When the last bystander that was cut was back.
    #[serde(serialize_with = "as_ms", rename = "back_ms")]
    pub(super) back: Option<Duration>,
    /// Whether another process serves afterwards. `None` where the operating system does not tell.
    pub(super) died: Option<bool>,
}

/// Starts a fresh server and lets one client cause the fault beside bystanders.
pub(super) fn run(
    peer: Peer,
    event: &str,
    watched: Duration,
    programs: &Programs,
    results: &Path,
) -> Result<Trial> {
    let server = peer.start(programs, results)?;
    let language = peer.language();
    let before = server.process();
    let bystanders = Bystanders::gather(server.address(), language)?;
    let patience = if peer.promises_to_close() { PROMISED } else { watched };
    let suffered = suffer(&server, language, event, [watched, patience]);
    // Also after an error, so that the bystanders end before their server does.
    let felt = bystanders.finish().context("a bystander");
    let (suffered, felt) = (suffered?, felt?);
    let died = before.zip(server.process()).map(|(before, after)| before != after);
    let Suffered { asked, told, closed } = suffered;
    let since = |at: Instant| at.saturating_duration_since(asked);
    Ok(Trial {
        told: told.map(since),
        closed: closed.map(since),
        worst: Some(felt.worst),
        back: felt.back.map(since),
        felt,
        died,
    })
}

/// What the offender has seen.
struct Suffered {
    asked: Instant,
    told: Option<Instant>,
    closed: Option<Instant>,
}

/// Causes the fault, watches what comes of it, and waits with patience for the end of the offender's connection.
fn suffer(
    server: &Mortal,
    language: Language,
    event: &str,
    [watched, patience]: [Duration; 2],
) -> Result<Suffered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut offender = Party::join(server.address(), language).await.context("an offender")?;
        tokio::time::sleep(QUIET).await;
        let asked = offender.ask_for(event).await.context("an offender")?;
        let end = asked + patience.max(watched);
        let (mut told, mut closed) = (None, None);
        while closed.is_none() {
            match timeout_at(end, offender.news()).await {
                Ok(News::Told) => told = told.or_else(|| Some(Instant::now())),
                Ok(News::Closed) => closed = Some(Instant::now()),
                Err(_) => break,
            }
        }
        tokio::time::sleep_until(asked + watched).await;
        Ok(Suffered { asked, told, closed })
    })
}

fn as_ms<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64() * 1000.0).serialize(serializer)
}
