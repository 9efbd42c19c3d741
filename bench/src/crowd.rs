//! Many clients that are there and do nothing, until they are asked to.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc as answers;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
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
    done: answers::Receiver<Result<()>>,
    thread: JoinHandle<Result<()>>,
}

impl Crowd {
    /// Comes when all of them are there.
    pub(crate) fn gather(server: SocketAddr, transport: Transport, clients: usize) -> Result<Self> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (tell, done) = answers::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("crowd".into()).spawn(move || {
            runtime.block_on(async {
                let mut members = Members::default();
                // Whoever gathered them may have given up, which the end of the orders tells.
                _ = tell.send(members.gather(server, transport, clients).await);
                members.obey(ordered, &tell).await
            })
        })?;
        let crowd = Self { orders, done, thread };
        crowd.answer()?;
        Ok(crowd)
    }

    /// Every client echoes so many times, one after another and a few clients at a time.
    pub(crate) fn echo(&self, times: usize) -> Result<()> {
        self.orders.send(times).ok().context("a crowd has ended")?;
        self.answer()
    }

    /// Ends their connections. An error when one has been disconnected before.
    pub(crate) fn leave(self) -> Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow!("a crowd panicked"))?
    }

    fn answer(&self) -> Result<()> {
        self.done.recv().context("a crowd has ended")?
    }
}

/// Each client is a task of its own from when it is connected: who does not answer the heartbeat for 20 s is
/// disconnected, also while others still connect.
struct Members {
    tasks: JoinSet<Result<()>>,
    orders: watch::Sender<usize>,
    turns: Arc<Semaphore>,
    tell: mpsc::UnboundedSender<()>,
    echoed: mpsc::UnboundedReceiver<()>,
}

impl Default for Members {
    fn default() -> Self {
        let (tell, echoed) = mpsc::unbounded_channel();
        let (tasks, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        Self { tasks, orders: watch::Sender::new(0), turns, tell, echoed }
    }
}

impl Members {
    async fn gather(&mut self, server: SocketAddr, transport: Transport, clients: usize) -> Result<()> {
        let mut connecting = pin!(connecting(server, transport, clients));
        while let Some(client) = connecting.next().await {
            let (orders, turns) = (self.orders.subscribe(), Arc::clone(&self.turns));
            self.tasks.spawn(be_there(client?, orders, turns, self.tell.clone()));
        }
        Ok(())
    }

    /// Until there are no orders any more; then all of them leave.
    async fn obey(
        mut self,
        mut orders: mpsc::UnboundedReceiver<usize>,
        tell: &answers::Sender<Result<()>>,
    ) -> Result<()> {
        while let Some(times) = orders.recv().await {
            self.orders.send_replace(times);
            _ = tell.send(self.all_echoed().await);
        }
        drop(self.orders);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client of a crowd")??;
        }
        Ok(())
    }

    async fn all_echoed(&mut self) -> Result<()> {
        for _ in 0..self.tasks.len() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    ended.context("a client of a crowd")??;
                    bail!("a client of a crowd left before it was asked to");
                }
                _ = self.echoed.recv() => {}
            }
        }
        Ok(())
    }
}

/// One client, until there are no orders any more.
async fn be_there(
    mut client: Client,
    mut orders: watch::Receiver<usize>,
    turns: Arc<Semaphore>,
    tell: mpsc::UnboundedSender<()>,
) -> Result<()> {
    while client.rest(orders.changed()).await?.is_ok() {
        let _turn = client.rest(turns.acquire()).await??;
        let times = *orders.borrow_and_update();
        for number in 0..times {
            client.echo(&Value::from(number)).await?;
        }
        // Who asked may have given up because of another one.
        _ = tell.send(());
    }
    let _turn = client.rest(turns.acquire()).await??;
    client.leave().await
}

/// Connects so many clients. They have to be used within 20 s, which is how long the server waits for a heartbeat.
pub(crate) async fn connect(server: SocketAddr, transport: Transport, clients: usize) -> Result<Vec<Client>> {
    connecting(server, transport, clients).try_collect().await
}

/// So many clients as they are connected, from as many addresses as it takes.
fn connecting(
    server: SocketAddr,
    transport: Transport,
    clients: usize,
) -> impl Stream<Item = Result<Client>> {
    let connecting = stream::iter(0..clients).map(move |number| async move {
        Client::connect_from(origin(number), server, transport, "/")
            .await
            .with_context(|| format!("client {number} of {clients}"))
    });
    connecting.buffer_unordered(AT_ONCE)
}

/// The address of client `number`. The first ones come from wherever the system chooses: only Linux has the others by
/// itself.
fn origin(number: usize) -> Option<Ipv4Addr> {
    let address = u8::try_from(number / PER_ADDRESS).unwrap_or(u8::MAX - 1);
    (address > 0).then(|| Ipv4Addr::new(127, 0, 0, 1 + address))
}
