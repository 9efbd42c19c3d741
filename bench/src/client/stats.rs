//! What a server of the bench says of itself: `/stats`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Way;
use super::polling::Http;

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Asks one server again and again, over one connection.
pub(crate) struct StatsConnection {
    http: Http,
    _connection: JoinSet<()>,
}

impl StatsConnection {
    pub(crate) async fn open(server: SocketAddr) -> Result<Self> {
        let mut connection = JoinSet::new();
        let mut http = Http::open(Way { origin: None, server }, &mut connection).await?;
        "/stats".clone_into(&mut http.path);
        Ok(Self { http, _connection: connection })
    }

    pub(crate) async fn read(&mut self) -> Result<Value> {
        let (status, body) = super::soon("/stats", self.http.ask(Method::GET, String::new())).await??;
        ensure!(status == StatusCode::OK, "/stats is answered with {status}");
        serde_json::from_str(&body).context("/stats is JSON")
    }

    /// Reads until `holds`, at most for `patience`; answers what was read last, whether it holds or not.
    pub(crate) async fn until(
        &mut self,
        patience: Duration,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let stats = self.read().await?;
            if holds(&stats) || Instant::now() >= deadline {
                return Ok(stats);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
