//! The recovery: a thread of its own with its own runtime, so that it works while the server's is wedged.

mod deaf;
mod death;
mod discipline;
mod orphans;
mod rounds;
mod seal;
mod slow;
mod storm;
mod suspects;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::{EnterGuard, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use self::rounds::Rounds;
use self::seal::{Sealing, Telling};
use self::storm::Storms;
use crate::aftermath::Aftermath;
use crate::board::Board;
use crate::compartment::Compartment;
use crate::conduct::{Misbehaviour, Standing};
use crate::fault::{Attribution, Component, Frames, Origin, Report};
use crate::guard::quietly;
use crate::hook;
use crate::incident::{Incident, IncidentId, Offender};
use crate::inner::{Command, Inner, told_of};
use crate::policy::{Case, Policy, StandardPolicy, Verdict};
use crate::runtimes::Probes;
use crate::seal::{Notice, SealMode};
use crate::sink::{Event, Sink};

/// How often the runtimes are asked whether they answer: the parent's limit is in seconds.
const PROBE: Duration = Duration::from_millis(250);

static RUNTIME: OnceLock<Handle> = OnceLock::new();

/// Makes the recovery's runtime the current one, for timers: it lives as long as the process and is held by nobody's
/// handler. `None` when there is no recovery.
pub(crate) fn enter_runtime() -> Option<EnterGuard<'static>> {
    RUNTIME.get().map(Handle::enter)
}

/// Starts the recovery thread. It ends with the process.
pub(crate) fn start(
    inner: Arc<Inner>,
    commands: mpsc::UnboundedReceiver<Command>,
    aftermath: Vec<Aftermath>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    RUNTIME.get_or_init(|| runtime.handle().clone());
    std::thread::Builder::new().name("watertight-recovery".into()).spawn(move || {
        hook::mark_recovery_thread();
        let mut recovery = Recovery::new(inner);
        quietly(|| recovery.tell_deaths(aftermath));
        runtime.block_on(recovery.run(commands));
    })?;
    Ok(())
}

struct Recovery {
    inner: Arc<Inner>,
    storms: Storms,
    mode: Option<RecoveryMode>,
    lost_told: u64,
    rounds: Rounds,
}

/// What a seal is told to the sinks as.
struct SealOf {
    id: IncidentId,
    offender: Offender,
    code: &'static str,
    since: Instant,
    storm: bool,
}

/// Recovery mode, while it lasts.
struct RecoveryMode {
    incidents: u64,
    last: Instant,
}

