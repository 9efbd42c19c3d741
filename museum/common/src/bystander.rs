//! Someone who did nothing: echoes all the time, and comes back when its connection ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::observation::{Others, millis};
use crate::packet::Parser;

/// Between an echo and the next.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the last echo may take.
const LAST: Duration = Duration::from_millis(500);

/// What bystanders are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Echo; nothing has happened yet.
    Before,
    /// The offence begins.
    Watched,
    /// Stop.
    Over,
}

/// All bystanders of a scene.
#[derive(Debug)]
pub(crate) struct Bystanders {
    phase: watch::Sender<Phase>,
    tasks: Vec<JoinHandle<(Others, Option<Client>)>>,
}

impl Bystanders {
    /// So many of them join.
    pub(crate) async fn join(server: SocketAddr, parser: Parser, clients: usize) -> Result<Self> {
        let (phase, _) = watch::channel(Phase::Before);
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let client = Client::join(server, parser).await.context("a bystander")?;
            let bystander = Bystander { server, parser, client: Some(client), phase: phase.subscribe() };
            tasks.push(tokio::spawn(bystander.run()));
        }
        Ok(Self { phase, tasks })
    }

    /// What they notice counts from now on.
    pub(crate) fn watch(&self) {
        self.phase.send_replace(Phase::Watched);
    }

    /// What they noticed, and themselves: they stay as long as these are kept.
    pub(crate) async fn finish(self) -> Result<(Others, Vec<Client>)> {
        self.phase.send_replace(Phase::Over);
        let (mut all, mut clients) = (Others::default(), Vec::new());
        for task in self.tasks {
            let (seen, client) = task.await.context("a bystander panicked")?;
            all = all.and(&seen);
            clients.extend(client);
        }
        Ok((all, clients))
    }
}

struct Bystander {
    server: SocketAddr,
    parser: Parser,
    client: Option<Client>,
    phase: watch::Receiver<Phase>,
}

impl Bystander {
    async fn run(mut self) -> (Others, Option<Client>) {
        let mut seen = Others { clients: 1, ..Others::default() };
        // Since when it waits for an echo, if it does.
        let mut waiting: Option<Instant> = None;
        let mut number = 0_u64;
        while self.phase() != Phase::Over {
            number += 1;
            let counts = self.phase() == Phase::Watched;
            let asked = *waiting.get_or_insert_with(Instant::now);
            match self.echo(number).await {
                // Also one that was on its way when the offence began.
                Echo::Came if counts || self.phase() != Phase::Before => {
                    seen.asked += 1;
                    seen.worst_ms = seen.worst_ms.max(millis(asked.elapsed()));
                    waiting = None;
                }
                Echo::Came => waiting = None,
                Echo::Lost { connection_too } => {
                    (seen.asked, seen.lost) = (seen.asked + 1, seen.lost + 1);
                    if connection_too {
                        seen.disconnects += 1;
                        self.client = None;
                    } else {
                        break;
                    }
                }
                Echo::NotConnected => {}
            }
            sleep(PAUSE).await;
        }
        if let Some(asked) = waiting {
            seen.worst_ms = seen.worst_ms.max(millis(asked.elapsed()));
        }
        seen.connected = usize::from(self.client.is_some());
        (seen, self.client)
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Asks for an echo and waits for it until all is over.
    async fn echo(&mut self, number: u64) -> Echo {
        if self.client.is_none() {
            // Whoever does not answer within this does not answer.
            self.client =
                timeout(LAST, Client::join(self.server, self.parser)).await.ok().and_then(Result::ok);
        }
        let Some(client) = &mut self.client else { return Echo::NotConnected };
        let number = Value::from(number);
        let over = async {
            // An error means that nobody asks any more.
            _ = self.phase.wait_for(|phase| *phase == Phase::Over).await;
            sleep(LAST).await;
        };
        tokio::select! {
            echoed = client.echo(&number) => if echoed.is_ok() { Echo::Came } else { Echo::Lost { connection_too: true } },
            () = over => Echo::Lost { connection_too: false },
        }
    }
}

enum Echo {
    Came,
    Lost { connection_too: bool },
    NotConnected,
}
