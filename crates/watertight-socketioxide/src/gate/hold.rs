//! Which events wait, which may pass, and the order in which those that waited are delivered.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;

use crate::sync::{AtomicU8, Mutex, Ordering};

/// How many early events are held for one socket: twice what a client's send buffer usually holds.
const MAX_EARLY: usize = 256;
/// How many bytes of them.
const MAX_EARLY_BYTES: usize = 1024 * 1024;

/// What happens to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// The connect handler has not come to its first pause: every event waits.
    Holding,
    /// It is running: events whose handler is not registered yet wait.
    Late,
    /// It is done: every event goes to its handler, the fallback, or nowhere.
    Open,
}

/// What becomes of an event.
pub(super) enum Outcome<H, E> {
    /// There is a handler for it now.
    Known(H, E),
    /// It waits for one.
    Held,
    /// Nobody will ever want it.
    Unknown,
}

/// What can wait.
pub(super) trait Size {
    /// How many bytes it keeps.
    fn size(&self) -> usize;
}

/// The handlers `H` of one socket, and its events `E` that wait for them.
pub(super) struct Hold<H, E> {
    phase: AtomicU8,
    state: Mutex<State<H, E>>,
}

struct State<H, E> {
    /// Present until the phase is `Open`.
    waiting: Option<Box<Waiting<H, E>>>,
    /// What is registered. socketioxide looks a handler up before it calls, so that an event may come here although
    /// its handler has been registered meanwhile.
    handlers: Vec<(Cow<'static, str>, H)>,
    fallback: Option<H>,
}

struct Waiting<H, E> {
    early: VecDeque<Early<H, E>>,
    bytes: usize,
    /// Whether somebody is delivering, and to which phase that leads.
    delivering: bool,
    /// Whether somebody else wanted to meanwhile.
    again: bool,
    next: Phase,
}

/// An event that waits.
struct Early<H, E> {
    /// `None` while nobody is registered for it.
    handler: Option<H>,
    event: E,
}

impl<H: Clone, E: Size> Hold<H, E> {
    pub(super) fn new(phase: Phase) -> Self {
        let waiting =
            Waiting { early: VecDeque::new(), bytes: 0, delivering: false, again: false, next: phase };
        Self {
            phase: AtomicU8::new(phase as u8),
            state: Mutex::new(State {
                waiting: (phase != Phase::Open).then(|| Box::new(waiting)),
                handlers: Vec::new(),
                fallback: None,
            }),
        }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Holding,
            1 => Phase::Late,
            _ => Phase::Open,
        }
    }

    /// Registers a handler. `true`: what has waited for it is to be [delivered](Self::deliver) by the caller, once
    /// socketioxide knows the handler too. Newcomers wait until then.
    #[must_use]
    pub(super) fn register(&self, event: Cow<'static, str>, handler: H) -> bool {
        let mut state = self.state.lock();
        match state.handlers.iter_mut().find(|(registered, _)| *registered == event) {
            Some((_, registered)) => *registered = handler,
            None => state.handlers.push((event, handler)),
        }
        self.wanted(&mut state)
    }

    /// Registers the handler of all other events. As [`register`](Self::register).
    #[must_use]
    pub(super) fn register_fallback(&self, handler: H) -> bool {
        let mut state = self.state.lock();
        state.fallback = Some(handler);
        self.wanted(&mut state)
    }

    /// Under the lock under which something was registered: whether events may wait for just that.
    fn wanted(&self, state: &mut State<H, E>) -> bool {
        match &mut state.waiting {
            Some(waiting) if waiting.delivering || self.phase() == Phase::Late => waiting.begin(),
            _ => false,
        }
    }

    /// Whether an event for `handler` may go to it now; else it is held.
    #[inline]
    pub(super) fn pass(&self, event: E, handler: &H) -> Option<E> {
        if self.phase() == Phase::Open { Some(event) } else { self.pass_early(event, handler) }
    }

    #[cold]
    fn pass_early(&self, event: E, handler: &H) -> Option<E> {
        let mut state = self.state.lock();
        match &mut state.waiting {
            Some(waiting) if self.phase() == Phase::Holding || waiting.delivering => {
                waiting.push(Early { handler: Some(handler.clone()), event });
                None
            }
            _ => Some(event),
        }
    }

    /// An event that nobody was registered for when socketioxide looked: who is to have it now. `name` reads its
    /// name.
    pub(super) fn unknown(&self, mut event: E, name: impl FnOnce(&mut E) -> Option<String>) -> Outcome<H, E> {
        let mut state = self.state.lock();
        let State { waiting, handlers, fallback } = &mut *state;
        let holds = match waiting {
            None => false,
            Some(waiting) => waiting.delivering || self.phase() == Phase::Holding,
        };
        if !holds && let Some(handler) = find(handlers, fallback.as_ref(), &mut event, name) {
            return Outcome::Known(handler, event);
        }
        match waiting {
            Some(waiting) => {
                waiting.push(Early { handler: None, event });
                Outcome::Held
            }
            None => Outcome::Unknown,
        }
    }

