//! The watchdog: a thread that looks at the board and finds who does not come back to the executor.
//!
//! It takes no clock in anybody's hot path: a thread whose turn is the same at two looks has been in it at least that
//! long. While any thread is overdue it nudges the runtimes, so that one blocked thread does not freeze the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::activity::Activity;
use crate::board::{Board, Entry, Look, Slot};
use crate::compartment::Compartment;
use crate::fault::{Attribution, Fault, Frames, Report};
use crate::guard::quietly;
use crate::hook;
use crate::inner::{Command, Inner};
use crate::lanes::lanes;
use crate::registry::Registry;
use crate::runtimes;
use crate::stacks::{self, Stack};

/// Time between two looks: a blocked thread freezes others for about two of them.
const LOOK: Duration = Duration::from_millis(10);
/// A look that comes later than this says nothing about the others: the whole process was held, by a suspended
/// machine or a debugger.
const LATE: Duration = Duration::from_millis(500);
/// From when on a thread is overdue: it may hold the runtime's driver, or a lane.
const OVERDUE: Duration = Duration::from_millis(10);

/// How much of a look may pass before no more stacks are taken.
const STACKS: Duration = Duration::from_millis(10);

/// Starts the watchdog. It ends with the process.
pub(crate) fn start(inner: Arc<Inner>) -> std::io::Result<()> {
    std::thread::Builder::new().name("watertight-watchdog".into()).spawn(move || {
        hook::mark_recovery_thread();
        Watchdog { inner, turns: Vec::new() }.run();
    })?;
    Ok(())
}

struct Watchdog {
    inner: Arc<Inner>,
    /// By the slot's index.
    turns: Vec<Turn>,
}

/// What is known of the turn that a thread is in.
#[derive(Default)]
struct Turn {
    number: u64,
    since: Option<Instant>,
    /// The scope that it is in now, which may be a nested one, and since when.
    step: Option<((u64, u64), Instant)>,
    told: Option<Told>,
}

/// A turn that has been reported.
struct Told {
    stall: Stall,
    stack: Option<Arc<Stack>>,
    entry: Entry,
    as_fault: bool,
}

/// A piece of work that does not return to the executor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stall {
    /// The compartment that it works for; `None` when that has gone meanwhile.
    pub compartment: Option<Arc<Compartment>>,
    /// What it works on, where known.
    pub activity: Option<Activity>,
    /// The name of the thread that it holds.
    pub thread: String,
    /// Whether that is one of the lanes'.
    pub lane: bool,
    /// For how long, to within two looks of the watchdog (20 ms).
    pub held: Duration,
    /// Where that thread was when it was found to stall, if that could be [taken](crate::Builder::stacks). Not yet there
    /// while its frames are being named.
    pub stack: Option<Arc<str>>,
}

impl Watchdog {
    fn run(mut self) {
        let mut before = Instant::now();
        loop {
            std::thread::sleep(LOOK);
            let now = Instant::now();
            if now - before > LATE {
                self.slept(now - before);
            }
            before = now;
            Board::global().tick(now);
            // A panic in here must not end the watch.
            let overdue = quietly(|| self.look(now)).unwrap_or(true);
            runtimes::nudge(overdue);
        }
    }

    /// The whole process was held for so long, which is nobody's doing.
    fn slept(&mut self, time: Duration) {
        for turn in &mut self.turns {
            turn.since = turn.since.map(|since| since + time);
        }
    }

    /// Looks at every thread; answers whether one is overdue.
    fn look(&mut self, now: Instant) -> bool {
        let slots = Board::global().slots();
        self.turns.resize_with(slots.len(), Turn::default);
        let (mut overdue, mut lanes_held) = (0, 0);
        for (&slot, turn) in slots.iter().zip(&mut self.turns) {
            match slot.read().filter(|_| slot.is_watched()) {
                Some(look) if turn.since.is_some() && look.turn == turn.number => {
                    let held = turn.since.map_or(Duration::ZERO, |since| now - since);
                    if held >= OVERDUE {
                        overdue += 1;
                        lanes_held += usize::from(slot.is_lane());
                    }
                    turn.goes_on(&self.inner, slot, look, now, held);
                }
                look => {
                    turn.ended(&self.inner, now);
                    turn.since = look.map(|_| now);
                    turn.number = look.map_or(0, |look| look.turn);
                    turn.step = look.map(|look| (look.step, now));
                }
            }
        }
        if let Some(lanes) = lanes() {
            lanes.balance(lanes_held, now);
        }
        self.show_stalls();
        overdue > 0
    }

