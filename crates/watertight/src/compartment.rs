//! Compartments: the unit of isolation, one per client connection.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::board::Person;
use crate::conduct::{Conduct, Limited, Misbehaviour, Rates, Standing};
use crate::fault::{Attribution, Report};
use crate::guard::quietly;
use crate::identity::Identity;
use crate::rare::{FORGOTTEN, RARE};
use crate::registry::TOGETHER;
use crate::runtimes::{self, Lull};
use crate::scope::Scope;
use crate::seal::Seal;
use crate::state::{State, StateCell};
use crate::transport::ServerId;

/// One client connection (an Engine.IO session or a plain WebSocket) as the unit of isolation.
///
/// It knows who it is, what it has done wrong and which parts must be closed to seal it. It holds
/// its parts weakly: their owners (the transport, the Socket.IO socket) decide how long they live.
///
/// What every message and every look at all compartments asks for comes first, near to each other: with many clients none of
/// it is in the processor's cache.
#[repr(C)]
pub struct Compartment {
    state: StateCell,
    forgotten: AtomicBool,
    had_transport: AtomicBool,
    /// Whether its client has missed a heartbeat, which ends its session.
    missed_heartbeat: AtomicBool,
    /// Whether a fault of it was lost because the queue was full.
    lost_fault: AtomicBool,
    key: u64,
    session: OnceLock<Box<str>>,
    parts: Mutex<SmallVec<[Part; 2]>>,
    who: Mutex<Who>,
    server: Option<ServerId>,
    conduct: Conduct,
    rates: Option<Box<Rates>>,
    opened: Instant,
    faults: AtomicU32,
    failed_events: AtomicU32,
    /// The server's runtime, on which the parts' own code has to run when they are sealed.
    runtime: Option<tokio::runtime::Handle>,
    /// The task that seals it and waits for its parts.
    sealer: AtomicWaker,
    /// Where the board says who it is, when that outlives the process.
    person: Option<Person>,
}

struct Part {
    seal: Weak<dyn Seal>,
    /// As the part said when it was attached, so that it need not be looked at to know.
    carries: bool,
}

/// The parts of one compartment that carry its client's messages: its only connection, or its session that polls, or both when
/// it has begun as the latter.
type Carriers = SmallVec<[Arc<dyn Seal>; 2]>;

/// What is known of its client.
#[derive(Default)]
struct Who {
    peer: Option<SocketAddr>,
    /// Its address as trusted proxies tell it.
    client: Option<IpAddr>,
    identity: Option<Identity>,
    /// Its address says nothing of it: a proxy's that nobody trusts.
    anonymous: bool,
}

impl Who {
    fn address(&self) -> Option<IpAddr> {
        self.client.or(self.peer.map(|peer| peer.ip()))
    }

    fn identity(&self) -> Option<Identity> {
        match &self.identity {
            Some(named) => Some(named.clone()),
            None if self.anonymous => None,
            None => self.address().map(Identity::of_address),
        }
    }
}

/// What a compartment has lost while its client is still in some namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orphaned {
    /// Its connection.
    Connection,
    /// The engine's own session.
    Session,
}

impl Compartment {
    /// A live compartment, not yet known to any registry: see
    /// [`Registry::open`](crate::Registry::open). Remembers the tokio runtime it is created on.
    pub(crate) fn new(peer: Option<SocketAddr>, server: Option<ServerId>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let runtime = tokio::runtime::Handle::try_current().ok();
        if let Some(runtime) = &runtime {
            runtimes::watch(runtime);
        }
        let (conduct, rates) =
            crate::installed().map_or_else(Default::default, |watertight| watertight.manners());
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        let compartment = Self {
            key,
            session: OnceLock::new(),
            who: Mutex::new(Who { peer, ..Who::default() }),
            server,
            conduct: Conduct::new(conduct),
            rates,
            opened: Instant::now(),
            state: StateCell::new(),
            forgotten: AtomicBool::new(false),
            faults: AtomicU32::new(0),
            failed_events: AtomicU32::new(0),
            runtime,
            parts: Mutex::new(SmallVec::new()),
            had_transport: AtomicBool::new(false),
            missed_heartbeat: AtomicBool::new(false),
            lost_fault: AtomicBool::new(false),
            sealer: AtomicWaker::new(),
            person: Person::new(key),
        };
        compartment.show(&compartment.who.lock());
        Arc::new(compartment)
    }

