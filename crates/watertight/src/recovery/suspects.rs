//! Compartments where something was wrong at the last look.

use std::collections::HashMap;
use std::mem;
use std::time::Instant;

/// By the compartments' keys.
pub(super) struct Suspects<T> {
    found: HashMap<u64, Suspect<T>>,
    before: HashMap<u64, Suspect<T>>,
}

pub(super) struct Suspect<T> {
    pub(super) since: Instant,
    /// A policy of the application's may leave it as it is: it is not told again.
    pub(super) told: bool,
    pub(super) more: T,
}

impl<T> Suspect<T> {
    pub(super) fn new(since: Instant, more: T) -> Self {
        Self { since, told: false, more }
    }
}

impl<T> Default for Suspects<T> {
    fn default() -> Self {
        Self { found: HashMap::new(), before: HashMap::new() }
    }
}

impl<T> Suspects<T> {
    /// A look begins: at those of [`keys`](Self::keys), or at `everybody`. Who is not found again is none of them any more.
    pub(super) fn begin(&mut self, everybody: bool) {
        self.before = mem::take(&mut self.found);
        if !everybody {
            self.found.extend(self.before.extract_if(|_, suspect| suspect.told));
        }
    }

    /// Whom to look at soon. Nothing is to be said any more of those who were told.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.found.iter().filter(|(_, suspect)| !suspect.told).map(|(&key, _)| key)
    }

    /// What was found at the last look.
    pub(super) fn before(&mut self, key: u64) -> Option<Suspect<T>> {
        // Most often there is none: to hash the key would be for nothing.
        if self.before.is_empty() { None } else { self.before.remove(&key) }
    }

    /// Something is wrong with it.
    pub(super) fn find(&mut self, key: u64, suspect: Suspect<T>) {
        self.found.insert(key, suspect);
    }
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    fn keys(suspects: &Suspects<()>) -> Vec<u64> {
        let mut keys: Vec<u64> = suspects.keys().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn who_is_not_found_again_is_forgotten_and_who_was_told_until_everybody_is_looked_at() {
        let mut suspects = Suspects::default();
        let now = Instant::now();
        suspects.begin(true);
        for key in [1, 2, 3] {
            suspects.find(key, Suspect { since: now, told: key == 3, more: () });
        }
        assert_eq!(keys(&suspects), [1, 2], "nothing more is to be said of 3");
        suspects.begin(false);
        let again = suspects.before(1).expect("found before");
        suspects.find(1, again);
        assert_eq!(keys(&suspects), [1]);
        suspects.begin(true);
        assert!(suspects.before(3).expect("kept").told);
        assert!(suspects.before(2).is_none(), "it was not found again");
        suspects.begin(true);
        assert!(suspects.before(3).is_none(), "it was not found again when everybody was looked at");
    }
}
