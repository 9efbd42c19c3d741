//! A short run of each target: what it takes to find a mistake that is easy to find.

use std::time::Duration;

use watertight_fuzz::{Fuzzer, TARGETS};

/// The targets one after another: what each input allocates is counted in the whole process.
#[test]
fn a_second_of_each_target() {
    for &target in TARGETS {
        let ran = Fuzzer::new(target, fastrand::u64(..)).expect("a corpus").run(Duration::from_secs(1));
        let ran = ran.unwrap_or_else(|failure| panic!("{} fails: {failure:?}", target.name));
        assert!(ran.inputs > 500, "{}: {ran:?}", target.name);
    }
}
