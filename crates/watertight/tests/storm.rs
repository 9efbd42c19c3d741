//! A panic storm: 2,000 a second with `RUST_BACKTRACE=1`, each of another client.
//!
//! The ten seconds that the guarantee speaks of:
//! `WATERTIGHT_STORM_SECONDS=10 cargo test --release -p watertight --test storm -- --nocapture`

#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Client, DEADLINE, eventually, in_child};
use parking_lot::Mutex;
use watertight::{Event, Incident, ScopeExt, Sink, Watertight};

const PANICS_PER_SECOND: u64 = 2000;
const LIMIT: u32 = 20;
/// Far more than the noise of an allocator and far less than what 2,000 unbounded incidents a second would need.
const MAX_GROWTH_KIB: u64 = 8 * 1024;

/// Counts, as a log would grow, without growing itself.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    incidents: u64,
    storm: u64,
    backtraces: u64,
    rare: u64,
    summaries: u64,
    omitted: u64,
    /// What a log would print: incidents and events, per second since the first.
    lines: Vec<u32>,
    since: Option<Instant>,
}

impl Counts {
    fn line(&mut self) {
        let second = self.since.get_or_insert_with(Instant::now).elapsed().as_secs() as usize;
        self.lines.resize(self.lines.len().max(second + 1), 0);
        self.lines[second] += 1;
    }
}

impl Sink for Log {
    fn incident(&self, incident: &Arc<Incident>) {
        let mut counts = self.0.lock();
        counts.incidents += 1;
        counts.backtraces += u64::from(incident.backtrace.is_some());
        if incident.storm {
            counts.storm += 1;
            return;
        }
        counts.rare += u64::from(incident.message == "rare");
        counts.line();
    }

    fn event(&self, event: &Event<'_>) {
        let mut counts = self.0.lock();
        counts.line();
        if let Event::Summary { location, omitted, window, .. } = event {
            assert!(location.is_some_and(|location| location.file_name() == "storm.rs"));
            assert!(*window >= Duration::from_secs(1), "at most one summary a second: {window:?}");
            counts.summaries += 1;
            counts.omitted += omitted;
        }
    }
}

/// Would reveal memory that grows with each panic, a log that is flooded, incidents that neither a line nor a
/// summary tells of, and a rare fault that drowns in a storm elsewhere.
#[test]
fn neither_memory_nor_log_is_flooded() {
    let written = in_child("neither_memory_nor_log_is_flooded", &[("RUST_BACKTRACE", "1")], || {
        let seconds =
            std::env::var("WATERTIGHT_STORM_SECONDS").ok().map_or(3, |s| s.parse().expect("whole seconds"));
        let log = Log::default();
        let builder = common::builder().storm_limit(LIMIT).sink(log.clone());
        let watertight = builder.install().expect("nothing is installed");
        storm(&watertight, &log, seconds);
    });
    if let Some(written) = written {
        print!("{}", written.out);
    }
}

fn storm(watertight: &Watertight, log: &Log, seconds: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let started = Instant::now();
    runtime.block_on(blow(1));
    let warm = resident_kib();
    runtime.block_on(blow(seconds));
    runtime.block_on(panic_with_text("rare"));
    let took = started.elapsed();

    let total = (seconds + 1) * PANICS_PER_SECOND + 1;
    eventually("all incidents written", || log.0.lock().incidents == total);
    let grown = resident_kib().saturating_sub(warm);
    let told_or_summarised = || {
        let counts = log.0.lock();
        counts.omitted + (counts.incidents - counts.storm)
    };
    // The last window is still open.
    eventually("all omitted ones summarised", || told_or_summarised() == total);

    let counts = log.0.lock();
    let told = counts.incidents - counts.storm;
    println!(
        "{total} panics in {took:.1?}: {told} told one by one, {} left out in {} summaries; \
         lines per second {:?}; resident memory grew by {grown} KiB after the first second",
        counts.omitted, counts.summaries, counts.lines
    );
    assert_eq!((watertight.stats().panics, watertight.stats().lost), (total, 0));
    assert_eq!(counts.omitted, counts.storm);
    assert_eq!(counts.rare, 1, "a rare fault is told though another place storms");
    assert_eq!(counts.backtraces, 2, "one backtrace per location");
    let windows = took.as_secs() + 1;
    assert!(told > 0 && told <= u64::from(LIMIT) * windows + 1, "{told} in {windows} windows");
    // An incident is told as itself and as three events; two windows may touch one second.
    let most = 4 * 2 * LIMIT + 8;
    assert!(counts.lines.iter().all(|lines| *lines <= most), "at most {most}: {:?}", counts.lines);
    assert!(grown < MAX_GROWTH_KIB, "grew by {grown} KiB");
    assert!(took < Duration::from_secs(seconds + 1) + DEADLINE / 4, "the storm came too slowly: {took:?}");
}

/// Panics at full rate for some seconds.
async fn blow(seconds: u64) {
    let ticks = 100;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / ticks);
    for _ in 0..seconds * u64::from(ticks) {
        tick.tick().await;
        let panics: Vec<_> =
            (0..PANICS_PER_SECOND / u64::from(ticks)).map(|_| tokio::spawn(one_panic())).collect();
        for panicked in panics {
            panicked.await.expect("guarded");
        }
    }
}

async fn one_panic() {
    let client = Client::new();
    let caught: Result<(), _> = async { panic!("storm") }.scoped(client.scope("storm")).await;
    caught.expect_err("it panicked");
}

async fn panic_with_text(text: &'static str) {
    let client = Client::new();
    let caught: Result<(), _> = async { panic!("{text}") }.scoped(client.scope("elsewhere")).await;
    caught.expect_err("it panicked");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
