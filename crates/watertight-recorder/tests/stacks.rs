//! Stacks of threads that block. One process for all: a stack is taken one at a time, so the tests take turns.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use watertight::Stacks;
use watertight_recorder::ThreadStacks;

const DEADLINE: Duration = Duration::from_secs(20);

static TURN: Mutex<()> = Mutex::new(());

fn stacks() -> (ThreadStacks, MutexGuard<'static, ()>) {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (ThreadStacks::new().expect("this is Linux"), turn)
}

/// Has a thread do `work`; answers what it is known by.
fn enrolled<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> (u64, JoinHandle<R>) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        tell.send(ThreadStacks::new().expect("this is Linux").enrol()).expect("the test waits");
        work()
    });
    (told.recv_timeout(DEADLINE).expect("it begins"), thread)
}

/// The stack of `thread`, once `function` is in it.
fn stack_with(stacks: &ThreadStacks, thread: u64, function: &str) -> String {
    let (begun, mut last) = (Instant::now(), None);
    while begun.elapsed() < DEADLINE {
        last = stacks.capture(thread).and_then(|name| name());
        if let Some(stack) = last.as_ref().filter(|stack| stack.contains(function)) {
            return stack.clone();
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no stack of it has {function}; the last one:\n{}", last.unwrap_or_default());
}

#[inline(never)]
fn spins_until(done: &AtomicBool) -> u64 {
    let mut rounds = 0_u64;
    while !done.load(Ordering::Relaxed) {
        rounds = black_box(rounds.wrapping_add(1));
    }
    black_box(rounds)
}

#[inline(never)]
fn sleeps_for(time: Duration) -> Duration {
    let begun = Instant::now();
    thread::sleep(time);
    black_box(begun.elapsed())
}

#[inline(never)]
fn reads_from(pipe: &mut impl Read) -> std::io::Result<usize> {
    let mut byte = [0];
    black_box(pipe.read(&mut byte))
}

#[inline(never)]
fn waits_for(lock: &Mutex<()>) {
    let held = lock.lock().expect("nobody panics with it");
    drop(black_box(held));
}

/// That what has a name in `stack` is code, from the function inwards: no frame of an executor, and no more than is kept.
fn assert_is_trimmed(stack: &str) {
    let frames = stack.lines().filter(|line| !line.trim_start().starts_with("at ")).count();
    assert!((1..=24).contains(&frames), "{stack}");
    assert!(!stack.contains("__rust_begin_short_backtrace"), "{stack}");
}

/// Would reveal unwinding that is wrong, or that begins elsewhere.
#[test]
fn a_thread_that_computes_is_seen_doing_it() {
    let (stacks, _turn) = stacks();
    let done = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&done);
    let (thread, handle) = enrolled(move || spins_until(&ends));
    let stack = stack_with(&stacks, thread, "spins_until");
    assert_is_trimmed(&stack);
    assert!(stack.contains("stacks.rs:"), "with its place: {stack}");
    done.store(true, Ordering::Relaxed);
    handle.join().expect("no panic");
}

/// Would reveal a sleep that a signal ends.
#[test]
fn a_thread_that_sleeps_goes_on_sleeping() {
    let (stacks, _turn) = stacks();
    let time = Duration::from_millis(600);
    let (thread, handle) = enrolled(move || sleeps_for(time));
    assert_is_trimmed(&stack_with(&stacks, thread, "sleeps_for"));
    for _ in 0..20 {
        let _ = stacks.capture(thread);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(handle.join().expect("no panic") >= time);
}

/// Would reveal a read that ends with `EINTR`, which many programs take for a broken connection.
#[test]
fn a_thread_that_reads_goes_on_reading() {
    let (stacks, _turn) = stacks();
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let (thread, handle) = enrolled(move || reads_from(&mut reader));
    assert_is_trimmed(&stack_with(&stacks, thread, "reads_from"));
    for _ in 0..100 {
        assert!(stacks.capture(thread).is_some());
    }
    writer.write_all(b"x").expect("it is read");
    assert_eq!(handle.join().expect("no panic").ok(), Some(1));
}

/// Would reveal a signal in a system call that it ends: one with a time limit. It reads until it is told to end, for the
/// first stack takes as long as the symbols of this process take to be read.
#[test]
fn a_read_with_a_time_limit_is_not_interrupted() {
    let (stacks, _turn) = stacks();
    let (mut socket, other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let done = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&done);
    let (thread, handle) = enrolled(move || {
        let _open = other;
        let mut read = vec![];
        while !ends.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let error = reads_from(&mut socket).expect_err("nobody writes");
            read.push((error.kind(), begun.elapsed()));
        }
        read
    });
    let stack = stack_with(&stacks, thread, "in the system call");
    assert!(stack.contains("system call re") && stack.contains("not interrupted"), "{stack}");
    for _ in 0..100 {
        let _ = stacks.capture(thread);
    }
    done.store(true, Ordering::Relaxed);
    let read = handle.join().expect("no panic");
    assert!(!read.is_empty());
    for (kind, took) in read {
        assert_eq!(kind, std::io::ErrorKind::WouldBlock, "its time was up, and nothing else");
        assert!(took >= Duration::from_millis(490), "{took:?}");
    }
}

/// Would reveal a lock that is given to somebody who did not get it.
#[test]
fn a_thread_that_waits_for_a_lock_goes_on_waiting() {
    let (stacks, _turn) = stacks();
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().expect("nobody panics with it");
    let waits = Arc::clone(&lock);
    let (thread, handle) = enrolled(move || waits_for(&waits));
    assert_is_trimmed(&stack_with(&stacks, thread, "waits_for"));
    for _ in 0..100 {
        assert!(stacks.capture(thread).is_some());
        assert!(!handle.is_finished());
    }
    drop(held);
    handle.join().expect("no panic");
}

/// Would reveal a handler that is not safe in the middle of anything: it would hang, or crash this process.
#[test]
fn a_thousand_stacks_of_a_thread_that_allocates_panics_and_locks() {
    let (stacks, _turn) = stacks();
    let (done, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let lock = Arc::new(Mutex::new(Vec::new()));
    let busy = |lock: &Arc<Mutex<Vec<String>>>| {
        let (done, rounds, lock) = (Arc::clone(&done), Arc::clone(&rounds), Arc::clone(lock));
        move || {
            while !done.load(Ordering::Relaxed) {
                let round = rounds.fetch_add(1, Ordering::Relaxed);
                let text = "x".repeat((round % 5000) as usize);
                lock.lock().expect("nobody panics with it").push(text);
                if round % 64 == 0 {
                    lock.lock().expect("nobody panics with it").clear();
                }
                let unwound = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(round)));
                assert!(unwound.is_err());
                drop(std::backtrace::Backtrace::force_capture());
                drop(thread::Builder::new().spawn(|| ()).map(JoinHandle::join));
            }
        }
    };
    let threads: Vec<_> = (0..2).map(|_| enrolled(busy(&lock))).collect();
    let (mut taken, mut named, begun) = (0, 0, Instant::now());
    for attempt in 0_usize.. {
        let (thread, _) = threads[attempt % 2];
        if let Some(name) = stacks.capture(thread) {
            taken += 1;
            if taken % 50 == 0 {
                named += usize::from(name().is_some());
            }
        }
        if taken >= 1000 || begun.elapsed() > 3 * DEADLINE {
            break;
        }
    }
    let before = rounds.load(Ordering::Relaxed);
    while rounds.load(Ordering::Relaxed) < before + 10 && begun.elapsed() < 4 * DEADLINE {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(rounds.load(Ordering::Relaxed) >= before + 10, "they go on");
    done.store(true, Ordering::Relaxed);
    for (_, handle) in threads {
        handle.join().expect("no panic");
    }
    println!("{taken} taken in {:?}, {named} of 20 named", begun.elapsed());
    assert!(taken >= 1000, "{taken} in {:?}", begun.elapsed());
    assert!(named >= 15, "{named} of 20 have frames");
}

/// Would reveal that a thread is asked which has ended, or which is none of this process.
#[test]
fn there_is_no_stack_of_nobody() {
    let (stacks, _turn) = stacks();
    let (thread, handle) = enrolled(|| ());
    handle.join().expect("no panic");
    let begun = Instant::now();
    while stacks.capture(thread).is_some() {
        assert!(begun.elapsed() < DEADLINE, "the kernel has forgotten it by now");
    }
    assert!(stacks.capture(0).is_none() && stacks.capture(1 << 40).is_none());
    // Process 1 is no thread of ours.
    assert!(stacks.capture(1).is_none());
}