    /// Goes on to `phase` as soon as what can be delivered is. `true`: that is to be done by the caller.
    #[must_use]
    pub(super) fn advance(&self, phase: Phase) -> bool {
        let mut state = self.state.lock();
        let Some(waiting) = &mut state.waiting else { return false };
        waiting.next = waiting.next.max(phase);
        waiting.begin()
    }

    /// Delivers the events that wait and can be delivered, in the order they came. For whom was told to.
    pub(super) fn deliver(&self, name: impl Fn(&mut E) -> Option<String>, dispatch: impl Fn(H, E)) {
        let mut passed_over = 0;
        loop {
            let taken = {
                let mut state = self.state.lock();
                let State { waiting: hold, handlers, fallback } = &mut *state;
                let Some(waiting) = hold else { return };
                // There is a handler for what has been passed over, perhaps.
                if mem::take(&mut waiting.again) {
                    passed_over = 0;
                }
                match waiting.take(passed_over, handlers, fallback.as_ref(), &name) {
                    Taken::Event(handler, event) => Some((handler, event)),
                    Taken::Stays => None,
                    Taken::Nothing => {
                        // Under the lock that newcomers wait for: none of them can overtake.
                        waiting.delivering = false;
                        self.phase.store(waiting.next as u8, Ordering::Release);
                        if waiting.next == Phase::Open {
                            *hold = None;
                            // It rarely grows any more, and sockets are many.
                            handlers.shrink_to_fit();
                        }
                        return;
                    }
                }
            };
            match taken {
                // Called without the lock: extractors are the application's code.
                Some((handler, event)) => dispatch(handler, event),
                None => passed_over += 1,
            }
        }
    }

    /// Calls `open` with every handler, once every event goes to its own.
    pub(super) fn opened(&self, open: impl Fn(&H)) {
        let state = self.state.lock();
        if self.phase() == Phase::Open {
            state.handlers.iter().for_each(|(_, handler)| open(handler));
        }
    }

    /// The socket has been disconnected: nothing waits any more.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        state.waiting = None;
        // Under the lock, or who is delivering would set it back.
        self.phase.store(Phase::Open as u8, Ordering::Release);
    }

    /// The socket is gone: forgets everything.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.waiting = None;
        state.fallback = None;
        state.handlers = Vec::new();
    }
}

enum Taken<H, E> {
    Event(H, E),
    Stays,
    Nothing,
}

impl<H: Clone, E: Size> Waiting<H, E> {
    /// Begins to deliver. `false` when somebody does already, who then looks again: one at a time, or the order is
    /// lost.
    fn begin(&mut self) -> bool {
        let begins = !mem::replace(&mut self.delivering, true);
        self.again |= !begins;
        begins
    }

    fn push(&mut self, early: Early<H, E>) {
        let size = early.event.size();
        if self.early.len() >= MAX_EARLY || self.bytes + size > MAX_EARLY_BYTES {
            trace::warn!(target: "watertight", "too many early events: one is dropped");
            return;
        }
        self.bytes += size;
        self.early.push_back(early);
    }

    /// Takes the event at `index` when there is a handler for it.
    fn take(
        &mut self,
        index: usize,
        handlers: &[(Cow<'static, str>, H)],
        fallback: Option<&H>,
        name: impl FnOnce(&mut E) -> Option<String>,
    ) -> Taken<H, E> {
        let Some(early) = self.early.get_mut(index) else {
            return Taken::Nothing;
        };
        let handler = early.handler.take().or_else(|| find(handlers, fallback, &mut early.event, name));
        match handler {
            None => Taken::Stays,
            Some(handler) => match self.early.remove(index) {
                None => Taken::Nothing,
                Some(Early { event, .. }) => {
                    self.bytes -= event.size();
                    Taken::Event(handler, event)
                }
            },
        }
    }
}

/// The handler of an event, or else the fallback.
fn find<H: Clone, E>(
    handlers: &[(Cow<'static, str>, H)],
    fallback: Option<&H>,
    event: &mut E,
    name: impl FnOnce(&mut E) -> Option<String>,
) -> Option<H> {
    name(event)
        .and_then(|name| handlers.iter().find(|(registered, _)| *registered == name))
        .map(|(_, handler)| handler)
        .or(fallback)
        .cloned()
}
