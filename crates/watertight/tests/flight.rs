//! The flight recorder of a process: what a reader sees of it, while it works and when it has stopped in the middle.
//!
//! The board is one in a process, so this test has one of its own.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use watertight::flight::{Crash, Now, Record, Thread, WORDS, mark};
use watertight::{
    Activity, ActivityKind, Attribution, Death, Exit, Identity, InstallError, Lease, Manner, Recorder,
    Registry, Scope, Transport, Watertight, blocking,
};

/// Memory of this process in the place of some that outlives it.
#[derive(Clone, Copy)]
struct Here(&'static [AtomicU64]);

impl Recorder for Here {
    fn words(&self) -> &'static [AtomicU64] {
        self.0
    }

    fn thread(&self) -> u64 {
        thread_number()
    }
}

fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

fn words(len: usize) -> Here {
    let words: Vec<_> = (0..len).map(|_| AtomicU64::new(0)).collect();
    Here(words.leak())
}

impl Here {
    fn copy(self) -> Vec<u64> {
        self.0.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn record(self) -> Record {
        Record::read(&self.copy()[..]).expect("it is a board")
    }

    fn thread_named(self, name: &str) -> Thread {
        let named = self.record().threads.into_iter().find(|thread| thread.name == name);
        named.unwrap_or_else(|| panic!("no thread {name} in {:#?}", self.record()))
    }

    /// The death of this process as it stands now, if `thread` got a signal of its own.
    fn death_of(self, thread: u64) -> Death {
        let copy: Vec<_> = self.copy().into_iter().map(AtomicU64::new).collect();
        mark(&copy, &Crash { thread, signal: 6, code: -6, address: 0, stack: 0, sender: std::process::id() });
        let copy: Vec<_> = copy.into_iter().map(AtomicU64::into_inner).collect();
        let record = Record::read(&copy[..]).expect("it is a board");
        let mut exit = Exit::now(Duration::from_secs(1));
        exit.signal = Some("SIGABRT".to_owned());
        Death::new(exit, Some(&record))
    }

    fn death_by_kill(self) -> Death {
        let mut exit = Exit::now(Duration::from_secs(1));
        exit.signal = Some("SIGKILL".to_owned());
        Death::new(exit, Some(&self.record()))
    }
}

fn client(session: &str, name: &str) -> Lease {
    let lease = Registry::global().open(None);
    assert!(Registry::global().name(&lease, session), "the session is new");
    lease.identify(name);
    lease
}

fn event(name: &'static str) -> Activity {
    Activity::new(ActivityKind::Event, "/lab", name)
}

/// Runs `work` on a thread of its own while `look` looks at it.
fn while_at_work(name: &str, work: impl FnOnce(&Barrier) + Send, look: impl FnOnce(u64)) {
    let (meet, number) = (&Barrier::new(2), &AtomicU64::new(0));
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let spawned = thread.spawn_scoped(threads, move || {
            number.store(thread_number(), Ordering::Release);
            work(meet);
        });
        spawned.expect("a thread");
        meet.wait();
        // The thread ends in any case, or a test that fails would hang.
        let looked = catch_unwind(AssertUnwindSafe(|| look(number.load(Ordering::Acquire))));
        meet.wait();
        if let Err(panic) = looked {
            resume_unwind(panic);
        }
    });
}

#[test]
fn the_board_says_who_was_at_work() {
    let too_small = Watertight::builder().recorder(words(WORDS - 1)).install();
    assert!(matches!(too_small, Err(InstallError::Recorder)), "{too_small:?}");
    let early = event("known before");
    let here = words(WORDS);
    let builder = Watertight::builder().previous_hook(watertight::PreviousHook::Chain);
    builder.recorder(here).install().expect("nothing is installed yet");

    scopes_are_named(here);
    early_activities_have_names(here, early);
    a_nested_scope_is_the_culprit(here);
    long_names_are_cut_and_accuse_nobody(here);
    transports_are_named_while_they_read(here);
    blocking_work_is_on_the_board(here);
    others_at_the_same_address_are_counted(here);
    a_thread_has_no_past_of_another(here);
    whoever_has_gone_is_a_number(here);
    the_ring_keeps_the_last(here);
    the_clock_goes_on(here);
    the_runtimes_answers_are_counted(here);
    a_connection_that_holds_many_threads_is_one_suspect(here);
}

fn a_connection_that_holds_many_threads_is_one_suspect(here: Here) {
    let lease = client("sid-of-mia", "user:mia");
    let scope = Scope::new(Arc::clone(&lease), event("hold"));
    let hold = |meet: &Barrier| {
        let _entered = scope.enter();
        meet.wait();
        meet.wait();
    };
    while_at_work("held-a", hold, |_| {
        while_at_work("held-b", hold, |_| {
            let threads = || here.record().threads.into_iter();
            assert!(["held-a", "held-b"].iter().all(|name| threads().any(|thread| thread.name == *name)));
            let suspects = |death: Death| {
                death.culprits.into_iter().map(|culprit| culprit.id).filter(|id| id == "sid-of-mia").count()
            };
            assert_eq!(suspects(here.death_by_kill()), 1);
        });
    });
}

