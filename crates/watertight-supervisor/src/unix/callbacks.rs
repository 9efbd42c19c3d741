//! Calls into code that is not the parent's own: a panic there must not end it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{BlackBox, Descriptors, Happening, Observer, WorkerDeath};

pub(super) struct Callbacks {
    pub(super) observer: Box<dyn Observer>,
    pub(super) black_box: Box<dyn BlackBox>,
}

impl Callbacks {
    pub(super) fn observe(&mut self, happening: &Happening) {
        // Whom could this be told?
        _ = catch_unwind(AssertUnwindSafe(|| self.observer.observe(happening)));
    }

    pub(super) fn prepare(&mut self, generation: u64) -> (Descriptors, Option<Happening>) {
        match guarded(|| self.black_box.prepare(generation)) {
            Ok(Ok(descriptors)) => (descriptors, None),
            Ok(Err(error)) => {
                (Vec::new(), Some(trouble("the flight recorder is not prepared", error.to_string())))
            }
            Err(trouble) => (Vec::new(), Some(trouble)),
        }
    }

    pub(super) fn not_started(&mut self, generation: u64) -> Option<Happening> {
        guarded(|| self.black_box.not_started(generation)).err()
    }

    pub(super) fn answered(&self, generation: u64) -> Result<Option<Duration>, Happening> {
        guarded(|| self.black_box.answered(generation))
    }

    pub(super) fn wedged(&mut self, generation: u64, pid: u32, silent: Duration) -> Option<Happening> {
        guarded(|| self.black_box.wedged(generation, pid, silent)).err()
    }

    pub(super) fn died(&mut self, death: &WorkerDeath) -> Option<Happening> {
        guarded(|| self.black_box.died(death)).err()
    }
}

fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Happening> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| trouble("the flight recorder has panicked", text(payload.as_ref())))
}

fn trouble(what: &'static str, error: String) -> Happening {
    Happening::Trouble { what, error }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panicking;

    impl BlackBox for Panicking {
        fn prepare(&mut self, _: u64) -> std::io::Result<Descriptors> {
            panic!("prepare")
        }
        fn answered(&self, _: u64) -> Option<Duration> {
            panic!("answered")
        }
        fn wedged(&mut self, generation: u64, _: u32, _: Duration) {
            panic!("wedged {generation}")
        }
        fn died(&mut self, _: &WorkerDeath) {
            panic!("died")
        }
    }

    #[test]
    fn a_panic_of_the_flight_recorder_is_told_and_goes_no_further() {
        let observer = |_: &Happening| panic!("observer");
        let mut callbacks = Callbacks { observer: Box::new(observer), black_box: Box::new(Panicking) };
        let told = |error: &str| trouble("the flight recorder has panicked", error.to_owned());
        assert_eq!(callbacks.answered(1), Err(told("answered")));
        assert_eq!(callbacks.wedged(7, 1, Duration::ZERO), Some(told("wedged 7")));
        let (descriptors, happening) = callbacks.prepare(1);
        assert_eq!((descriptors.len(), happening), (0, Some(told("prepare"))));
        callbacks.observe(&Happening::ReloadRemembered);
    }
}
