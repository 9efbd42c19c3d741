//! What a panic costs the thread it happens on, with each kind of hook. Prints; asserts loosely.
//!
//! `cargo test --release -p watertight --test hook_cost -- --nocapture`

mod common;

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use common::{Client, in_child};
use watertight::{NoResponder, RingSink, Scope, Watertight};

const PANICS: usize = 2000;

/// Would reveal a hook that prints, waits for a lock or names frames.
#[test]
fn the_hook_gets_out_of_the_way() {
    let written = in_child("the_hook_gets_out_of_the_way", &[("RUST_BACKTRACE", "1")], || {
        let client = Client::new();
        let scope = client.scope("cost");
        let default = measure(|| panic_in(&scope));
        println!("the default hook: {default}");
        set_silent_hook();
        let silent = measure(|| panic_in(&scope));
        println!("a hook that does nothing: {silent}");
        Watertight::builder().sink(RingSink::new(10)).install().expect("nothing is installed");
        let first = Instant::now();
        run_in(&scope);
        println!("ours, the first panic of a location: {:.1?}", first.elapsed());
        let ours = measure(|| run_in(&scope));
        println!("ours: {ours}");
        println!("so ours adds {:.1?} at the median", ours.p50.saturating_sub(silent.p50));
        // Naming frames is most of what the default hook does.
        assert!(ours.p50 * 4 < default.p50, "ours {ours}; default {default}");
        assert!(ours.p50 < silent.p50 + Duration::from_millis(1), "ours {ours}; silent {silent}");
    });
    if let Some(written) = written {
        let lines = written.out.lines().filter(|line| line.contains("hook") || line.contains("ours"));
        lines.for_each(|line| println!("{line}"));
    }
}

struct Cost {
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { p50, p99 } = self;
        write!(f, "p50 {p50:.1?}, p99 {p99:.1?}")
    }
}

fn measure(panic_once: impl Fn()) -> Cost {
    let one = |_| {
        let start = Instant::now();
        panic_once();
        start.elapsed()
    };
    let mut took: Vec<Duration> = (0..PANICS).map(one).collect();
    took.sort_unstable();
    Cost { p50: took[PANICS / 2], p99: took[PANICS * 99 / 100] }
}

/// Before ours is installed nothing may be reported, so the scope is entered by hand.
fn panic_in(scope: &Scope) {
    let _entered = scope.enter();
    catch_unwind(|| panic!("measured")).expect_err("it panicked");
}

fn run_in(scope: &Scope) {
    let caught: Result<(), _> = watertight::run(scope.clone(), None::<NoResponder>, || panic!("measured"));
    caught.expect_err("it panicked");
}

#[expect(clippy::disallowed_methods, reason = "the cost without ours is what is measured")]
fn set_silent_hook() {
    std::panic::set_hook(Box::new(|_| ()));
}