fn scopes_are_named(here: Here) {
    let lease = client("sid-of-eve", "user:eve");
    let scope = Scope::new(Arc::clone(&lease), event("fire"));
    let work = |meet: &Barrier| {
        let _entered = scope.enter();
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-a", work, |number| {
        let thread = here.thread_named("worker-a");
        assert_eq!((thread.id, thread.lane, thread.blocking), (number, false, false));
        let Now::Scope { current, depth: 1, .. } = &thread.now else { panic!("{:?}", thread.now) };
        assert_eq!(current.person.session.as_deref(), Some("sid-of-eve"));
        let death = here.death_of(number);
        assert_eq!((death.manner, death.attribution), (Manner::Crash, Attribution::Exact));
        let culprit = death.culprit().expect("it is certain");
        assert_eq!((&*culprit.id, &culprit.activity), ("sid-of-eve", &Some(event("fire"))));
        assert_eq!(culprit.identity, Some(Identity::named("user:eve")));
        assert_eq!(death.last, ["event /lab fire of sid-of-eve"]);
        assert!(death.to_string().ends_with("at work on event /lab fire for sid-of-eve"), "{death}");
        let killed = here.death_by_kill();
        assert_eq!((killed.manner, killed.attribution), (Manner::Killed, Attribution::Suspect));
        assert_eq!(killed.culprits.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["sid-of-eve"]);
        assert!(killed.culprit().is_none(), "a suspect is not a culprit");
    });
    // Its thread has ended, or is about to: a scope of threads waits for their work and not for what follows that.
    let deadline = Instant::now() + Duration::from_secs(10);
    while here.record().threads.iter().any(|thread| thread.name == "worker-a") {
        assert!(Instant::now() < deadline, "a thread that has ended is still on the board");
        std::thread::yield_now();
    }
    assert_eq!(here.death_by_kill().attribution, Attribution::Unattributed);
}

fn early_activities_have_names(here: Here, early: Activity) {
    let scope = Scope::new(Arc::clone(&client("sid-early", "user:early")), early.clone());
    let work = |meet: &Barrier| {
        let _entered = scope.enter();
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-early", work, |number| {
        assert_eq!(here.death_of(number).culprits[0].activity, Some(early.clone()));
    });
}

fn a_nested_scope_is_the_culprit(here: Here) {
    let (outer, inner) = (client("sid-outer", "user:outer"), client("sid-inner", "user:inner"));
    let outer = Scope::new(Arc::clone(&outer), event("outer"));
    let inner = Scope::new(Arc::clone(&inner), event("inner"));
    let work = |meet: &Barrier| {
        let _outer = outer.enter();
        {
            let _inner = inner.enter();
            meet.wait();
            meet.wait();
        }
    };
    while_at_work("worker-b", work, |number| {
        let thread = here.thread_named("worker-b");
        let Now::Scope { outermost, depth: 2, .. } = &thread.now else { panic!("{:?}", thread.now) };
        assert_eq!(outermost.person.id(), "sid-outer");
        assert_eq!(here.death_of(number).culprits[0].id, "sid-inner");
    });
}

fn long_names_are_cut_and_accuse_nobody(here: Here) {
    let lease = client("sid-with-more-than-twenty-four-bytes", &"user:".repeat(40));
    let activity = Activity::new(ActivityKind::Event, "/n".repeat(40), "é".repeat(200));
    let scope = Scope::new(Arc::clone(&lease), activity);
    let work = |meet: &Barrier| {
        let _entered = scope.enter();
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-with-a-name-longer-than-that", work, |number| {
        let death = here.death_of(number);
        assert_eq!(death.thread.as_deref(), Some("worker-with-a-name-longe"));
        let culprit = &death.culprits[0];
        assert_eq!(culprit.id, "sid-with-more-than-twent…");
        assert_eq!(culprit.identity, Some(Identity::named("user:".repeat(40))), "known by its hash");
        assert_eq!(culprit.activity, None, "a part of a name may be another's");
        assert!(death.last[0].starts_with("event /n/n") && death.last[0].contains("éé…"), "{:?}", death.last);
    });
}

fn transports_are_named_while_they_read(here: Here) {
    let lease = client("sid-of-transport", "user:t");
    let transport = Transport::new(None);
    assert!(transport.link(lease.clone()));
    let reading = |meet: &Barrier| {
        Transport::reads(transport.key());
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-c", reading, |number| {
        let death = here.death_of(number);
        assert_eq!((death.attribution, &*death.culprits[0].id), (Attribution::Transport, "sid-of-transport"));
        assert_eq!(death.culprits[0].activity, Some(Activity::transport()));
    });
    let has_read = |meet: &Barrier| {
        Transport::reads(transport.key());
        Transport::reads(0);
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-c", has_read, |number| {
        assert_eq!(here.death_of(number).attribution, Attribution::Unattributed);
    });
}

