//! The clients that panic: some again and again over the same connection, many of them at once, and beside them some
//! whose connection ends with each panic.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::count::Count;
use super::site::{Place, SITES, Way};
use crate::client::{Client, Packet, Transport};

/// Clients of each transport that stay.
pub(super) const CLIENTS: usize = 32;
/// So many panics of each site at once, in turn with the other sites.
pub(super) const AT_ONCE: usize = 2;
/// After so many turns a client connects afresh.
const TURNS: usize = 100;
/// Clients of each site and transport that end with each panic.
pub(super) const ENDING: usize = 4;

/// In this time whose panic ends its connection is closed, on a machine that does a million other things.
const SEALED: Duration = Duration::from_secs(20);

/// Who does what is left to do takes from it.
#[derive(Clone)]
pub(super) struct Left(Arc<AtomicU64>);

impl Left {
    pub(super) fn new(count: u64) -> Self {
        Self(Arc::new(AtomicU64::new(count)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Panics at every site whose client stays, `turns` times `AT_ONCE` at each, over one transport.
pub(super) async fn stay(server: SocketAddr, transport: Transport, turns: u64, count: &Arc<Count>) {
    let left = Left::new(turns);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (count, left) = (Arc::clone(count), left.clone());
        clients.spawn(async move {
            if let Err(error) = take_turns(server, transport, &left, &count).await {
                count.failed(format!("a client over {transport}: {error:#}"));
            }
        });
    }
    clients.join_all().await;
}

async fn take_turns(server: SocketAddr, transport: Transport, left: &Left, count: &Count) -> Result<()> {
    let places: Vec<Place> =
        Place::all().filter(|place| place.1 == transport && place.site().stays()).collect();
    let mut is_over = false;
    while !is_over {
        let mut client = Client::connect(server, transport, "/").await?;
        count.connects();
        for _ in 0..TURNS {
            is_over = !left.take();
            if is_over {
                break;
            }
            turn(&mut client, &places, count).await?;
        }
        client.leave().await?;
    }
    Ok(())
}

/// Panics everywhere, and waits for every answer that there is.
async fn turn(client: &mut Client, places: &[Place], count: &Count) -> Result<()> {
    let events = places.iter().cycle().take(places.len() * AT_ONCE);
    count.room_for(places.len() * AT_ONCE).await?;
    let asked: Vec<(&str, Value)> = events
        .clone()
        .map(|place| {
            count.asks(*place);
            // For the extractor, which knows nothing else of its client.
            (place.site().name, Value::from(format!("{} at {}", client.session(), place.text())))
        })
        .collect();
    let answers = client.ask_all(&asked).await?;
    let mut missing: Vec<u64> = answers
        .zip(events)
        .filter_map(|(ack, place)| (place.site().way == Way::Event { answered: true }).then_some(ack))
        .collect();
    while !missing.is_empty() {
        match client.next().await?.packet {
            Packet::Event { name, ack: Some(ack), .. } if name == "ack_me" => {
                client.answer(ack, &Value::Null).await?;
            }
            Packet::Ack { id, data } => {
                let place = missing.iter().position(|ack| *ack == id);
                missing.swap_remove(place.with_context(|| format!("answered twice with {data}"))?);
                if data["code"] != "panic" {
                    bail!("the answer of what panicked is {data}");
                }
            }
            other => bail!("panics are answered with {other:?}"),
        }
    }
    Ok(())
}

/// Panics `each` times at every site and transport whose client does not stay.
pub(super) async fn end(server: SocketAddr, each: u64, count: &Arc<Count>) {
    let mut clients = JoinSet::new();
    for place in Place::all().filter(|place| !place.site().stays()) {
        let left = Left::new(each);
        for _ in 0..ENDING {
            let (count, left) = (Arc::clone(count), left.clone());
            clients.spawn(async move {
                while left.take() {
                    if let Err(error) = end_once(server, place, &count).await {
                        count.failed(format!("{}: {error:#}", place.text()));
                    }
                    if count.is_given_up() {
                        return;
                    }
                }
            });
        }
    }
    clients.join_all().await;
}

async fn end_once(server: SocketAddr, place: Place, count: &Count) -> Result<()> {
    count.room_for(1).await?;
    count.connects();
    match place.site().way {
        Way::Event { .. } => bail!("its client stays"),
        Way::Enter(namespace) => {
            count.asks(place);
            over(Client::knock(server, place.1, namespace).await?.0).await
        }
        Way::Leave => {
            let mut client = Client::connect(server, place.1, "/").await?;
            client.ask("arm_disconnect", &Value::Null).await?;
            count.asks(place);
            client.leave().await
        }
        Way::Transport => {
            let mut client = Client::connect(server, place.1, "/").await?;
            let address = client.address()?.map(|address| address.to_string());
            client.ask("arm_transport", &json!(address)).await?;
            count.asks(place);
            // What is read of this panics, so it can fail.
            _ = client.emit("echo", &Value::Null).await;
            // Where somebody else has come upon the panic, by the answer to a ping or by looking at who is read, it may be
            // answered; it is closed all the same.
            over(client).await
        }
    }
}

/// Waits for the end, but not for ever. Who is refused keeps its connection, and leaves.
async fn over(client: Client) -> Result<()> {
    timeout(SEALED, until_closed(client)).await.context("it goes on")?
}

async fn until_closed(mut client: Client) -> Result<()> {
    loop {
        match client.next().await?.packet {
            Packet::Closed(_) => return Ok(()),
            Packet::Refused(_) => {
                // One that polls is gone with its last namespace.
                _ = client.leave().await;
                return Ok(());
            }
            _ => {}
        }
    }
}

/// How many panics a turn is of each site, and of all.
pub(super) fn of_turn() -> (u64, u64) {
    let sites = SITES.iter().filter(|site| site.stays()).count();
    (AT_ONCE as u64, (AT_ONCE * sites) as u64)
}
