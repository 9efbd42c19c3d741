//! `GET /ready`: whether clients should be sent here, and what stands in the way.
//!
//! It is answered by the threads that do I/O. With lanes it is answered whatever handlers do; without them they share
//! those threads, and while all are held a prober gets no answer at all. It is answered to the end of a shutdown.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Serialize;
use watertight::{BreakerState, Stall};

use crate::{Shared, admin::admission};

/// Where it is asked.
pub const PATH: &str = "/ready";

/// Whether the server has been told to stop. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on it has.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The answer. Its status is 200 when `ready`, else 503.
#[derive(Debug, Serialize)]
struct Readiness {
    /// Neither draining nor without a thread to run handlers on.
    ready: bool,
    draining: bool,
    recovering: bool,
    held: Vec<Held>,
    /// How many identities are refused.
    quarantined: usize,
    /// Activities that are not on.
    breakers: Vec<BreakerState>,
}

/// A handler that holds its thread.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    /// For operators only: who knows the id of a session that polls can speak in its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    activity: String,
    thread: String,
    held_ms: u64,
}

/// The route.
pub fn routes(shared: Shared) -> Router {
    Router::new().route(PATH, get(ready)).with_state(shared)
}

async fn ready(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let watertight = watertight::ensure_installed();
    let shows_sockets = admission::admits(&shared.settings, peer, &headers, &uri);
    let draining = shared.draining.has_begun();
    let readiness = Readiness {
        ready: !draining && !watertight.is_exhausted(),
        draining,
        recovering: watertight.is_recovering(),
        held: watertight.stalls().iter().map(|stall| Held::new(stall, shows_sockets)).collect(),
        quarantined: watertight.quarantined().len(),
        breakers: watertight.breakers().states(Instant::now()),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

impl Held {
    fn new(stall: &Stall, shows_socket: bool) -> Self {
        Self {
            socket: shows_socket.then(|| stall.socket()),
            activity: stall.working_on(),
            thread: stall.thread.clone(),
            held_ms: u64::try_from(stall.held.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