impl Recovery {
    fn new(inner: Arc<Inner>) -> Self {
        let storms = Storms::new(inner.settings.storm_limit);
        Self { inner, storms, mode: None, lost_told: 0, rounds: Rounds::default() }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let inner = Arc::clone(&self.inner);
        let (stalls, told) = mpsc::unbounded_channel();
        tokio::spawn(tell_stalls(Arc::clone(&inner), told));
        let mut sweep = tokio::time::interval(inner.settings.sweep_interval);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listen = tokio::time::interval(rounds::LOOK);
        listen.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut probe, mut probes) = (tokio::time::interval(PROBE), Probes::default());
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Each step calls code of others guarded. Should this file itself panic, that costs one step: without
                // this thread, nothing is ever sealed again.
                report = inner.mailbox.receive() => {
                    quietly(|| self.handle(*report));
                }
                command = commands.recv() => match command {
                    Some(Command::Seal { compartment, notice, mode, done }) => {
                        quietly(|| self.seal_as_asked(compartment, notice, mode, done));
                    }
                    Some(stall @ (Command::Stalling(..) | Command::StallEnded(_))) => {
                        // Its receiver lives as long as this.
                        let _ = stalls.send(stall);
                    }
                    None => return,
                },
                _ = listen.tick() => {
                    // Looking reads, and a reader that has read its share would see nothing more.
                    tokio::task::unconstrained(async { quietly(|| self.listen()) }).await;
                }
                _ = probe.tick(), if Board::global().is_recorded() => {
                    if quietly(|| probes.are_answered()).unwrap_or(false) {
                        Board::global().answered();
                    }
                }
                _ = sweep.tick() => {
                    quietly(|| self.sweep());
                }
            }
        }
    }

    /// One fault, from the report to the verdict's execution.
    fn handle(&mut self, report: Report) {
        let Report { fault, attribution, compartment, activity, outcome, origin, responder, standing } =
            report;
        let Origin { message, location, thread, frames, at, time } = origin;
        let component = location.as_ref().map_or(Component::Unknown, Component::of);
        let storm = self.storms.count(location.as_ref(), &component, Instant::now());
        let case = Case {
            fault,
            attribution,
            outcome,
            compartment: compartment.as_deref(),
            activity: activity.as_ref(),
            component: &component,
            location: location.as_ref(),
            message: &message,
            standing,
        };
        let mut verdict = self.judge(&case);
        match (&compartment, attribution) {
            (None, _) => verdict = Verdict::Ignore,
            // The task is dead: there is no socket left to keep.
            (Some(_), Attribution::Transport) if verdict == Verdict::FailEvent => {
                verdict = Verdict::Disconnect
            }
            _ => {}
        }
        self.inner.counters.incidents.add();
        if attribution == Attribution::Unattributed {
            self.inner.counters.unattributed.add();
        }
        if let Some(compartment) = &compartment {
            compartment.count_fault();
        }
        // The right to seal is taken before anything is announced: a second fault of the same compartment,
        // or an operator, may have been faster.
        let sealing = match (&compartment, verdict) {
            (Some(compartment), Verdict::Disconnect | Verdict::Quarantine) if compartment.begin_seal() => {
                Some(compartment.clone())
            }
            (_, Verdict::Disconnect | Verdict::Quarantine) => {
                verdict = Verdict::Ignore;
                None
            }
            _ => None,
        };
        let id = IncidentId::at(time);
        let held =
            sealing.as_ref().and_then(|compartment| self.inner.strike(compartment, fault, verdict, id));
        // Who goes on with it while it is being closed is refused when it comes back.
        if let (Some(compartment), None, Standing::Quarantine) = (&compartment, &sealing, standing) {
            self.inner.strike(compartment, fault, Verdict::Quarantine, id);
        }
        match (verdict, held) {
            (Verdict::Disconnect, Some(_)) => verdict = Verdict::Quarantine,
            // Switched off, on the list of those who never are, or others would suffer for it.
            (Verdict::Quarantine, None) => verdict = Verdict::Disconnect,
            _ => {}
        }
        let tripped = compartment.as_ref().and_then(|compartment| {
            let counts = sealing.is_some() || verdict == Verdict::FailEvent;
            counts.then(|| self.inner.blame(activity.as_ref(), compartment, fault, attribution)).flatten()
        });
        let offender = compartment.as_deref().map(offender);
        let mut incident = Incident {
            id,
            time,
            fault,
            message,
            location,
            component,
            attribution,
            offender,
            activity,
            outcome,
            thread,
            backtrace: None,
            verdict,
            sealed_after: None,
            death: None,
            storm,
        };
        let mut notice = self.notice(&incident);
        if let Some(held) = held {
            notice.retry_after = held.retry_after;
        }
        if let Some(compartment) = &compartment {
            let fails_event = verdict == Verdict::FailEvent;
            if fails_event {
                compartment.count_failed_event();
                compartment.misbehaves(Misbehaviour::Fault);
            }
            if verdict == Verdict::Warn {
                self.inner.counters.warned.add();
                compartment.on_runtime(|| {
                    for part in compartment.parts() {
                        quietly(|| part.warn(&notice));
                    }
                });
            }
            if let Some(responder) = responder {
                // What it holds is the application's, also when it is not called.
                let answer = || {
                    if fails_event { responder(&notice) } else { drop(responder) }
                };
                compartment.on_runtime(|| quietly(answer));
            }
        }
        // The client comes first: it is told before anything is written or named.
        let sealing = sealing.map(|compartment| {
            let sealing = Sealing {
                compartment,
                notice,
                mode: if held.is_some() { SealMode::Expel } else { SealMode::Disconnect },
                // Whom nobody reads, nobody's polite end reaches either.
                transport_is_dead: attribution == Attribution::Transport,
            };
            let telling = sealing.tell();
            (sealing, telling)
        });
        if !storm {
            self.tell_sinks(&Event::Fault(&incident));
        }
        // A warning is no fault yet.
        if verdict != Verdict::Warn {
            self.enter_mode();
        }
        if let (Some(held), Some(identity)) =
            (&held, incident.offender.as_ref().and_then(|offender| offender.identity.as_ref()))
        {
            self.tell_sinks(&Event::Quarantined { id, identity, held });
        }
        if let (Some(tripped), Some(activity)) = (&tripped, &incident.activity) {
            self.tell_sinks(&Event::Tripped { id, activity, tripped });
        }
        if let (Some(_), Some(offender), false) = (&sealing, &incident.offender, storm) {
            self.tell_sinks(&Event::Sealing { id, offender, code: fault.code() });
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            if let (Some((sealing, telling)), Some(offender)) = (sealing, &incident.offender) {
                let of = SealOf { id, offender: offender.clone(), code: fault.code(), since: at, storm };
                if inner.conclude(sealing, telling, of).await {
                    incident.sealed_after = Some(at.elapsed());
                }
            }
            incident.backtrace = symbolise(frames).await;
            let incident = Arc::new(incident);
            if let Some(store) = &inner.store {
                quietly(|| store.incident(&incident));
            }
            inner.each_sink(|sink| sink.incident(&incident));
        });
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        quietly(|| self.inner.policy.judge(case)).unwrap_or_else(|| StandardPolicy::new().judge(case))
    }

    fn notice(&self, incident: &Incident) -> Notice {
        let settings = &self.inner.settings;
        let message = if settings.expose_details {
            incident.message.clone()
        } else {
            told_of(incident.fault).to_owned()
        };
        let mut notice = Notice::new(incident.fault.code(), message).retry(true, settings.retry_after);
        notice.id = incident.id;
        notice
    }

    /// Seals because somebody asked for it: an operator, or the server that shuts down.
    fn seal_as_asked(
        &mut self,
        compartment: Arc<Compartment>,
        notice: Notice,
        mode: SealMode,
        done: oneshot::Sender<()>,
    ) {
        if !compartment.begin_seal() {
            return;
        }
        let (id, code) = (notice.id, notice.code);
        let of = SealOf { id, offender: offender(&compartment), code, since: Instant::now(), storm: false };
        let sealing = Sealing { compartment, notice, mode, transport_is_dead: false };
        let telling = sealing.tell();
        self.tell_sinks(&Event::Sealing { id, offender: &of.offender, code });
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            inner.conclude(sealing, telling, of).await;
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        });
    }

    fn enter_mode(&mut self) {
        let now = Instant::now();
        match &mut self.mode {
            Some(mode) => {
                mode.incidents += 1;
                mode.last = now;
            }
            None => {
                self.mode = Some(RecoveryMode { incidents: 1, last: now });
                self.inner.recovering.store(true, Ordering::Relaxed);
                self.tell_sinks(&Event::RecoveryStarted);
            }
        }
    }

    /// What is done regularly: slow consumers, summaries, and leaving recovery mode after a quiet time.
    fn sweep(&mut self) {
        let now = Instant::now();
        slow::note_slow_consumers();
        for summary in self.storms.summaries(now) {
            let storm::Summary { location, component, omitted, window } = &summary;
            let (location, component) = (location.as_ref(), component);
            self.tell_sinks(&Event::Summary { location, component, omitted: *omitted, window: *window });
        }
        let lost = self.inner.mailbox.overflow();
        if lost > self.lost_told {
            self.tell_sinks(&Event::Lost { reports: lost - self.lost_told });
            self.lost_told = lost;
        }
        if let Some(mode) = &self.mode
            && now.duration_since(mode.last) >= self.inner.settings.quiet_period
        {
            let incidents = mode.incidents;
            self.mode = None;
            self.inner.recovering.store(false, Ordering::Relaxed);
            self.tell_sinks(&Event::RecoveryEnded { incidents });
        }
    }

    /// Finds connections that nobody reads, and clients whose connection nobody has.
    fn listen(&mut self) {
        let found = self.rounds.look(Instant::now(), self.mode.is_some());
        for report in found {
            self.handle(report);
        }
    }

    fn tell_sinks(&self, event: &Event<'_>) {
        self.inner.each_sink(|sink| sink.event(event));
    }
}

