//! Installing: once per process, all or nothing, with or after the hook that was there.

mod common;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::in_child;
use watertight::{Builder, CaptureSink, InstallError, PreviousHook, Watertight, ensure_installed, installed};

/// Sets a hook that counts, as an application or a crash reporter might have done before.
#[expect(clippy::disallowed_methods, reason = "the hook that was there before is what is tested")]
fn set_counting_hook() -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    std::panic::set_hook(Box::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    calls
}

fn panic_once() {
    catch_unwind(|| panic!("expected")).expect_err("it panicked");
}

/// Would reveal a second hook that takes the place of the first, whose incidents then go nowhere.
#[test]
fn a_second_install_is_an_error() {
    in_child("a_second_install_is_an_error", &[], || {
        let (first, second) = (CaptureSink::new(), CaptureSink::new());
        let watertight = Watertight::builder().sink(first.clone()).install().expect("the first one installs");
        let error =
            Watertight::builder().sink(second.clone()).install().expect_err("the second one does not");
        assert!(matches!(error, InstallError::AlreadyInstalled), "{error}");
        assert!(error.to_string().contains("already installed"), "{error}");
        panic_once();
        common::the_incident(&first, "expected");
        assert!(second.incidents().is_empty());
        assert_eq!(
            (watertight.stats().panics, watertight.stats().incidents),
            (1, 2),
            "the panic, and the mark"
        );
    });
}

/// Would reveal a check and an installation that another thread can come between.
#[test]
fn of_many_threads_one_installs() {
    in_child("of_many_threads_one_installs", &[], || {
        let calls = set_counting_hook();
        let chained = || Watertight::builder().previous_hook(PreviousHook::Chain).sink(CaptureSink::new());
        let threads: Vec<_> =
            (0..16).map(|_| std::thread::spawn(move || chained().install().is_ok())).collect();
        let installs = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        assert_eq!(installs.filter(|installed| *installed).count(), 1);
        panic_once();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "one hook, which calls the previous one once");
    });
}

/// Would reveal a bound that is not checked, an error that does not name its setting, and an install that
/// fails half-way.
#[test]
fn out_of_bounds_is_named_and_changes_nothing() {
    in_child("out_of_bounds_is_named_and_changes_nothing", &[], || {
        let calls = set_counting_hook();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        type Set = fn(Builder, Duration) -> Builder;
        let settings: [(&str, Set, &[Duration]); 6] = [
            ("grace", Builder::grace, &[ms(10_001)]),
            ("retry_after", Builder::retry_after, &[s(3601)]),
            ("quiet_period", Builder::quiet_period, &[ms(99), s(24 * 3600 + 1)]),
            ("sweep_interval", Builder::sweep_interval, &[ms(9), ms(60_001)]),
            ("disconnect_cleanup", Builder::disconnect_cleanup, &[ms(60_001)]),
            ("disconnect_deadline", Builder::disconnect_deadline, &[ms(0), s(3601)]),
        ];
        for (setting, set, values) in settings {
            for wrong in values {
                let error = set(Watertight::builder(), *wrong).install().expect_err("out of bounds");
                assert!(
                    matches!(&error, InstallError::OutOfBounds { name, value, .. } if *name == setting && value == wrong),
                    "{setting} = {wrong:?}: {error:?}"
                );
                let text = error.to_string();
                assert!(text.contains(setting) && text.contains(&format!("{wrong:?}")), "{text}");
            }
        }
        let error = Watertight::builder().storm_limit(0).install().expect_err("out of bounds");
        assert!(
            matches!(error, InstallError::NoStormLimit) && error.to_string().contains("storm_limit"),
            "{error}"
        );

        assert!(installed().is_none());
        panic_once();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "the hook is the one that was there");

        // The bounds themselves are allowed, and a failed attempt does not stand in the way of a later one.
        let at_the_bounds = Watertight::builder()
            .grace(ms(0))
            .retry_after(s(3600))
            .quiet_period(ms(100))
            .sweep_interval(ms(10))
            .disconnect_cleanup(ms(60_000))
            .disconnect_deadline(ms(1))
            .storm_limit(1);
        at_the_bounds.sink(CaptureSink::new()).install().expect("within bounds");
        panic_once();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "replaced now");
    });
}

/// Would reveal a default install that fails, or that an explicit one is not respected by later callers.
#[test]
fn ensure_installed_installs_the_defaults_once() {
    in_child("ensure_installed_installs_the_defaults_once", &[], || {
        assert!(installed().is_none());
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| ensure_installed().stats().panics)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), 0);
        }
        panic_once();
        assert_eq!(ensure_installed().stats().panics, 1, "all of them are the one that is installed");
        assert!(matches!(Watertight::builder().install(), Err(InstallError::AlreadyInstalled)));
    });
}

/// Would reveal that an explicit installation is replaced by the defaults.
#[test]
fn ensure_installed_keeps_what_there_is() {
    in_child("ensure_installed_keeps_what_there_is", &[], || {
        let sink = CaptureSink::new();
        let watertight = Watertight::builder().sink(sink.clone()).retry_after(Duration::from_secs(7));
        watertight.install().expect("nothing is installed");
        assert_eq!(ensure_installed().retry_after(), Duration::from_secs(7));
        panic_once();
        common::the_incident(&sink, "expected");
    });
}

/// Would reveal a crash reporter that goes blind when watertight is installed after it.
#[test]
fn a_chained_hook_runs_after_ours() {
    in_child("a_chained_hook_runs_after_ours", &[], || {
        let calls = set_counting_hook();
        let sink = CaptureSink::new();
        let builder = Watertight::builder().previous_hook(PreviousHook::Chain).sink(sink.clone());
        builder.install().expect("nothing is installed");
        for _ in 0..3 {
            panic_once();
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        let wanted = |incidents: &[_]| (incidents.len() == 3).then_some(());
        sink.wait_for(common::DEADLINE, wanted);
    });
}

/// Would reveal that the default hook still prints: 2,000 panics a second of it are felt by everyone. And a warning
/// about `panic = "abort"` that cries wolf.
#[test]
fn a_replaced_hook_is_silent() {
    let written = in_child("a_replaced_hook_is_silent", &[("RUST_BACKTRACE", "1")], || {
        let calls = set_counting_hook();
        let sink = CaptureSink::new();
        Watertight::builder().sink(sink.clone()).install().expect("nothing is installed");
        panic_once();
        common::the_incident(&sink, "expected");
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    });
    if let Some(written) = written {
        assert!(!written.err.contains("panicked at"), "{}", written.err);
        assert!(!written.err.contains("abort"), "{}", written.err);
    }
}
