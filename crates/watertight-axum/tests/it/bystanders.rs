//! Clients that have nothing to do with the fault, and must not notice it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::client::Client;
use crate::server::{DEADLINE, within};

const COUNT: usize = 5;
/// How many echoes each must get before a fault, and once more after it.
const ENOUGH: u64 = 20;
const PACE: Duration = Duration::from_millis(2);

/// Some clients that talk to the server all the time.
pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    clients: Vec<(Arc<AtomicU64>, JoinHandle<Duration>)>,
}

impl Bystanders {
    /// Connects them and waits until each has got some echoes.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start_one = || {
            let (stop, echoes) = (Arc::clone(&stop), Arc::new(AtomicU64::new(0)));
            (Arc::clone(&echoes), tokio::spawn(talk(server, stop, echoes)))
        };
        let mut clients = Vec::new();
        clients.extend((0..COUNT).map(|_| start_one()));
        let this = Self { stop, clients };
        this.get_more_echoes().await;
        this
    }

    /// Waits until each has got some more.
    async fn get_more_echoes(&self) {
        let before: Vec<u64> =
            self.clients.iter().map(|(echoes, _)| echoes.load(Ordering::Relaxed)).collect();
        for ((echoes, task), before) in self.clients.iter().zip(before) {
            let wait = async {
                while echoes.load(Ordering::Relaxed) < before + ENOUGH && !task.is_finished() {
                    tokio::time::sleep(PACE).await;
                }
            };
            within(DEADLINE, "bystanders go on", wait).await;
        }
    }

    /// That each still gets its echoes, none was lost and none came out of order. Answers the slowest.
    pub(crate) async fn noticed_nothing(self) -> Duration {
        self.get_more_echoes().await;
        self.stop.store(true, Ordering::Relaxed);
        let mut slowest = Duration::ZERO;
        for (_, task) in self.clients {
            slowest = slowest.max(task.await.expect("a bystander lost its connection or a message"));
        }
        assert!(slowest < Duration::from_secs(1), "a bystander waited for {slowest:?}");
        slowest
    }
}

async fn talk(server: SocketAddr, stop: Arc<AtomicBool>, echoes: Arc<AtomicU64>) -> Duration {
    let mut client = Client::connect(server, "/echo").await;
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let number = echoes.load(Ordering::Relaxed);
        let start = Instant::now();
        client.echoes(&number.to_string()).await;
        slowest = slowest.max(start.elapsed());
        echoes.store(number + 1, Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    slowest
}
