//! The poll requests of one session: which one waits, and whether its client has read what it was told.

use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use watertight::Lagging;

use super::alarm::Alarm;
use crate::sync::Mutex;

pub(super) struct Polls {
    state: Mutex<State>,
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
    /// The one that waits for something to be sent.
    parked: Option<Waker>,
    /// That of the last one that has begun.
    alarm: Option<Arc<Alarm>>,
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
            alarm: None,
            reading: Reading::Nothing,
            end: End::Open,
        };
        Self { state: Mutex::new(state) }
    }

    /// A poll request begins; answers its number and its alarm. That is the one of the request before, which is over as a
    /// rule: whoever still rings that has the task of this one look once more.
    pub(super) fn begin(&self) -> (u32, Arc<Alarm>) {
        let mut state = self.state.lock();
        let alarm = match &state.alarm {
            Some(alarm) if state.under_way == 0 => Arc::clone(alarm),
            _ => Arc::clone(state.alarm.insert(Alarm::new())),
        };
        state.absent = None;
        state.begun += 1;
        state.under_way += 1;
        (state.begun, alarm)
    }

    /// A poll request has been answered, or its client has given it up.
    pub(super) fn end(&self, now: Instant) {
        let mut state = self.state.lock();
        state.under_way = state.under_way.saturating_sub(1);
        state.ended = state.ended.max(now);
        if state.under_way == 0 && state.end == End::Open {
            state.absent = Some(Lagging::new());
        }
    }

    /// For how long the client has not asked for what there is to send. `None` while it does, and when it does not poll
    /// any more.
    pub(super) fn absent(&self, now: Instant) -> Option<Duration> {
        let state = self.state.lock();
        let absent = state.under_way == 0 && state.end == End::Open;
        absent.then(|| now.saturating_duration_since(state.ended))
    }

    /// Whether the engine is sure to know the session: it has a poll request of it, and no answer yet.
    pub(super) fn are_served(&self) -> bool {
        self.state.lock().alarm.as_ref().is_some_and(|alarm| alarm.is_quiet())
    }

    /// A poll request is about to look for something to be sent.
    pub(super) fn look(&self) -> Look {
        Look { told: matches!(self.state.lock().reading, Reading::Told(_)) }
    }

    /// The poll request `number` has looked, found nothing and waits.
    pub(super) fn park(&self, number: u32, look: Look, waker: &Waker) -> Parked {
        let mut state = self.state.lock();
        if state.end >= End::Closing {
            return Parked::Refused;
        }
        match &mut state.parked {
            Some(parked) => parked.clone_from(waker),
            parked => *parked = Some(waker.clone()),
        }
        match state.reading {
            // Its client has read all that was sent before it asked again.
            Reading::Told(before) if number > before && look.told => {
                state.reading = Reading::Drained;
                Parked::Drained
            }
            Reading::Told(before) if number > before => {
                // It looked while the client was being told, which says nothing: it looks again.
                waker.wake_by_ref();
                Parked::Waits
            }
            _ => Parked::Waits,
        }
    }

    /// The client is about to be told something.
    pub(super) fn telling(&self) {
        let mut state = self.state.lock();
        state.reading = Reading::Telling(state.begun);
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
                    state.reading = Reading::Told(before);
                    state.parked.take()
                }
                _ => None,
            };
            (state.reading == Reading::Drained, parked)
        };
        // Who has looked while the client was being told looks again.
        if let Some(parked) = parked {
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
            // Of requests that are over by now, or are answered by the engine.
            state.parked = None;
            state.alarm = None;
            state.absent = None;
        }
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
            mem::take(&mut state.parked)
        };
        if let Some(parked) = parked {
            parked.wake();
        }
        true
    }

    /// The engine has closed the session.
    pub(super) fn closed(&self) {
        let mut state = self.state.lock();
        state.end = End::Closed;
        state.alarm = None;
    }

    /// Whether it is closed, or does not poll any more.
    pub(super) fn are_over(&self) -> bool {
        matches!(self.state.lock().end, End::Upgraded | End::Closed)
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_absent_while_it_does_not_poll() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let polls = Polls::new(start);
        assert_eq!(polls.absent(after(5)), Some(Duration::from_millis(5)), "it has not polled yet");
        polls.begin();
        polls.begin();
        polls.end(after(10));
        assert_eq!(polls.absent(after(60_000)), None, "one is still waiting");
        polls.end(after(20));
        assert_eq!(polls.absent(after(50)), Some(Duration::from_millis(30)));
        assert!(polls.upgrade());
        assert_eq!(polls.absent(after(50)), None, "it is a WebSocket now");
    }

    #[test]
    fn an_alarm_is_used_again_when_nobody_waits_for_it() {
        let polls = Polls::new(Instant::now());
        let (_, first) = polls.begin();
        let (_, second) = polls.begin();
        assert!(!Arc::ptr_eq(&first, &second), "the first one still waits");
        polls.end(Instant::now());
        polls.end(Instant::now());
        let (_, third) = polls.begin();
        assert!(Arc::ptr_eq(&second, &third));
    }

    /// Of a poll request that began before the client was told nobody knows whether its answer has been read.
    #[test]
    fn only_a_later_poll_says_that_all_is_read() {
        let polls = Polls::new(Instant::now());
        let park = |number| polls.park(number, polls.look(), Waker::noop());
        let (first, _) = polls.begin();
        assert_eq!(park(first), Parked::Waits);
        polls.telling();
        assert_eq!(polls.drained(), Some(false));
        assert_eq!(park(first), Parked::Waits);
        assert_eq!(polls.drained(), Some(false));
        let (second, _) = polls.begin();
        assert_eq!(park(second), Parked::Drained);
        assert_eq!(polls.drained(), Some(true));
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use std::future::poll_fn;
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
            let (first, _) = polls.begin();
            let answered = block_on(poll_fn(|cx| match polls.park(first, polls.look(), cx.waker()) {
                Parked::Refused => Poll::Ready(false),
                _ => Poll::Ready(true),
            }));
            let (second, _) = polls.begin();
            block_on(poll_fn(|cx| match polls.park(second, polls.look(), cx.waker()) {
                Parked::Refused => Poll::Ready(()),
                _ => Poll::Pending,
            }));
            closes.join().unwrap();
            assert!(answered || !polls.close());
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
            let (number, _) = polls.begin();
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
