//! Loom's models of the hold. The reader of a socket brings events `x` numbered in their order; meanwhile handlers are
//! registered and the phases go by. Each is delivered once and in order.

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread::{self, JoinHandle};

use super::hold::{Hold, Outcome, Phase, Size};
use crate::sync::{AtomicU8, Ordering};

/// The number of an event; all are called `x`.
type Number = u8;

impl Size for Number {
    fn size(&self) -> usize {
        1
    }
}

/// The one who is registered for `x`, or the fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Named,
    Fallback,
}

struct Socket {
    hold: Hold<Handler, Number>,
    /// Whether socketioxide knows a handler of `x`.
    known: AtomicBool,
    /// The event that was delivered last. Read and written `Relaxed`: whoever delivers must have been told by the hold
    /// that the one before is done.
    latest: AtomicU8,
}

impl Socket {
    fn new(phase: Phase) -> Arc<Self> {
        Arc::new(Self { hold: Hold::new(phase), known: AtomicBool::new(false), latest: AtomicU8::new(0) })
    }

    /// What socketioxide and the guards do with an event.
    fn receive(&self, number: Number) {
        let passed = if self.known.load(Ordering::Acquire) {
            self.hold.pass(number, &Handler::Named)
        } else {
            match self.hold.unknown(number, name) {
                Outcome::Known(_, number) => Some(number),
                Outcome::Held | Outcome::Unknown => None,
            }
        };
        if let Some(number) = passed {
            self.dispatch(number);
        }
    }

    fn dispatch(&self, number: Number) {
        assert_eq!(self.latest.load(Ordering::Relaxed) + 1, number, "the next one, once");
        self.latest.store(number, Ordering::Relaxed);
    }

    fn receives(this: &Arc<Self>, numbers: &'static [Number]) -> JoinHandle<()> {
        let socket = Arc::clone(this);
        thread::spawn(move || numbers.iter().for_each(|number| socket.receive(*number)))
    }

    /// As [`Gate::on`](super::Gate::on).
    fn on_x(&self) {
        let delivers = self.hold.register("x".into(), Handler::Named);
        self.known.store(true, Ordering::Release);
        if delivers {
            self.deliver();
        }
    }

    fn on_fallback(&self) {
        if self.hold.register_fallback(Handler::Fallback) {
            self.deliver();
        }
    }

    fn advance(&self, phase: Phase) {
        if self.hold.advance(phase) {
            self.deliver();
        }
    }

    fn deliver(&self) {
        self.hold.deliver(name, |_, number| self.dispatch(number));
    }

    fn latest(&self) -> Number {
        self.latest.load(Ordering::Relaxed)
    }
}

fn name(_: &mut Number) -> Option<String> {
    Some("x".to_owned())
}

/// The handler registers, pauses, and ends, while events come.
#[test]
fn loom_events_meet_every_phase() {
    loom::model(|| {
        let socket = Socket::new(Phase::Holding);
        let reader = Socket::receives(&socket, &[1, 2, 3]);
        socket.on_x();
        socket.advance(Phase::Late);
        socket.advance(Phase::Open);
        reader.join().unwrap();
        assert_eq!(socket.latest(), 3);
    });
}

/// A handler is registered late: what has waited for it goes before what comes now.
#[test]
fn loom_late_registration_is_not_overtaken() {
    loom::model(|| {
        let socket = Socket::new(Phase::Late);
        let reader = Socket::receives(&socket, &[1, 2]);
        socket.on_x();
        reader.join().unwrap();
        assert_eq!(socket.latest(), 2);
    });
}

/// As above, for the fallback.
#[test]
fn loom_late_fallback_is_not_overtaken() {
    loom::model(|| {
        let socket = Socket::new(Phase::Late);
        let reader = Socket::receives(&socket, &[1, 2]);
        socket.on_fallback();
        reader.join().unwrap();
        assert_eq!(socket.latest(), 2);
    });
}

/// Another task registers the handler while the connect handler makes its first pause.
#[test]
fn loom_registration_during_delivery_is_seen() {
    loom::model(|| {
        let socket = Socket::new(Phase::Holding);
        socket.receive(1);
        let registers = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.on_x())
        };
        let reader = Socket::receives(&socket, &[2]);
        socket.advance(Phase::Late);
        registers.join().unwrap();
        reader.join().unwrap();
        assert_eq!(socket.latest(), 2);
    });
}

/// The handler's end and a registration elsewhere want to deliver at once: one does, for both.
#[test]
fn loom_one_delivers_for_all() {
    loom::model(|| {
        let socket = Socket::new(Phase::Late);
        socket.receive(1);
        socket.receive(2);
        let registers = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.on_x())
        };
        socket.advance(Phase::Open);
        let open = socket.hold.phase() == Phase::Open;
        registers.join().unwrap();
        assert_eq!(socket.hold.phase(), Phase::Open);
        // Ended before its handler was registered, they go nowhere.
        if !(open && socket.latest() == 0) {
            assert_eq!(socket.latest(), 2);
        }
    });
}

/// The client leaves while its events are delivered: the phase does not go back, and none comes twice.
#[test]
fn loom_leaving_ends_delivery() {
    loom::model(|| {
        let socket = Socket::new(Phase::Holding);
        socket.on_x();
        socket.receive(1);
        socket.receive(2);
        let leaves = {
            let socket = Arc::clone(&socket);
            thread::spawn(move || socket.hold.give_up())
        };
        socket.advance(Phase::Late);
        leaves.join().unwrap();
        assert_eq!(socket.hold.phase(), Phase::Open);
    });
}
