//! One blocked thread must not freeze a runtime whose other threads are idle: the blocked one often holds the I/O driver.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use watertight::ScopeExt;

/// How long the handler blocks one of the two threads.
const BLOCKS: Duration = Duration::from_millis(500);
/// What a bystander may notice of it: two looks of the watchdog, and some room. Without the nudge most runs take as
/// long as the handler blocks.
const BOUND: Duration = Duration::from_millis(50);
const RUNS: usize = 20;

/// What a client sends to have its handler block.
const BLOCK: u8 = b'b';

/// Echoes every byte; one that asks for it blocks the thread, in its client's scope.
async fn serve(listener: TcpListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        let work = async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                if byte == [BLOCK] {
                    thread::sleep(BLOCKS);
                }
                let _ = stream.write_all(&byte).await;
            }
        };
        tokio::spawn(async move {
            let client = Client::new();
            work.scoped(client.scope("echo")).await
        });
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(common::DEADLINE)).expect("a socket");
    stream
}

/// Has `stream` echo one byte; answers how long that took.
fn echo(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.write_all(b"e").expect("the server reads");
    stream.read_exact(&mut [0]).expect("the server answers");
    begun.elapsed()
}

/// A thread that has nothing to do with the runtime and wants to run every millisecond: when it is late, the machine has held
/// it, and may have held anybody for as long.
struct Metronome {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Duration>,
}

impl Metronome {
    fn start() -> Self {
        const BEAT: Duration = Duration::from_millis(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut latest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(BEAT);
                latest = latest.max(begun.elapsed().saturating_sub(BEAT));
            }
            latest
        });
        Self { stop, thread }
    }

    /// By how much the latest beat was late.
    fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}

/// One run.
#[derive(Debug)]
struct Run {
    /// The worst echo of a bystander.
    worst: Duration,
    /// For how long the machine has held a thread that had nothing to do with it.
    held: Duration,
}

/// One runtime of two threads, one of which is blocked: what a bystander notices meanwhile.
fn run() -> Run {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tokio-worker")
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    runtime.spawn(serve(listener));
    let (mut bystander, mut blocker) = (connect(address), connect(address));
    echo(&mut bystander);
    echo(&mut blocker);
    // Both threads park again.
    thread::sleep(Duration::from_millis(5));
    let metronome = Metronome::start();
    let begun = Instant::now();
    blocker.write_all(&[BLOCK]).expect("the server reads");
    // The thread that has taken it blocks, and nothing else came with it that would have woken the other one.
    thread::sleep(Duration::from_millis(2));
    let mut worst = Duration::ZERO;
    while begun.elapsed() < BLOCKS {
        worst = worst.max(echo(&mut bystander));
        thread::sleep(Duration::from_millis(1));
    }
    let held = metronome.stop();
    // It did block, and until now.
    blocker.read_exact(&mut [0]).expect("the server answers");
    assert!(begun.elapsed() >= BLOCKS);
    runtime.shutdown_background();
    Run { worst, held }
}

/// Would reveal a runtime that nobody wakes: without the nudge, bystanders wait for the whole second in most of the runs.
#[test]
fn a_blocked_thread_is_not_felt_by_others() {
    // Not what is measured here: nobody is sealed.
    let long = Duration::from_secs(60);
    common::builder().stall_warn(long).stall_limit(long).install().expect("this binary installs here only");
    let runs: Vec<Run> = (0..RUNS).map(|_| run()).collect();
    println!("{runs:?}");
    let late: Vec<_> = runs.iter().filter(|run| run.worst >= BOUND + run.held).collect();
    assert!(late.is_empty(), "{late:?}");
}