    /// Says on the board who it is.
    fn show(&self, who: &Who) {
        if let Some(person) = &self.person {
            let address = who.address().filter(|_| !who.anonymous).map(Identity::of_address);
            person.show(self.session(), who.identity().as_ref(), address.as_ref());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Who)) {
        let mut who = self.who.lock();
        change(&mut who);
        self.show(&who);
    }

    /// A number that no other compartment of this process ever has.
    #[must_use]
    #[inline]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The name that clients and operators know it by: the session id, else `connection-N`.
    #[must_use]
    pub fn id(&self) -> String {
        self.session.get().map_or_else(|| format!("connection-{}", self.key), ToString::to_string)
    }

    /// The Engine.IO session id, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.get().map(AsRef::as_ref)
    }

    /// Sets the session id; the first one stays. Answers whether it is the one that is set now.
    pub(crate) fn set_session(&self, session: &str) -> bool {
        let is_set = &**self.session.get_or_init(|| session.into()) == session;
        self.change(|_| ());
        is_set
    }

    /// The address at the other end of its TCP connection, where known: of the one that it has alone, else of
    /// the one that its first request came over.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.who.lock().peer
    }

    pub(crate) fn set_peer(&self, peer: SocketAddr) {
        self.change(|who| who.peer = Some(peer));
    }

    /// Sets the client's own address, as trusted proxies in front of the server tell it.
    pub fn set_client(&self, client: IpAddr) {
        self.change(|who| who.client = Some(client));
    }

    /// Notes that its address says nothing of its client. It has no identity then, unless it is [named](Self::identify).
    pub fn set_anonymous(&self) {
        self.change(|who| who.anonymous = true);
    }

    /// The client's address: as trusted proxies tell it, else the [peer's](Self::peer).
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.who.lock().address()
    }

    /// The server that accepted it, where known.
    #[must_use]
    pub fn server(&self) -> Option<ServerId> {
        self.server
    }

    /// Who it is: what the application said with [`identify`](Self::identify), else its address as
    /// [`Identity::of_address`] has it.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.who.lock().identity()
    }

    /// Says who it is, in the application's own words (`user:42`). What its earlier connections under that name have come
    /// to by their conduct goes on here.
    pub fn identify(&self, name: impl Into<String>) {
        let identity = Identity::named(name);
        if let Some(watertight) = crate::installed() {
            watertight.inner.memory.recall(&identity, &self.conduct, Instant::now());
        }
        self.change(|who| who.identity = Some(identity));
    }

    /// Whether rates are set, so that each message has to be [admitted](Self::admit).
    #[must_use]
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.rates.is_some()
    }

    /// Whether its client may send one more message, of so many bytes. Costs nothing unless rates are set.
    ///
    /// # Errors
    ///
    /// What there is too much of.
    #[inline]
    pub fn admit(&self, bytes: usize) -> Result<(), Limited> {
        match &self.rates {
            None => Ok(()),
            Some(rates) => rates.check(bytes, Instant::now()),
        }
    }

    /// Counts a misbehaviour of its client against it. When that makes its score reach a threshold, the recovery is told.
    pub fn misbehaves(self: &Arc<Self>, kind: Misbehaviour) {
        let standing = self.conduct.strike(kind, Instant::now());
        if standing != Standing::Fine {
            // Also for those of its client that begin before this one ends.
            self.leave_conduct();
            self.report_conduct(kind, standing);
        }
    }

    /// Its session has ended because its client missed a heartbeat. Counts once, however many namespaces say so, and
    /// never if it was sealed. No verdict comes of it here, since nothing is left to disconnect: it counts in the next
    /// connection of the same [named](Self::identify) client.
    pub fn misses_heartbeat(&self) {
        if self.is_live() && !self.missed_heartbeat.swap(true, Ordering::Relaxed) {
            self.conduct.note(Misbehaviour::Heartbeat, Instant::now());
            self.leave_conduct();
        }
    }

    /// Its client can be told something now: whoever has come with a bad score is warned of it, once.
    pub fn can_be_warned(self: &Arc<Self>) {
        if self.conduct.warns(Instant::now())
            && let Some(kind) = self.conduct.main_reason()
        {
            self.report_conduct(kind, Standing::Warn);
        }
    }

    fn report_conduct(self: &Arc<Self>, kind: Misbehaviour, standing: Standing) {
        let scope = Scope::current().filter(|scope| Arc::ptr_eq(scope.compartment(), self));
        let activity = scope.map(|scope| scope.activity().clone());
        let message = format!("its client misbehaves: {}", self.conduct.reasons());
        let mut report =
            Report::new(kind.into(), Attribution::Exact, Some(Arc::clone(self)), activity, message);
        report.standing = standing;
        crate::submit(Box::new(report));
    }

    /// Leaves its score to the next connection of the same client, if that has a name.
    pub(crate) fn leave_conduct(&self) {
        if self.conduct.is_blameless() {
            return;
        }
        let identity = self.who.lock().identity.clone();
        if let (Some(identity), Some(watertight)) = (identity, crate::installed()) {
            watertight.inner.memory.keep(&identity, &self.conduct, Instant::now());
        }
    }

    /// Its score.
    #[must_use]
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    /// When it was opened.
    #[must_use]
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Whether it may start new work.
    #[must_use]
    #[inline]
    pub fn is_live(&self) -> bool {
        RARE.sealed_compartments.is_none() || self.state.get() == State::Live
    }

    /// Whether the registry knew it and does so no more.
    #[must_use]
    #[inline]
    pub fn is_forgotten(&self) -> bool {
        !FORGOTTEN.is_none() && self.forgotten.load(Ordering::Relaxed)
    }

    /// For the registry, which is locked meanwhile.
    pub(crate) fn set_forgotten(&self, forgotten: bool) {
        if forgotten == self.forgotten.load(Ordering::Relaxed) {
            return;
        }
        if forgotten {
            FORGOTTEN.add_one();
        }
        self.forgotten.store(forgotten, Ordering::Relaxed);
        if !forgotten {
            FORGOTTEN.take_one();
        }
    }

    /// Takes the right to seal it. Only one caller ever gets `true`.
    pub(crate) fn begin_seal(&self) -> bool {
        // Before it is: nobody is to take it for live who knows that it is not.
        RARE.sealed_compartments.add_one();
        let is_ours = self.state.advance(State::Live, State::Sealing);
        if !is_ours {
            RARE.sealed_compartments.take_one();
        }
        is_ours
    }

    pub(crate) fn end_seal(&self) {
        self.state.advance(State::Sealing, State::Sealed);
    }

    /// How many faults it has caused.
    #[must_use]
    pub fn faults(&self) -> u32 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) fn count_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// How many of its events were failed by [`Verdict::FailEvent`](crate::Verdict::FailEvent).
    #[must_use]
    pub fn failed_events(&self) -> u32 {
        self.failed_events.load(Ordering::Relaxed)
    }

    pub(crate) fn count_failed_event(&self) {
        self.failed_events.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a part that must be closed when the compartment is sealed.
    pub fn attach<S: Seal>(&self, part: &Arc<S>) {
        let part: Arc<dyn Seal> = Arc::<S>::clone(part);
        self.attach_part(&part);
    }

    pub(crate) fn attach_part(&self, part: &Arc<dyn Seal>) {
        if part.is_transport() {
            self.had_transport.store(true, Ordering::Relaxed);
        }
        let part = Part { seal: Arc::downgrade(part), carries: part.is_transport() || part.carries() };
        let mut parts = self.parts.lock();
        parts.retain(|part| part.seal.strong_count() > 0);
        parts.push(part);
    }

    /// The parts that are still there.
    #[must_use]
    pub fn parts(&self) -> SmallVec<[Arc<dyn Seal>; 2]> {
        self.parts.lock().iter().filter_map(|part| part.seal.upgrade()).collect()
    }

    /// Calls `look` for each of `compartments` that is live, with the parts that [carry](Seal::carries) its client's messages.
    /// For the recovery's looks at many, who are looked at only now and then. None may be there twice: it would be waited for
    /// for ever.
    pub(crate) fn each_live(
        compartments: Vec<Arc<Self>>,
        mut look: impl FnMut(&Arc<Self>, &[Arc<dyn Seal>]),
    ) {
        let mut compartments = compartments.into_iter();
        while !compartments.as_slice().is_empty() {
            let mut some: SmallVec<[Arc<Self>; TOGETHER]> = compartments.by_ref().take(TOGETHER).collect();
            some.retain(|compartment| compartment.is_live());
            for (compartment, carriers) in some.iter().zip(Self::carriers(&some)) {
                look(compartment, &carriers);
            }
        }
    }

    /// Of each of `some`, none of which is there twice. Only the recovery's thread locks the parts of more than one.
    fn carriers(some: &[Arc<Self>]) -> Vec<Carriers> {
        fn carrying(parts: &[Part]) -> impl Iterator<Item = &Weak<dyn Seal>> {
            parts.iter().filter(|part| part.carries).map(|part| &part.seal)
        }
        // What looks at a compartment and its carriers, and then lets go of it, will look at all of this.
        let seen = |compartment: &Arc<Self>| {
            compartment.parts.is_locked()
                | compartment.session().is_some()
                | compartment.had_transport.load(Ordering::Relaxed)
                | (Arc::strong_count(compartment) > 1)
        };
        black_box(some.iter().filter(|compartment| seen(compartment)).count());
        let locked: SmallVec<[_; TOGETHER]> =
            some.iter().map(|compartment| compartment.parts.lock()).collect();
        black_box(locked.iter().flat_map(|parts| carrying(parts)).map(Weak::strong_count).sum::<usize>());
        locked.iter().map(|parts| carrying(parts).filter_map(Weak::upgrade).collect()).collect()
    }

    /// The latest part of type `S` that `wanted` accepts.
    pub fn find_part<S: Seal>(&self, wanted: impl Fn(&S) -> bool) -> Option<Arc<S>> {
        // Latest first: a client that left a namespace and came back has an old and a new part there. Parts only ever move
        // to the front meanwhile, so that none is passed over.
        let mut place = usize::MAX;
        loop {
            let part;
            (place, part) = self.part_before(place)?;
            let part: Arc<dyn std::any::Any + Send + Sync> = part;
            if let Some(part) = part.downcast::<S>().ok().filter(|part| wanted(part)) {
                return Some(part);
            }
        }
    }

    /// The last part before this place that is still there, and its own place. Only one, since whoever drops a part may be
    /// the last to do so, which runs code of the part's that must not find the list locked.
    fn part_before(&self, place: usize) -> Option<(usize, Arc<dyn Seal>)> {
        let parts = self.parts.lock();
        let before = &parts[..place.min(parts.len())];
        before.iter().enumerate().rev().find_map(|(place, part)| Some((place, part.seal.upgrade()?)))
    }

    /// How many parts are not gone. One that panics when asked counts as gone.
    pub(crate) fn left(&self) -> usize {
        self.parts().iter().filter(|part| !quietly(|| part.is_gone()).unwrap_or(true)).count()
    }

    /// Whether every part is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Waits for a lull of its server's runtime; `None` when there is none.
    pub(crate) fn lull(&self) -> Option<Lull> {
        self.runtime.as_ref().map(Lull::since_now)
    }

    /// Whether its client still uses some part of it.
    pub(crate) fn serves(&self) -> bool {
        self.parts().iter().any(|part| quietly(|| part.serves()).unwrap_or(false))
    }

    /// Who does not know it any more although its client is still in some namespace. `carriers` are its own.
    pub(crate) fn orphaned(&self, carriers: &[Arc<dyn Seal>]) -> Option<Orphaned> {
        let any = |asked: &dyn Fn(&dyn Seal) -> bool| {
            carriers.iter().any(|part| quietly(|| asked(&**part)).unwrap_or(false))
        };
        let orphaned = if self.had_transport.load(Ordering::Relaxed) {
            (!any(&|part| part.is_transport() && !part.is_gone())).then_some(Orphaned::Connection)
        } else {
            self.on_runtime(|| any(&Seal::is_lost)).then_some(Orphaned::Session)
        };
        // Asked last: hardly anybody has lost anything.
        orphaned.filter(|_| self.serves())
    }

    /// Notes that a fault of it was lost; `true` for the first.
    pub(crate) fn lose_fault(&self) -> bool {
        !self.lost_fault.swap(true, Ordering::Relaxed)
    }

    /// Says that a part has delivered a notice or is gone, to whoever seals the compartment.
    pub fn progress(&self) {
        self.sealer.wake();
    }

    /// Waits until `done`, which is asked again after each [`progress`](Self::progress). For the one task
    /// that seals.
    pub(crate) async fn progressed(&self, mut done: impl FnMut() -> bool) {
        std::future::poll_fn(|cx| {
            self.sealer.register(cx.waker());
            if done() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Runs `work` inside the context of the server's runtime, so that tasks it spawns run there and
    /// not on the thread that seals.
    pub(crate) fn on_runtime<R>(&self, work: impl FnOnce() -> R) -> R {
        let _context = self.runtime.as_ref().map(tokio::runtime::Handle::enter);
        work()
    }
}

impl Drop for Compartment {
    fn drop(&mut self) {
        if self.state.get() != State::Live {
            RARE.sealed_compartments.take_one();
        }
        if *self.forgotten.get_mut() {
            FORGOTTEN.take_one();
        }
    }
}

impl fmt::Debug for Compartment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compartment")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .field("state", &self.state.get())
            .field("faults", &self.faults())
            .finish_non_exhaustive()
    }
}
