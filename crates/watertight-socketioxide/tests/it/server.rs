//! A real server on a free port, and the one installation of the process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use watertight::{
    AllowEntry, Attribution, BreakerSettings, CaptureSink, ConductSettings, Fault, Incident, LaneSettings,
    Misbehaviour, PreviousHook, QuarantineSettings, Registry, Report, StandardPolicy, Watertight,
};
use watertight_faults::PANIC_TEXT;
use watertight_socketioxide::adapter::LocalAdapter;
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};
use watertight_socketioxide::{SocketIo, SocketIoBuilder};

use crate::client::DEADLINE;

/// Installs once; the sink that gets everything.
pub(crate) fn sink() -> &'static CaptureSink {
    static SINK: OnceLock<CaptureSink> = OnceLock::new();
    SINK.get_or_init(|| {
        let sink = CaptureSink::new();
        print_failures_only();
        let policy = StandardPolicy::new().fail_event("/fail", "boom").fail_event_limit(2);
        // All clients come from one address: it would be quarantined, but for what tests name otherwise.
        let here: AllowEntry = "127.0.0.1".parse().expect("an address");
        let quarantine = QuarantineSettings::new().allow(here).base(Duration::from_millis(300)).jitter(0.0);
        let mut builder = Watertight::builder();
        if std::env::var_os("WATERTIGHT_TEST_LANES").is_some() {
            builder = builder.lanes(LaneSettings::new().threads(2));
        }
        builder
            .sink(sink.clone())
            .quarantine(quarantine)
            .conduct(ConductSettings::new().weight(Misbehaviour::SlowConsumer, 11.0))
            .breakers(BreakerSettings::new().open_for(Duration::from_millis(400)))
            .policy(policy)
            .previous_hook(PreviousHook::Chain)
            .disconnect_cleanup(Duration::from_millis(200))
            .disconnect_deadline(Duration::from_millis(600))
            .install()
            .expect("the first installation");
        sink
    })
}

/// Lets the panics of failing tests through to the terminal, and not the thousands of deliberate ones.
#[allow(clippy::disallowed_methods, reason = "goes below the hook under test")]
fn print_failures_only() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|text| text.contains(PANIC_TEXT)) {
            default(info);
        }
    }));
}

/// Serves namespaces until the end of the test's runtime.
pub(crate) async fn serve(
    namespaces: impl FnOnce(&SocketIo<LocalAdapter>),
) -> (SocketAddr, SocketIo<LocalAdapter>) {
    serve_with(SocketIo::builder(), namespaces).await
}

pub(crate) async fn serve_with(
    builder: SocketIoBuilder<LocalAdapter>,
    namespaces: impl FnOnce(&SocketIo<LocalAdapter>),
) -> (SocketAddr, SocketIo<LocalAdapter>) {
    serve_router(builder, namespaces, |app| app).await
}

/// As [`serve_with`], with something around the engine.
pub(crate) async fn serve_router(
    builder: SocketIoBuilder<LocalAdapter>,
    namespaces: impl FnOnce(&SocketIo<LocalAdapter>),
    around: impl FnOnce(Router) -> Router,
) -> (SocketAddr, SocketIo<LocalAdapter>) {
    sink();
    let (layer, io) = builder.build_layer();
    default_namespace(&io);
    namespaces(&io);
    (start(around(Router::new().layer(layer))).await, io)
}

/// One that anybody may join. Here, and not where it is called: the compiler would make one for every test.
fn default_namespace(io: &SocketIo<LocalAdapter>) {
    io.ns("/", async || ());
}

async fn start(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { watertight_axum::serve(listener, app).await });
    address
}

/// The `echo` event of bystanders.
pub(crate) fn echo(socket: &SocketRef) {
    socket.on("echo", async |socket: SocketRef, Data::<serde_json::Value>(data), ack: AckSender| {
        socket.emit("echo", &data).ok();
        ack.send(&data).ok();
    });
}

/// The incidents of one session, once there are `count`.
pub(crate) async fn incidents_of(sid: &str, count: usize) -> Vec<Arc<Incident>> {
    let sid = sid.to_owned();
    let wait = move || {
        sink().wait_for(DEADLINE, |incidents| {
            let ours = |incident: &&Arc<Incident>| {
                incident.offender.as_ref().is_some_and(|offender| offender.id == sid)
            };
            let found: Vec<_> = incidents.iter().filter(ours).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

/// Waits until every fault that was reported before has been judged: they are in turn.
pub(crate) async fn all_are_judged() {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let last = format!("the last of all, {}", NEXT.fetch_add(1, Ordering::Relaxed));
    let report = Report::new(Fault::Panic, Attribution::Unattributed, None, None, last.clone());
    watertight::submit(Box::new(report));
    let wait = move || {
        sink().wait_for(DEADLINE, |incidents| {
            incidents.iter().any(|incident| incident.message == last).then_some(())
        });
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// Waits until nothing is left of a session: no compartment, no socket in any namespace, no room entry.
pub(crate) async fn is_gone(io: &SocketIo<LocalAdapter>, sid: &str, within: Duration) {
    let left = || {
        let sockets =
            io.nsps().into_iter().flat_map(|ns| ns.sockets()).filter(|socket| socket.id.as_str() == sid);
        (Registry::global().by_session(sid).is_some(), sockets.count())
    };
    let gone = async {
        while left() != (false, 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(within, gone).await;
    assert!(in_time.is_ok(), "left of {sid}: (compartment, sockets) = {:?}", left());
}