    /// Lets others see what is stalling.
    fn show_stalls(&self) {
        let stalling = self.turns.iter().filter_map(|turn| {
            let (told, since) = (turn.told.as_ref()?, turn.since?);
            let stack = told.stack.as_ref().and_then(|stack| stack.known());
            Some(Stall { held: since.elapsed(), stack, ..told.stall.clone() })
        });
        let stalling: Vec<_> = stalling.collect();
        let mut shown = self.inner.stalls.lock();
        if !(shown.is_empty() && stalling.is_empty()) {
            *shown = stalling;
        }
    }
}

impl Turn {
    /// The thread is still in it.
    fn goes_on(&mut self, inner: &Inner, slot: Slot, look: Look, now: Instant, held: Duration) {
        let settings = &inner.settings;
        let entry = self.holder(look, now, held);
        if self.told.is_none() && held >= settings.stall_warn.min(settings.stall_limit) {
            let (stall, stack) = (Stall::of(slot, entry, held), stack_of(slot, look, now));
            let _ = inner.commands.send(Command::Stalling(stall.clone(), stack.clone()));
            self.told = Some(Told { stall, stack, entry, as_fault: false });
        }
        if let Some(told) = &mut self.told
            && !told.as_fault
            && held >= settings.stall_limit
        {
            told.as_fault = true;
            let (stall, stack) = if told.entry == entry {
                (Stall { held, ..told.stall.clone() }, told.stack.clone())
            } else {
                (Stall::of(slot, entry, held), stack_of(slot, look, now))
            };
            inner.submit(Box::new(stall.report(stack)));
        }
    }

    /// Who holds the thread: the innermost scope when it has been in it for at least half of the time, else the
    /// outermost. Of many that each take a little, none is blamed for what the one around them does.
    fn holder(&mut self, look: Look, now: Instant, held: Duration) -> Entry {
        let since = match self.step {
            Some((step, since)) if step == look.step => since,
            _ => now,
        };
        self.step = Some((look.step, since));
        if (now - since) * 2 >= held { look.current } else { look.outermost }
    }

    /// The thread has come back.
    fn ended(&mut self, inner: &Inner, now: Instant) {
        if let (Some(told), Some(since)) = (self.told.take(), self.since) {
            let ended = Stall { held: now - since, ..told.stall };
            let _ = inner.commands.send(Command::StallEnded(ended));
        }
    }
}

/// The stack of the slot's thread, if it is still in the scope that it was seen in: else it is the stack of something else.
fn stack_of(slot: Slot, look: Look, now: Instant) -> Option<Arc<Stack>> {
    // Many may stall at once, and stacks that do not come cost time which the nudge needs.
    if now.elapsed() > STACKS {
        return None;
    }
    let stack = stacks::capture(slot.enrolled())?;
    (slot.read() == Some(look)).then_some(stack)
}

impl Stall {
    fn of(slot: Slot, entry: Entry, held: Duration) -> Self {
        Self {
            compartment: Registry::global().by_key(entry.compartment),
            activity: Activity::by_number(entry.activity),
            thread: slot.thread(),
            lane: slot.is_lane(),
            held,
            stack: None,
        }
    }

    /// The id of its compartment; empty when that has gone.
    #[must_use]
    pub fn socket(&self) -> String {
        self.compartment.as_ref().map(|compartment| compartment.id()).unwrap_or_default()
    }

    /// Its activity in words; empty when not known.
    #[must_use]
    pub fn working_on(&self) -> String {
        self.activity.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn report(self, stack: Option<Arc<Stack>>) -> Report {
        let Self { compartment, activity, thread, lane: _, held, stack: _ } = self;
        let message = format!("has held the thread {thread} for {} ms, and still does", held.as_millis());
        // Whoever left the registry has nothing left to be sealed.
        let attribution = if compartment.is_some() { Attribution::Exact } else { Attribution::Unattributed };
        let mut report = Report::new(Fault::Stall, attribution, compartment, activity, message);
        report.origin.thread = Some(thread);
        report.origin.frames = stack.map(Frames::Stall);
        report
    }
}