impl Inner {
    /// Calls every sink; one that panics does not keep the others from being called.
    fn each_sink(&self, call: impl Fn(&dyn Sink)) {
        for sink in &self.sinks {
            quietly(|| call(&**sink));
        }
    }

    /// Finishes a seal and tells the sinks. `false` when something is left after all bounds: that goes on being
    /// pushed on the side.
    async fn conclude(self: &Arc<Self>, sealing: Sealing, telling: Telling, of: SealOf) -> bool {
        let left = sealing.finish(telling, &self.settings).await;
        if left == 0 {
            self.sealed(&of);
            return true;
        }
        self.counters.overdue.add();
        let SealOf { id, offender, .. } = &of;
        self.each_sink(|sink| sink.event(&Event::SealOverdue { id: *id, offender, parts: left }));
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            sealing.insist(inner.settings.sweep_interval).await;
            inner.sealed(&of);
        });
        false
    }

    fn sealed(&self, of: &SealOf) {
        let SealOf { id, offender, code, since, storm } = of;
        self.counters.sealed.add();
        if !storm {
            let sealed = Event::Sealed { id: *id, offender, code, took: since.elapsed() };
            self.each_sink(|sink| sink.event(&sealed));
        }
    }
}

fn offender(compartment: &Compartment) -> Offender {
    Offender { id: compartment.id(), identity: compartment.identity(), peer: compartment.peer() }
}

/// Tells the sinks of stalls, in their order: where a thread is takes a while to name, and nobody else waits for that.
async fn tell_stalls(inner: Arc<Inner>, mut told: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = told.recv().await {
        match command {
            Command::Stalling(mut stall, stack) => {
                if let Some(stack) = stack {
                    let named = tokio::task::spawn_blocking(move || stack.named()).await;
                    stall.stack = named.ok().flatten();
                }
                inner.each_sink(|sink| sink.event(&Event::Stalling(&stall)));
            }
            Command::StallEnded(stall) => inner.each_sink(|sink| sink.event(&Event::StallEnded(&stall))),
            Command::Seal { .. } => {}
        }
    }
}

/// Names the frames away from the thread that seals: the first time in a process this can take a while.
async fn symbolise(frames: Option<Frames>) -> Option<Arc<str>> {
    let frames = frames?;
    tokio::task::spawn_blocking(move || frames.symbolise()).await.ok().flatten()
}
