//! The poll requests of one session: which one waits, and whether its client has read what it was told.

use std::task::Waker;
use std::time::{Duration, Instant};

use watertight::Lagging;

use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering};

pub(super) struct Polls {
    state: Mutex<State>,
    /// How often the engine has rung. It and `told` are changed behind the lock, and looked at without.
    rings: AtomicU32,
    /// Whether all that the client is told has been sent, and nobody has seen it read.
    told: AtomicBool,
}

struct State {
    /// How many poll requests have begun.
    begun: u32,
    /// How many of them have neither been answered nor given up.
    under_way: u32,
    /// When the last one was, or the session began.
    ended: Instant,
    /// Its client may be behind while there is none.
    absent: Option<Lagging>,
    /// The one that waits for something to be sent, by its number, and the task that polls it. Not from when the engine has rung
    /// until that has looked again. There is one at most: the engine refuses another, and closes the session.
    parked: Option<(u32, Waker)>,
    reading: Reading,
    end: End,
}

/// How far the client is with what it is told. A number is that of the poll requests which had begun before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Nothing,
    /// It is being told.
    Telling(u32),
    /// All has been sent.
    Told(u32),
    /// A poll request came after that and found nothing more to be sent.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Open,
    /// It is a WebSocket now; that connection is another part.
    Upgraded,
    Closing,
    Closed,
}

/// One look of a poll request for something to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Whether all that the client is told had been sent before.
    told: bool,
    /// How often the engine had rung before.
    rings: u32,
}

/// What becomes of a poll request that found nothing to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    Waits,
    /// It waits, and its client is now known to have read what it was told.
    Drained,
    /// The session is closed: it is to be answered at once.
    Refused,
}

