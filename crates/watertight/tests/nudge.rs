//! One blocked thread must not freeze a runtime whose other threads are idle: the blocked one often holds the I/O driver.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use watertight::ScopeExt;

/// How long the handler blocks one of the two threads.
const BLOCKS: Duration = Duration::from_secs(1);
/// What a bystander may notice of it: two looks of the watchdog, and room for a busy machine.
const BOUND: Duration = Duration::from_millis(50);
const RUNS: usize = 20;
/// How many runs may be late on a machine that does other things, and how late. Without the nudge most take the whole second.
const LATE: usize = 1;
const NEVER: Duration = Duration::from_millis(250);

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

/// One runtime of two threads, one of which is blocked: the worst echo of a bystander meanwhile.
fn worst_echo() -> Duration {
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
    let begun = Instant::now();
    blocker.write_all(&[BLOCK]).expect("the server reads");
    // The thread that has taken it blocks, and nothing else came with it that would have woken the other one.
    thread::sleep(Duration::from_millis(2));
    let mut worst = Duration::ZERO;
    while begun.elapsed() < BLOCKS {
        worst = worst.max(echo(&mut bystander));
        thread::sleep(Duration::from_millis(1));
    }
    // It did block, and until now.
    blocker.read_exact(&mut [0]).expect("the server answers");
    assert!(begun.elapsed() >= BLOCKS);
    runtime.shutdown_background();
    worst
}

/// Would reveal a runtime that nobody wakes: without the nudge, bystanders wait for the whole second in most of the runs.
#[test]
fn a_blocked_thread_is_not_felt_by_others() {
    // Not what is measured here: nobody is sealed.
    let long = Duration::from_secs(60);
    common::builder().stall_warn(long).stall_limit(long).install().expect("this binary installs here only");
    let worst: Vec<Duration> = (0..RUNS).map(|_| worst_echo()).collect();
    println!("worst echo of each run: {worst:?}");
    // On a machine with other work the whole process may be held for longer than that, now and then.
    let late = worst.iter().filter(|worst| **worst >= BOUND).count();
    assert!(late <= LATE && worst.iter().all(|worst| *worst < NEVER), "{worst:?}");
}