fn blocking_work_is_on_the_board(here: Here) {
    let lease = client("sid-blocking", "user:b");
    let scope = Scope::new(Arc::clone(&lease), event("compute"));
    let (runtime, seen) = (tokio::runtime::Runtime::new().expect("a runtime"), here);
    let work = async move {
        blocking(move || {
            let suspects = seen.death_by_kill().culprits;
            let thread = seen.record().threads.into_iter().find(|thread| thread.blocking);
            (suspects.into_iter().map(|one| one.id).collect::<Vec<_>>(), thread.is_some())
        })
        .await
    };
    let (suspects, blocking) = runtime.block_on(watertight::ScopeExt::scoped(work, scope)).expect("no panic");
    assert!(suspects.contains(&"sid-blocking".to_owned()), "{suspects:?}");
    assert!(blocking);
}

fn others_at_the_same_address_are_counted(here: Here) {
    // Called what they may: one that is refused by its address is refused before it has a name.
    let others: Vec<_> =
        (0..4).map(|n| client(&format!("sid-other-{n}"), &format!("user:other-{n}"))).collect();
    for other in &others[..3] {
        other.set_client("203.0.113.7".parse().expect("an address"));
    }
    let elsewhere = &others[3];
    elsewhere.set_client("203.0.113.8".parse().expect("an address"));
    let anonymous = client("sid-anonymous", "user:anonymous");
    anonymous.set_client("203.0.113.7".parse().expect("an address"));
    anonymous.set_anonymous();
    let scope = Scope::new(Arc::clone(&others[0]), event("fire"));
    let work = |meet: &Barrier| {
        let _entered = scope.enter();
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-d", work, |number| assert_eq!(here.death_of(number).culprits[0].others, 2));
}

fn a_thread_has_no_past_of_another(here: Here) {
    let lease = client("sid-before", "user:before");
    let scope = Scope::new(Arc::clone(&lease), event("before"));
    while_at_work(
        "worker-before",
        |meet| {
            drop(scope.enter());
            meet.wait();
            meet.wait();
        },
        |_| assert_eq!(here.thread_named("worker-before").last.len(), 1),
    );
    // It takes the slot that the other has left.
    let work = |meet: &Barrier| {
        drop(Scope::new(Arc::clone(&lease), event("after")).enter());
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-after", work, |_| {
        let last = here.thread_named("worker-after").last;
        assert_eq!(last.len(), 1, "{last:?}");
    });
}

fn whoever_has_gone_is_a_number(here: Here) {
    let lease = client("sid-gone", "user:gone");
    let (key, scope) = (lease.key(), event("fire"));
    let work = |meet: &Barrier| {
        drop(Scope::new(Arc::clone(&lease), scope.clone()).enter());
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-e", work, |_| {
        assert_eq!(here.thread_named("worker-e").last[0].person.id(), "sid-gone");
    });
    drop(lease);
    let lease = client("sid-next", "user:next");
    assert_ne!(lease.key(), key);
    let entered = Scope::new(Arc::clone(&lease), event("fire")).enter();
    drop(entered);
    let record = here.record();
    let people = record.threads.iter().flat_map(|thread| &thread.last).map(|line| line.person.id());
    assert!(people.clone().any(|id| id == "sid-next"));
    assert!(people.clone().all(|id| id != "sid-gone"), "it has left, and its row with it");
}

fn the_ring_keeps_the_last(here: Here) {
    const NAMES: [&str; 20] = [
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "r16", "r17", "r18", "r19",
    ];
    let lease = client("sid-ring", "user:ring");
    let work = |meet: &Barrier| {
        for name in NAMES {
            let scope = Scope::new(Arc::clone(&lease), event(name));
            // Polled again and again, it is one line.
            drop(scope.enter());
            drop(scope.enter());
        }
        meet.wait();
        meet.wait();
    };
    while_at_work("worker-f", work, |_| {
        let last = here.thread_named("worker-f").last;
        let names: Vec<_> =
            last.iter().filter_map(|line| Some(line.activity.as_ref()?.name.clone())).collect();
        let expected: Vec<_> = NAMES.iter().rev().take(15).map(|name| (*name).to_owned()).collect();
        assert_eq!(names, expected);
    });
}

fn the_clock_goes_on(here: Here) {
    let before = here.record().clock_ms;
    let deadline = Instant::now() + Duration::from_secs(5);
    while here.record().clock_ms < before + 50 {
        assert!(Instant::now() < deadline, "the clock stands still");
        std::thread::yield_now();
    }
}

fn the_runtimes_answers_are_counted(here: Here) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    // Whoever opens a compartment on it has it watched.
    let lease = runtime.block_on(async { Registry::global().open(None) });
    let answers = |here: Here| Record::answers(&here.copy()[..]).expect("it is a board");
    let goes_on = |patience: Duration| {
        let (before, deadline) = (answers(here), Instant::now() + patience);
        while answers(here) < before + 2 {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        true
    };
    assert!(goes_on(Duration::from_secs(10)), "it answers");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        begin.send(()).expect("somebody waits");
        let _released = held.recv();
    });
    begun.recv().expect("it begins");
    assert!(!goes_on(Duration::from_secs(2)), "its only worker is held");
    drop(release);
    assert!(goes_on(Duration::from_secs(10)), "it answers again");
    drop(lease);
}
