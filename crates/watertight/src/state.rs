//! The life of a compartment, `Live → Sealing → Sealed`, as one atomic byte.

use serde::Serialize;

use crate::sync::{AtomicU8, Ordering};

/// Where a compartment is in its life. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// Works, and may start new work.
    Live = 0,
    /// Is being closed: no new work starts.
    Sealing = 1,
    /// Closed, and checked to have left nothing behind.
    Sealed = 2,
}

#[derive(Debug)]
pub(crate) struct StateCell(AtomicU8);

impl StateCell {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(State::Live as u8))
    }

    #[inline]
    pub(crate) fn get(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Live,
            1 => State::Sealing,
            _ => State::Sealed,
        }
    }

    /// Moves from `from` to `to`; `true` for the one caller that did it.
    pub(crate) fn advance(&self, from: State, to: State) -> bool {
        debug_assert!(from < to, "a compartment never goes back");
        self.0.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seals_once_and_never_returns() {
        let cell = StateCell::new();
        assert_eq!(cell.get(), State::Live);
        assert!(!cell.advance(State::Sealing, State::Sealed), "it must be sealing first");
        assert!(cell.advance(State::Live, State::Sealing));
        assert!(!cell.advance(State::Live, State::Sealing));
        assert!(cell.advance(State::Sealing, State::Sealed));
        assert_eq!(cell.get(), State::Sealed);
    }

    proptest! {
        /// Whatever order the steps are tried in, the state never goes backwards and each step succeeds once.
        #[test]
        fn moves_only_forward(steps in prop::collection::vec(any::<bool>(), 0..20)) {
            let cell = StateCell::new();
            let (mut begun, mut ended) = (0, 0);
            for begin in steps {
                let before = cell.get();
                if begin {
                    begun += u32::from(cell.advance(State::Live, State::Sealing));
                } else {
                    ended += u32::from(cell.advance(State::Sealing, State::Sealed));
                }
                prop_assert!(cell.get() >= before);
            }
            prop_assert!(begun <= 1 && ended <= begun);
        }
    }
}

#[cfg(all(test, watertight_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads that both want to seal (a panic and an operator's kick): exactly one does.
    #[test]
    fn loom_only_one_seals() {
        loom::model(|| {
            let cell = Arc::new(StateCell::new());
            let sealers: Vec<_> = (0..2)
                .map(|_| {
                    let cell = Arc::clone(&cell);
                    thread::spawn(move || {
                        let won = cell.advance(State::Live, State::Sealing);
                        if won {
                            assert!(cell.advance(State::Sealing, State::Sealed));
                        }
                        won
                    })
                })
                .collect();
            let seen = cell.get();
            let winners = sealers.into_iter().map(|t| t.join().unwrap()).filter(|won| *won).count();
            assert_eq!(winners, 1);
            assert!(cell.get() >= seen);
            assert_eq!(cell.get(), State::Sealed);
        });
    }
}
