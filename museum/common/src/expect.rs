//! What has to be seen of a scene, for the museum to be true.

use std::fmt;

use crate::observation::{Fate, Observation, Watched, Whose};

/// What counts as at once, in milliseconds. Seen are a few; the rest is for a machine that is busy otherwise.
const AT_ONCE: f64 = 1000.0;
/// What a server may grow by that is not attacked through its memory, in MiB. Naming the frames of a first backtrace takes
/// 40 of them.
const SOME_MIB: f64 = 128.0;

/// One thing that has to be seen. Two settings of a scene differ in these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expect {
    /// The server panicked there: in a file, or on a line of one.
    PanicsAt(&'static str),
    /// The offender is connected, asks for echoes, gets none, and is told nothing.
    OffenderGetsNoAnswer,
    /// The offender does not ask for anything but waits, and is told nothing.
    OffenderWaits,
    /// The offender's connection ends at once.
    OffenderIsClosedAtOnce,
    /// The offender is told at once, in words that have this in them.
    OffenderIsTold(&'static str),
    /// The offender's connection ends at once and it was told nothing before.
    OffenderIsCutWithoutAWord,
    /// A fault was recorded as that of the offender's connection, and none as another's.
    OffenderIsNamed,
    /// Faults were recorded, and none of them names anybody.
    NobodyIsNamed,
    /// Nobody else lost a connection or an echo.
    OthersAreUnharmed,
    /// All others wait in vain.
    OthersAreFrozen,
    /// All others lost their connection.
    OthersAreDisconnected,
    /// The process is alive, takes no more memory and does not spin.
    ProcessIsWell,
    /// The process died of this signal.
    ProcessDiesOf(&'static str),
    /// The last that it printed has this in it.
    ProcessDiesSaying(&'static str),
    /// A worker died of this, once, and the next one served at once.
    WorkerDiesOf(&'static str),
    /// All others lost their connection once and were served again within so many milliseconds.
    OthersAreBackWithin(f64),
    /// The process is alive and at least so many of its threads spin.
    ThreadsSpin(usize),
    /// So many sockets are left in the namespace of clients that are gone.
    LeavesBehind(usize),
}

impl Expect {
    /// Whether it was seen.
    #[must_use]
    pub fn holds(self, seen: &Observation) -> bool {
        let Observation { offender, others, process, panics, recorded, left_behind } = seen;
        let watched = match offender {
            Fate::Watched(watched) => Some(watched),
            Fate::Left { .. } => None,
        };
        let offender_is = |what: fn(&Watched) -> bool| watched.is_some_and(what);
        match self {
            Self::PanicsAt(place) => panics.iter().any(|panic| {
                // With its line, or any line of that file.
                panic.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            }),
            Self::OffenderGetsNoAnswer => {
                offender_is(|it| it.closed.is_none() && it.told.is_none() && it.probes > 0 && it.echoes == 0)
            }
            Self::OffenderWaits => {
                offender_is(|it| it.closed.is_none() && it.told.is_none() && !it.joined && it.probes == 0)
            }
            Self::OffenderIsClosedAtOnce => {
                offender_is(|it| it.closed.as_ref().is_some_and(|closed| closed.ms < AT_ONCE))
            }
            Self::OffenderIsTold(words) => watched.is_some_and(|it| {
                it.told.as_ref().is_some_and(|told| told.ms < AT_ONCE && told.what.contains(words))
            }),
            Self::OffenderIsCutWithoutAWord => {
                Self::OffenderIsClosedAtOnce.holds(seen) && offender_is(|it| it.told.is_none())
            }
            Self::OffenderIsNamed => {
                let mut named = recorded.iter().filter(|fault| fault.whose != Whose::Nobodys).peekable();
                named.peek().is_some() && named.all(|fault| fault.whose == Whose::Offenders)
            }
            Self::NobodyIsNamed => {
                !recorded.is_empty() && recorded.iter().all(|fault| fault.whose == Whose::Nobodys)
            }
            Self::OthersAreUnharmed => {
                others.disconnects == 0 && others.lost == 0 && others.asked > 0 && others.worst_ms < AT_ONCE
            }
            Self::OthersAreFrozen => {
                others.disconnects == 0 && usize::try_from(others.lost) == Ok(others.clients)
            }
            Self::OthersAreDisconnected => {
                usize::try_from(others.disconnects).is_ok_and(|n| n >= others.clients)
            }
            Self::ProcessIsWell => {
                process.died.is_none() && process.spinning == 0 && process.grown_mib < SOME_MIB
            }
            Self::ProcessDiesOf(signal) => process.died.as_ref().is_some_and(|died| died.what == signal),
            Self::ProcessDiesSaying(words) => {
                process.last_words.as_ref().is_some_and(|last| last.contains(words))
            }
            Self::WorkerDiesOf(what) => {
                let died = matches!(process.workers.as_slice(), [death] if death.what.contains(what));
                died && process.died.is_none() && process.back.is_some_and(|back| back < AT_ONCE)
            }
            Self::OthersAreBackWithin(limit) => {
                let once = usize::try_from(others.disconnects) == Ok(others.clients);
                once && others.connected == others.clients && others.worst_ms < limit
            }
            Self::ThreadsSpin(threads) => process.died.is_none() && process.spinning >= threads,
            Self::LeavesBehind(sockets) => *left_behind == Some(sockets),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PanicsAt(place) => write!(f, "the server panics at {place}"),
            Self::OffenderGetsNoAnswer => {
                f.write_str("the offender stays connected, gets no answer and is told nothing")
            }
            Self::OffenderWaits => f.write_str("the offender waits and is told nothing"),
            Self::OffenderIsClosedAtOnce => f.write_str("the offender's connection ends at once"),
            Self::OffenderIsTold(words) => write!(f, "the offender is told at once: {words}"),
            Self::OffenderIsCutWithoutAWord => {
                f.write_str("the offender's connection ends at once, without a word")
            }
            Self::OffenderIsNamed => f.write_str("the offender is named"),
            Self::NobodyIsNamed => f.write_str("the fault is recorded and nobody is named"),
            Self::OthersAreUnharmed => f.write_str("nobody else loses a connection or an echo"),
            Self::OthersAreFrozen => f.write_str("all others wait in vain"),
            Self::OthersAreDisconnected => f.write_str("all others are disconnected"),
            Self::ProcessIsWell => f.write_str("the process is well"),
            Self::ProcessDiesOf(signal) => write!(f, "the process dies of {signal}"),
            Self::ProcessDiesSaying(words) => write!(f, "its last words are: {words}"),
            Self::WorkerDiesOf(what) => write!(f, "a worker dies of {what} and the next one serves at once"),
            Self::OthersAreBackWithin(limit) => write!(f, "all others are served again within {limit} ms"),
            Self::ThreadsSpin(threads) => write!(f, "at least {threads} of the server's threads spin"),
            Self::LeavesBehind(sockets) => write!(f, "{sockets} sockets are left behind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{After, Others, Process, Recorded};

    fn quiet() -> Observation {
        let address = ([127, 0, 0, 1], 1).into();
        let mut watched = Watched::new(address, std::time::Duration::from_secs(3));
        (watched.probes, watched.echoes) = (30, 30);
        Observation {
            offender: Fate::Watched(watched),
            others: Others { clients: 2, connected: 2, asked: 9, ..Others::default() },
            process: Process {
                died: None,
                workers: Vec::new(),
                back: None,
                last_words: None,
                spinning: 0,
                grown_mib: 1.0,
            },
            panics: Vec::new(),
            recorded: Vec::new(),
            left_behind: Some(0),
        }
    }

    /// Would reveal an expectation that holds whatever happens, and with it a museum that cannot fail.
    #[test]
    fn of_a_server_on_which_nothing_happens_only_the_good_holds() {
        use Expect::*;
        let seen = quiet();
        for good in [OthersAreUnharmed, ProcessIsWell, LeavesBehind(0)] {
            assert!(good.holds(&seen), "{good}");
        }
        for harm in [
            PanicsAt("src/ws.rs"),
            OffenderGetsNoAnswer,
            OffenderWaits,
            OffenderIsClosedAtOnce,
            OffenderIsTold("panic"),
            OffenderIsCutWithoutAWord,
            OffenderIsNamed,
            NobodyIsNamed,
            OthersAreFrozen,
            OthersAreDisconnected,
            ProcessDiesOf("SIGABRT"),
            ProcessDiesSaying("stack"),
            WorkerDiesOf("SIGABRT"),
            OthersAreBackWithin(1000.0),
            ThreadsSpin(1),
            LeavesBehind(1),
        ] {
            assert!(!harm.holds(&seen), "{harm}");
        }
    }

    #[test]
    fn a_dead_process_is_not_well_and_takes_everybody_with_it() {
        use Expect::*;
        let mut seen = quiet();
        seen.process.died = Some(After { ms: 3.0, what: "SIGABRT".to_owned() });
        seen.others = Others { clients: 2, disconnects: 2, asked: 9, lost: 2, ..Others::default() };
        seen.left_behind = None;
        assert!(ProcessDiesOf("SIGABRT").holds(&seen) && OthersAreDisconnected.holds(&seen));
        for not in
            [ProcessIsWell, ProcessDiesOf("SIGSEGV"), OthersAreUnharmed, OthersAreFrozen, LeavesBehind(0)]
        {
            assert!(!not.holds(&seen), "{not}");
        }
    }

    #[test]
    fn a_panic_is_looked_for_by_its_file_or_its_line() {
        let mut seen = quiet();
        seen.panics = vec!["x-1.0/src/ws.rs:190".to_owned()];
        let panics_at = |place| Expect::PanicsAt(place).holds(&seen);
        assert!(panics_at("x-1.0/src/ws.rs:190") && panics_at("x-1.0/src/ws.rs"));
        assert!(!panics_at("x-1.0/src/ws.rs:19") && !panics_at("x-1.0/src/w"));
    }

    #[test]
    fn one_death_of_a_worker_is_survived_and_two_are_not() {
        let mut seen = quiet();
        let death = After { ms: 3.0, what: "signal 6 (SIGABRT)".to_owned() };
        (seen.process.workers, seen.process.back) = (vec![death.clone()], Some(20.0));
        seen.others = Others { clients: 2, connected: 2, disconnects: 2, asked: 9, lost: 2, worst_ms: 90.0 };
        let survived = [Expect::WorkerDiesOf("SIGABRT"), Expect::OthersAreBackWithin(100.0)];
        assert!(survived.iter().all(|expected| expected.holds(&seen)));
        assert!(
            !Expect::OthersAreBackWithin(50.0).holds(&seen) && !Expect::WorkerDiesOf("SIGSEGV").holds(&seen)
        );
        seen.process.workers.push(death);
        assert!(!Expect::WorkerDiesOf("SIGABRT").holds(&seen));
    }

    #[test]
    fn who_is_named_must_be_the_offender() {
        let mut seen = quiet();
        let fault = |whose| Recorded {
            fault: "panic".to_owned(),
            location: None,
            attribution: "transport".to_owned(),
            whose,
            verdict: "disconnect".to_owned(),
        };
        seen.recorded = vec![fault(Whose::Offenders), fault(Whose::Anothers)];
        assert!(!Expect::OffenderIsNamed.holds(&seen) && !Expect::NobodyIsNamed.holds(&seen));
        seen.recorded.pop();
        assert!(Expect::OffenderIsNamed.holds(&seen));
        seen.recorded = vec![fault(Whose::Nobodys)];
        assert!(Expect::NobodyIsNamed.holds(&seen) && !Expect::OffenderIsNamed.holds(&seen));
    }
}
