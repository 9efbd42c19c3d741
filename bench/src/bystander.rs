//! Someone who did nothing: a client that echoes all the time and must notice nothing of another's fault.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::client::{Client, Transport};

/// How often it echoes.
const EVERY: Duration = Duration::from_millis(50);

/// One client over a WebSocket, on a thread and a runtime of its own.
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    /// In microseconds.
    worst: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64>>,
}

impl Bystander {
    /// Enters `namespace`, which has an event `echo`, and goes on echoing.
    pub(crate) fn start(server: SocketAddr, namespace: &'static str) -> Result<Self> {
        let (stop, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut client = runtime
            .block_on(Client::connect(server, Transport::WebSocket, namespace))
            .context("a bystander")?;
        let thread = {
            let (stop, worst) = (Arc::clone(&stop), Arc::clone(&worst));
            std::thread::Builder::new().name("bystander".into()).spawn(move || {
                runtime.block_on(async {
                    let mut every = tokio::time::interval(EVERY);
                    for number in 1_u64.. {
                        every.tick().await;
                        // The last echo is asked for after whatever happened.
                        let is_last = stop.load(Ordering::Acquire);
                        let took = client.echo(&Value::from(number)).await?;
                        worst.fetch_max(micros(took), Ordering::Relaxed);
                        if is_last {
                            return Ok(number);
                        }
                    }
                    Err(anyhow!("counts for ever"))
                })
            })?
        };
        Ok(Self { stop, worst, thread })
    }

    /// The longest that an echo has taken since this was asked before.
    pub(crate) fn worst(&self) -> Duration {
        Duration::from_micros(self.worst.swap(0, Ordering::Relaxed))
    }

    /// Echoes a last time; answers how often it did. An error when one echo was lost, late or not in its order.
    pub(crate) fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("panicked"))?
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