impl Polls {
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            begun: 0,
            under_way: 0,
            ended: now,
            absent: Some(Lagging::new()),
            parked: None,
            reading: Reading::Nothing,
            end: End::Open,
        };
        Self { state: Mutex::new(state), rings: AtomicU32::new(0), told: AtomicBool::new(false) }
    }

    /// A poll request begins; answers its number.
    pub(super) fn begin(&self) -> u32 {
        let mut state = self.state.lock();
        state.absent = None;
        state.begun += 1;
        state.under_way += 1;
        state.begun
    }

    /// The poll request `number` has been answered, or its client has given it up.
    pub(super) fn end(&self, number: u32, now: Instant) {
        let mut state = self.state.lock();
        state.under_way = state.under_way.saturating_sub(1);
        state.ended = state.ended.max(now);
        if state.under_way == 0 && state.end == End::Open {
            state.absent = Some(Lagging::new());
        }
        let gone = state.parked.take_if(|(parked, _)| *parked == number);
        // What a waker does when it is dropped is its task's, which may ask for the lock.
        drop(state);
        drop(gone);
    }

    /// The engine has something for the poll request that waits: it has been given what rings.
    pub(super) fn ring(&self) {
        let parked = {
            let mut state = self.state.lock();
            self.rings.store(self.rings.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            state.parked.take()
        };
        // Whoever looks at this moment learns of it when it comes to wait.
        if let Some((_, parked)) = parked {
            parked.wake();
        }
    }

    /// For how long the client has not asked for what there is to send. `None` while it does, and when it does not poll
    /// any more.
    pub(super) fn absent(&self, now: Instant) -> Option<Duration> {
        let state = self.state.lock();
        let absent = state.under_way == 0 && state.end == End::Open;
        absent.then(|| now.saturating_duration_since(state.ended))
    }

    /// Whether the engine is sure to know the session: it has a poll request of it, and no answer yet. It rings for the one of
    /// a session that it drops.
    pub(super) fn are_served(&self) -> bool {
        self.state.lock().parked.is_some()
    }

    /// A poll request is about to look for something to be sent.
    pub(super) fn look(&self) -> Look {
        // What has been sent before either of them is found.
        Look { told: self.told.load(Ordering::Acquire), rings: self.rings.load(Ordering::Acquire) }
    }

    /// The poll request `number` has looked, found nothing and waits: for a ring, or for the end of the session.
    pub(super) fn park(&self, number: u32, look: Look, waker: &Waker) -> Parked {
        let mut state = self.state.lock();
        if state.end >= End::Closing {
            return Parked::Refused;
        }
        let looks_again = match state.reading {
            // It looked before what the engine rang for was there.
            _ if self.rings.load(Ordering::Relaxed) != look.rings => true,
            // It looked while the client was being told, which says nothing.
            Reading::Told(before) => number > before && !look.told,
            _ => false,
        };
        if looks_again {
            drop(state);
            waker.wake_by_ref();
            return Parked::Waits;
        }
        let replaced = match &state.parked {
            Some((parked, before)) if *parked == number && before.will_wake(waker) => None,
            _ => state.parked.replace((number, waker.clone())),
        };
        let parked = match state.reading {
            // Its client has read all that was sent before it asked again.
            Reading::Told(before) if number > before => {
                self.read(&mut state, Reading::Drained);
                Parked::Drained
            }
            _ => Parked::Waits,
        };
        drop(state);
        drop(replaced);
        parked
    }

    /// Its client is that far from now on.
    fn read(&self, state: &mut State, reading: Reading) {
        state.reading = reading;
        self.told.store(matches!(reading, Reading::Told(_)), Ordering::Release);
    }

    /// The client is about to be told something.
    pub(super) fn telling(&self) {
        let mut state = self.state.lock();
        let reading = Reading::Telling(state.begun);
        self.read(&mut state, reading);
    }

    /// Whether the client has read what it was told; all of that has been sent. `None` when it does not poll any more.
    pub(super) fn drained(&self) -> Option<bool> {
        let (drained, parked) = {
            let mut state = self.state.lock();
            if state.end == End::Upgraded {
                return None;
            }
            let parked = match state.reading {
                Reading::Telling(before) => {
                    self.read(&mut state, Reading::Told(before));
                    state.parked.take()
                }
                _ => None,
            };
            (state.reading == Reading::Drained, parked)
        };
        // Who has looked while the client was being told looks again.
        if let Some((_, parked)) = parked {
            parked.wake();
        }
        Some(drained)
    }

    /// The session's transport is a WebSocket from now on. `false` when it is not open any more.
    pub(super) fn upgrade(&self) -> bool {
        let mut state = self.state.lock();
        let open = state.end == End::Open;
        if open {
            state.end = End::Upgraded;
            state.absent = None;
        }
        // Of a request that is over by now, or is answered by the engine.
        let parked = if open { state.parked.take() } else { None };
        drop(state);
        drop(parked);
        open
    }

    /// Refuses poll requests from now on, the one that waits too. `false` when the session is not open any more.
    pub(super) fn close(&self) -> bool {
        let parked = {
            let mut state = self.state.lock();
            if state.end != End::Open {
                return false;
            }
            state.end = End::Closing;
            state.absent = None;
            state.parked.take()
        };
        if let Some((_, parked)) = parked {
            parked.wake();
        }
        true
    }

    /// The engine has closed the session.
    pub(super) fn closed(&self) {
        self.state.lock().end = End::Closed;
    }

    /// Whether it is closed, or does not poll any more.
    pub(super) fn are_over(&self) -> bool {
        matches!(self.state.lock().end, End::Upgraded | End::Closed)
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_client_is_absent_while_it_does_not_poll() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let polls = Polls::new(start);
        assert_eq!(polls.absent(after(5)), Some(Duration::from_millis(5)), "it has not polled yet");
        let [first, second] = [polls.begin(), polls.begin()];
        polls.end(first, after(10));
        assert_eq!(polls.absent(after(60_000)), None, "one is still waiting");
        polls.end(second, after(20));
        assert_eq!(polls.absent(after(50)), Some(Duration::from_millis(30)));
        assert!(polls.upgrade());
        assert_eq!(polls.absent(after(50)), None, "it is a WebSocket now");
    }

    /// A task that counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Task>, Waker) {
        let task = Arc::<Task>::default();
        (Arc::clone(&task), Waker::from(task))
    }

    fn woken(task: &Task) -> u32 {
        task.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_session_is_served_while_the_engine_has_a_poll_that_it_has_not_rung_for() {
        let polls = Polls::new(Instant::now());
        let (task, waker) = task();
        let first = polls.begin();
        assert!(!polls.are_served(), "the engine has not been asked");
        assert_eq!(polls.park(first, polls.look(), &waker), Parked::Waits);
        assert!(polls.are_served());
        // Asked once more, as a task is that has other things to do.
        assert_eq!(polls.park(first, polls.look(), &waker), Parked::Waits);
        assert_eq!(woken(&task), 0);
        polls.ring();
        assert_eq!(woken(&task), 1);
        assert!(!polls.are_served(), "nobody has come to see why it rang");
        assert_eq!(polls.park(first, polls.look(), &waker), Parked::Waits);
        assert!(polls.are_served(), "it has been asked again");
        polls.end(first, Instant::now());
        assert!(!polls.are_served());
        assert_eq!(Arc::strong_count(&task), 2, "the waker here and the task: nothing is kept of it");
        polls.ring();
        assert_eq!(woken(&task), 1, "it waits no more");
    }

    /// The engine may ring as soon as it was asked, before the request comes to wait here.
    #[test]
    fn who_looked_before_it_rang_looks_again() {
        let polls = Polls::new(Instant::now());
        let (task, waker) = task();
        let first = polls.begin();
        let look = polls.look();
        polls.ring();
        assert_eq!(polls.park(first, look, &waker), Parked::Waits);
        assert_eq!(woken(&task), 1);
        assert!(!polls.are_served());
    }

    #[test]
    fn the_end_of_one_poll_is_not_that_of_another() {
        let polls = Polls::new(Instant::now());
        let (task, waker) = task();
        let first = polls.begin();
        assert_eq!(polls.park(first, polls.look(), &waker), Parked::Waits);
        // The engine refuses it.
        let second = polls.begin();
        polls.end(second, Instant::now());
        assert!(polls.are_served());
        polls.ring();
        assert_eq!(woken(&task), 1);
    }

    /// Of a poll request that began before the client was told nobody knows whether its answer has been read.
    #[test]
    fn only_a_later_poll_says_that_all_is_read() {
        let polls = Polls::new(Instant::now());
        let park = |number| polls.park(number, polls.look(), Waker::noop());
        let first = polls.begin();
        assert_eq!(park(first), Parked::Waits);
        polls.telling();
        assert_eq!(polls.drained(), Some(false));
        assert_eq!(park(first), Parked::Waits);
        assert_eq!(polls.drained(), Some(false));
        let second = polls.begin();
        assert_eq!(park(second), Parked::Drained);
        assert_eq!(polls.drained(), Some(true));
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use std::future::poll_fn;
    use std::mem;
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;
    use crate::sync::{AtomicU8, Ordering};
    use loom::future::{AtomicWaker, block_on};
    use loom::thread;

    /// A session is closed while its client's second poll request comes to wait: it is answered. Were it left
    /// waiting, loom would see a deadlock.
    #[test]
    fn loom_no_poll_is_left_parked() {
        loom::model(|| {
            let polls = Arc::new(Polls::new(Instant::now()));
            let closes = {
                let polls = Arc::clone(&polls);
                thread::spawn(move || assert!(polls.close()))
            };
            let first = polls.begin();
            let answered = block_on(poll_fn(|cx| match polls.park(first, polls.look(), cx.waker()) {
                Parked::Refused => Poll::Ready(false),
                _ => Poll::Ready(true),
            }));
            let second = polls.begin();
            block_on(poll_fn(|cx| match polls.park(second, polls.look(), cx.waker()) {
                Parked::Refused => Poll::Ready(()),
                _ => Poll::Pending,
            }));
            closes.join().unwrap();
            assert!(answered || !polls.close());
        });
    }

    /// The engine has a packet while its client's poll request looks for one: it is found, now or when it looks again. Were the
    /// ring missed, loom would see a deadlock.
    #[test]
    fn loom_no_ring_is_missed() {
        loom::model(|| {
            let polls = Arc::new(Polls::new(Instant::now()));
            let packet = Arc::new(AtomicBool::new(false));
            let engine = {
                let (polls, packet) = (Arc::clone(&polls), Arc::clone(&packet));
                thread::spawn(move || {
                    packet.store(true, Ordering::Release);
                    polls.ring();
                })
            };
            let first = polls.begin();
            block_on(poll_fn(|cx| {
                let look = polls.look();
                if packet.load(Ordering::Acquire) {
                    return Poll::Ready(());
                }
                assert_eq!(polls.park(first, look, cx.waker()), Parked::Waits);
                Poll::Pending
            }));
            engine.join().unwrap();
            polls.end(first, Instant::now());
            assert!(!polls.are_served());
        });
    }

    /// The engine, with room for one packet.
    struct Engine {
        packet: Mutex<bool>,
        waker: AtomicWaker,
    }

    /// What a client does: polls until it is told that the session is closed. Counts in `read` what it was sent.
    fn client(polls: &Polls, engine: &Engine, progress: &AtomicWaker, read: &AtomicU8) {
        loop {
            let number = polls.begin();
            let found = block_on(poll_fn(|cx| {
                let look = polls.look();
                engine.waker.register_by_ref(cx.waker());
                if mem::take(&mut *engine.packet.lock()) {
                    return Poll::Ready(true);
                }
                match polls.park(number, look, cx.waker()) {
                    Parked::Refused => return Poll::Ready(false),
                    Parked::Drained => progress.wake(),
                    Parked::Waits => {}
                }
                Poll::Pending
            }));
            if !found {
                return;
            }
            read.store(1, Ordering::Relaxed);
        }
    }

    /// A client that polls is told and closed. It counts as drained when it has read what it was told: not before,
    /// and not never.
    #[test]
    fn loom_drained_is_read() {
        loom::model(|| {
            let polls = Arc::new(Polls::new(Instant::now()));
            let engine = Arc::new(Engine { packet: Mutex::new(false), waker: AtomicWaker::new() });
            let progress = Arc::new(AtomicWaker::new());
            let read = Arc::new(AtomicU8::new(0));
            let client = {
                let (polls, engine) = (Arc::clone(&polls), Arc::clone(&engine));
                let (progress, read) = (Arc::clone(&progress), Arc::clone(&read));
                thread::spawn(move || client(&polls, &engine, &progress, &read))
            };
            polls.telling();
            *engine.packet.lock() = true;
            engine.waker.wake();
            block_on(poll_fn(|cx| {
                progress.register_by_ref(cx.waker());
                if polls.drained() == Some(true) { Poll::Ready(()) } else { Poll::Pending }
            }));
            assert_eq!(read.load(Ordering::Relaxed), 1);
            assert!(polls.close());
            client.join().unwrap();
        });
    }
}
