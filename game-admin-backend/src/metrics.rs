//! `GET /metrics`: the numbers of the process as Prometheus reads them.
//!
//! They are read when they are asked for. Only incidents by kind are counted here, by a sink.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
    time::Instant,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        TypedMetric,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::Registry,
};
use tracing::error;
use watertight::{Fault, Incident, Sink, Stats};
use watertight_axum::Pace;

/// Where it is asked.
pub const PATH: &str = "/metrics";

/// The format that is written, in the words of its specification: <https://openmetrics.io>.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What went wrong and what was decided.
type Kind = [(&'static str, &'static str); 2];

/// There is one recovery in a process, so there is one count.
static INCIDENTS: LazyLock<Family<Kind, Counter>> = LazyLock::new(Family::default);

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("watertight");
    registry.register("incidents_by_kind", "Incidents by fault and verdict", INCIDENTS.clone());
    registry.register("deaths", "Deaths of the process that this one was told of", DEATHS.clone());
    registry.register_collector(Box::new(Process));
    registry
});

/// How this process died before it was started again, in the journal of its parent.
static DEATHS: LazyLock<Family<[(&'static str, &'static str); 1], Counter>> = LazyLock::new(Family::default);

/// The pace after a death; there is one server in a process but in tests.
static PACE: OnceLock<Pace> = OnceLock::new();

/// Has the page say how often this pace delayed a connection.
pub(crate) fn count_delayed(pace: &Pace) {
    // The first server's, where tests have several.
    let _ = PACE.set(pace.clone());
}

/// The route.
pub fn routes() -> Router {
    Router::new().route(PATH, get(metrics))
}

async fn metrics() -> Response {
    let mut text = String::new();
    match text::encode(&mut text, &REGISTRY) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(fmt::Error) => {
            error!("the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Counts incidents by what went wrong and what was decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingSink;

impl Sink for CountingSink {
    fn incident(&self, incident: &Arc<Incident>) {
        let kind = [("fault", incident.fault.code()), ("verdict", incident.verdict.as_str())];
        INCIDENTS.get_or_create(&kind).inc();
        if let (Fault::Abort, Some(death)) = (incident.fault, &incident.death) {
            DEATHS.get_or_create(&[("manner", death.manner.as_str())]).inc();
        }
    }
}

/// What the library counts.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(watertight) = watertight::installed() else { return Ok(()) };
        let Stats {
            panics,
            incidents,
            unattributed,
            sealed,
            overdue,
            lost,
            recovery_panics,
            warned,
            quarantined,
            refused,
            tripped,
            limited,
            compartments,
            connections,
            tasks,
            ..
        } = watertight.stats();
        let lanes = watertight::lanes();
        let (lane_threads, lane_jobs) = lanes.map_or((0, 0), |lanes| (lanes.threads(), lanes.waiting()));

        let mut page = Page(encoder);
        page.counter("panics", "Panics that the hook has seen.", panics)?;
        page.counter("incidents", "Incidents recorded.", incidents)?;
        page.counter("unattributed", "Incidents that are nobody's.", unattributed)?;
        page.counter("sealed", "Connections closed with nothing left of them.", sealed)?;
        page.counter("seal_overdue", "Connections of which something was left after all bounds.", overdue)?;
        page.counter("reports_lost", "Faults that found the queue full.", lost)?;
        page.counter("recovery_panics", "Panics of sinks and policies.", recovery_panics)?;
        page.counter("warnings", "Warnings that clients were sent.", warned)?;
        page.counter("quarantines", "Quarantines that began.", quarantined)?;
        page.counter("connects_refused", "Connects refused for a quarantine.", refused)?;
        page.counter("breakers_tripped", "Activities switched off for everyone.", tripped)?;
        page.counter("messages_limited", "Messages beyond their client's rate.", limited)?;

        page.counter(
            "accepts_delayed",
            "Times that the next connection waited for the pace after a death.",
            PACE.get().map_or(0, Pace::delayed),
        )?;

        page.gauge("compartments", "Client connections that are kept apart.", compartments)?;
        page.gauge("connections", "Open TCP connections.", connections)?;
        page.gauge("transport_tasks", "Tasks that are known to serve a connection.", tasks)?;
        let recovering = usize::from(watertight.is_recovering());
        page.gauge("recovery_mode", "1 while recovery mode is on, else 0.", recovering)?;
        page.gauge("stalls", "Handlers that hold their thread now.", watertight.stalls().len())?;
        page.gauge("lane_threads", "Threads for handlers; 0 without lanes.", lane_threads)?;
        page.gauge("lane_jobs_waiting", "Work for lanes that none has begun.", lane_jobs)?;
        page.gauge("quarantined", "Identities that are refused now.", watertight.quarantined().len())?;
        let open = watertight.breakers().states(Instant::now()).len();
        page.gauge("breakers_open", "Activities that are not on now.", open)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A number that only grows; its name gets `_total` at the end.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.write(name, help, &ConstGauge::new(u64::try_from(value).unwrap_or(u64::MAX)))
    }

    fn write<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, metric: &M) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }
}
