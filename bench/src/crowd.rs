//! Many clients that are there and do nothing, until they are asked to.

use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc as answers;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::{Client, Transport};

/// How many of them connect, or echo, at once: the same for a small crowd and a large one.
const AT_ONCE: usize = 64;
/// How many come from one address, which has some 28,000 ports on Linux: a client that polls needs two.
const PER_ADDRESS: usize = 10_000;

/// Clients in the namespace `/`, on a thread and a runtime of their own.
pub(crate) struct Crowd {
    /// Each asks for so many echoes of every client.
    orders: mpsc::UnboundedSender<usize>,
    echoed: answers::Receiver<()>,
    thread: JoinHandle<Result<()>>,
}

impl Crowd {
    /// Comes when all of them are there.
    pub(crate) fn gather(server: SocketAddr, transport: Transport, clients: usize) -> Result<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (done, echoed) = answers::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(move || {
            runtime.block_on(async {
                let clients = connect(server, transport, clients).await?;
                be_there(clients, ordered, &done).await
            })
        })?;
        let crowd = Self { orders, echoed, thread };
        match crowd.echoed.recv() {
            Ok(()) => Ok(crowd),
            Err(_) => Err(crowd.leave().err().unwrap_or_else(|| anyhow!("a crowd ended early"))),
        }
    }

    /// Every client echoes so many times, one after another and a few clients at a time.
    pub(crate) fn echo(&self, times: usize) -> Result<()> {
        self.orders.send(times).ok().context("a crowd has ended")?;
        self.echoed.recv().context("a crowd has ended")
    }

    /// Ends their connections. An error when one has been disconnected before, or an echo was lost.
    pub(crate) fn leave(self) -> Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow!("a crowd panicked"))?
    }
}

/// Rests between orders, until there are none any more.
async fn be_there(
    mut clients: Vec<Client>,
    mut orders: mpsc::UnboundedReceiver<usize>,
    done: &answers::Sender<()>,
) -> Result<()> {
    loop {
        // Who gathered them may have given up, which the end of the orders tells.
        _ = done.send(());
        let (at_rest, resting) = watch::channel(());
        let resting = rest(clients, &resting);
        let order = orders.recv().await;
        drop(at_rest);
        clients = all(resting).await?;
        let Some(times) = order else { break };
        clients = stream::iter(clients)
            .map(|client| echo(client, times))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
    }
    stream::iter(clients).map(Client::leave).buffer_unordered(AT_ONCE).try_for_each(|()| ready(Ok(()))).await
}

/// Each client in a task of its own, until the other end of `at_rest` is gone.
fn rest(clients: Vec<Client>, at_rest: &watch::Receiver<()>) -> JoinSet<Result<Client>> {
    let rest = |mut client: Client| {
        let mut at_rest = at_rest.clone();
        async move {
            client.rest(at_rest.changed()).await?;
            Ok(client)
        }
    };
    clients.into_iter().map(rest).collect()
}

async fn all(mut resting: JoinSet<Result<Client>>) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(resting.len());
    while let Some(client) = resting.join_next().await {
        clients.push(client.context("a client of a crowd")??);
    }
    Ok(clients)
}

async fn echo(mut client: Client, times: usize) -> Result<Client> {
    for number in 0..times {
        client.echo(&Value::from(number)).await?;
    }
    Ok(client)
}

/// Connects so many clients, from as many addresses as it takes.
pub(crate) async fn connect(server: SocketAddr, transport: Transport, clients: usize) -> Result<Vec<Client>> {
    let connecting = stream::iter(0..clients).map(|number| async move {
        Client::connect_from(origin(number), server, transport, "/")
            .await
            .with_context(|| format!("client {number} of {clients}"))
    });
    connecting.buffer_unordered(AT_ONCE).try_collect().await
}

/// The address of client `number`. The first ones come from wherever the system chooses: only Linux has the others by
/// itself.
fn origin(number: usize) -> Option<Ipv4Addr> {
    let address = u8::try_from(number / PER_ADDRESS).unwrap_or(u8::MAX - 1);
    (address > 0).then(|| Ipv4Addr::new(127, 0, 0, 1 + address))
}
