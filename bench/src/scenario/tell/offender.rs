//! One offender: it connects, echoes, and sinks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::LAB;
use super::site::{Site, Way, arm_transport};
use crate::client::{Client, Packet, Received, Transport};

/// How long the server may take to record an incident whose client is gone.
const RECORDED: Duration = Duration::from_secs(20);
/// Before the incident's id in the words of a refusal.
const INCIDENT: &str = "(incident ";

/// What became of one offender.
pub(super) struct Fate {
    pub(super) session: String,
    pub(super) incident: String,
    /// `None` for those whose first words are the fault.
    pub(super) echo: Option<Duration>,
    pub(super) told: Duration,
    /// `None` for those who are refused: their connection may have other namespaces.
    pub(super) closed: Option<Duration>,
}

/// Connects, echoes, and sinks. An error when it is not told, told twice or wrongly, or not closed.
pub(super) async fn sink(server: SocketAddr, transport: Transport, site: Site) -> Result<Fate> {
    if let Way::Enter { lab, .. } = site.way {
        let (client, entered) = Client::knock(server, transport, lab).await?;
        return fate(client, entered, None).await;
    }
    let mut client = Client::connect(server, transport, LAB).await?;
    let echo = client.echo(&Value::from(client.session())).await?;
    let emitted = match site.way {
        Way::Transport => {
            arm_transport(&mut client, "panic_transport").await?;
            let emitted = Instant::now();
            // What is read of this panics, so a request is not answered.
            _ = client.emit("echo", &Value::Null).await;
            emitted
        }
        _ => client.emit(site.name, &json!({})).await?,
    };
    fate(client, emitted, Some(echo)).await
}

async fn fate(mut client: Client, mut emitted: Instant, echo: Option<Duration>) -> Result<Fate> {
    let session = client.session().to_owned();
    let mut told: Option<(Instant, String)> = None;
    loop {
        let Received { at, packet } = client.next().await?;
        match packet {
            // `panic_ack` waits for this answer; so it is what makes it panic.
            Packet::Event { name, ack: Some(ack), .. } if name == "ack_me" => {
                emitted = client.answer(ack, &Value::Null).await?;
            }
            // A connect handler runs when its client is in already.
            Packet::Connected if told.is_none() && echo.is_none() => {}
            Packet::Event { name, data, .. } if name == "incident" => {
                ensure!(told.is_none(), "told twice");
                ensure!(data["code"] == "panic", "told of something else: {data}");
                let id = data["id"].as_str().context("a notice has the incident's id")?;
                told = Some((at, id.to_owned()));
            }
            Packet::Refused(words) => {
                ensure!(told.is_none(), "told twice");
                let id = words.split_once(INCIDENT).and_then(|(_, id)| id.strip_suffix(')'));
                let incident =
                    id.with_context(|| format!("refused without an incident: {words}"))?.to_owned();
                // One that polls is gone with its last namespace.
                _ = client.leave().await;
                return Ok(Fate { session, incident, echo, told: at - emitted, closed: None });
            }
            Packet::Closed(how) => {
                let (told, incident) = told.with_context(|| format!("closed without a word, by {how}"))?;
                let closed = Some(at - emitted);
                return Ok(Fate { session, incident, echo, told: told - emitted, closed });
            }
            // One that polls may have panicked by the answer to a ping before.
            Packet::Event { name, .. } if name == "echo" => {}
            // Who is so slow to read that it had to be cut off can be sent this on the way.
            Packet::Disconnected if told.is_some() => {}
            other if told.is_some() => bail!("told, and not closed: {other:?}"),
            other => bail!("neither told nor closed: {other:?}"),
        }
    }
}

/// Asks the server for its incidents until each of `sunk` (incident to session) is there, with the offender that was
/// told its id.
pub(super) async fn recorded(server: SocketAddr, sunk: &HashMap<String, String>) -> Result<()> {
    let mut operator = Client::connect(server, Transport::WebSocket, "/admin").await?;
    let deadline = Instant::now() + RECORDED;
    loop {
        let answer = operator.ask("incidents", &json!({ "limit": 1000 })).await?;
        let incidents = answer["incidents"].as_array().context("the server lists its incidents")?;
        let offenders: HashMap<&str, &str> = incidents
            .iter()
            .filter_map(|incident| Some((incident["id"].as_str()?, incident["offender"]["id"].as_str()?)))
            .collect();
        let missing = sunk.keys().filter(|id| !offenders.contains_key(id.as_str())).count();
        for (id, session) in sunk {
            if let Some(offender) = offenders.get(id.as_str()) {
                ensure!(offender == session, "{session} was told the incident {id} of {offender}");
            }
        }
        if missing == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{missing} clients were told of incidents that are not recorded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
