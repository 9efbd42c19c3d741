//! What clients with a name have done wrong in connections that have ended.

use std::fmt;
use std::time::Instant;

use parking_lot::Mutex;

use super::score::Score;
use super::{Conduct, ConductSettings};
use crate::identity::Identity;
use crate::ledger::{Ledger, Rank};

/// How many clients are remembered. Those whose scores are forgotten first make room.
const CAPACITY: usize = 16_384;

/// The scores that ended connections have left, by the name that the application gave their client. Not by address:
/// others may use that, and a network that dies would be held against them.
pub(crate) struct Memory {
    scores: Mutex<Ledger<Identity, Score>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self { scores: Mutex::new(Ledger::new(capacity)) }
    }

    /// Keeps what a connection of `identity` has come to. Of several the worst one counts: each has begun with what
    /// was kept before, and a network that dies takes all connections of a client at once.
    pub(crate) fn keep(&self, identity: &Identity, conduct: &Conduct, now: Instant) {
        let (Identity::Named(_), Some(score)) = (identity, conduct.score()) else { return };
        let settings = conduct.settings();
        if score.is_forgotten(settings, now) {
            return;
        }
        let mut scores = self.scores.lock();
        let known = scores.get(identity).map_or(0.0, |known| known.judged_at(settings, now));
        if known > score.judged_at(settings, now) {
            return;
        }
        let rank = Rank::Idle(score.forgotten_at(settings));
        let score = score.carried();
        scores.update(identity, || score.clone(), |kept| (rank, *kept = score.clone()));
    }

    /// Lets a connection of `identity` begin with what was kept.
    pub(crate) fn recall(&self, identity: &Identity, conduct: &Conduct, now: Instant) {
        let known = self.scores.lock().get(identity).cloned();
        if let Some(score) = known.filter(|score| !score.is_forgotten(conduct.settings(), now)) {
            conduct.begin_with(score, now);
        }
    }

    /// Forgives `identity` everything.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.scores.lock().take(identity);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl ConductSettings {
    /// A conduct with these, for tests.
    #[cfg(test)]
    fn conduct(&self) -> Conduct {
        Conduct::new(std::sync::Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Misbehaviour, Standing};
    use super::*;
    use std::time::Duration;

    fn named(name: &str) -> Identity {
        Identity::Named(name.to_owned())
    }

    /// A session of `identity` that ends by its heartbeat. Answers whether it was warned at its beginning.
    fn dies(memory: &Memory, identity: &Identity, now: Instant) -> bool {
        let conduct = ConductSettings::new().conduct();
        memory.recall(identity, &conduct, now);
        let warned = conduct.warns(now);
        conduct.note(Misbehaviour::Heartbeat, now);
        memory.keep(identity, &conduct, now);
        warned
    }

    fn warnings(memory: &Memory, identity: &Identity, times: impl IntoIterator<Item = Instant>) -> usize {
        times.into_iter().filter(|now| dies(memory, identity, *now)).count()
    }

    #[test]
    fn ten_sessions_in_five_minutes_that_die_are_warned_about_once() {
        let (memory, start) = (Memory::new(), Instant::now());
        let spread = (0..=10).map(|number| start + Duration::from_secs(30) * number);
        assert_eq!(warnings(&memory, &named("spread"), spread), 1);
        assert_eq!(warnings(&memory, &named("at once"), [start; 11]), 1);
    }

    /// In a train: six tunnels at once are nothing, and neither is one every ten minutes, all day long.
    #[test]
    fn a_network_that_dies_now_and_then_is_never_warned_about() {
        let (memory, start) = (Memory::new(), Instant::now());
        assert_eq!(warnings(&memory, &named("at once"), [start; 7]), 0);
        let all_day = (0..144).map(|number| start + Duration::from_mins(10) * number);
        assert_eq!(warnings(&memory, &named("all day"), all_day), 0);
    }

    /// A telephone in a bad network for half an hour. Would reveal that it is disconnected for the first trifle when it
    /// is back.
    #[test]
    fn a_bad_network_weighs_no_more_than_a_warning() {
        let (memory, start, identity) = (Memory::new(), Instant::now(), named("bad network"));
        let sessions = (0..40).map(|number| start + Duration::from_secs(45) * number);
        assert_eq!(warnings(&memory, &identity, sessions), 1);
        let now = start + Duration::from_secs(45) * 40;
        let back = ConductSettings::new().conduct();
        memory.recall(&identity, &back, now);
        assert_eq!(back.points(now), 10.0);
        assert_eq!(back.strike(Misbehaviour::HandlerError, now), Standing::Fine);
        let answers = [back.strike(Misbehaviour::Malformed, now), back.strike(Misbehaviour::Malformed, now)];
        assert_eq!(answers, [Standing::Fine, Standing::Disconnect], "what it does itself counts");
    }

    /// Ten windows on one screen, whose network dies.
    #[test]
    fn what_dies_together_counts_once() {
        let (memory, now, identity) = (Memory::new(), Instant::now(), named("screen"));
        let windows: Vec<_> = (0..10).map(|_| ConductSettings::new().conduct()).collect();
        for window in &windows {
            memory.recall(&identity, window, now);
        }
        for window in &windows {
            window.note(Misbehaviour::Heartbeat, now);
            memory.keep(&identity, window, now);
        }
        let next = ConductSettings::new().conduct();
        memory.recall(&identity, &next, now);
        assert_eq!(next.points(now), windows[0].points(now));
        assert_eq!(next.reasons(), "missed heartbeats 1");
    }

    #[test]
    fn nobody_sheds_a_score_by_coming_again() {
        let (memory, now, identity) = (Memory::new(), Instant::now(), named("again"));
        let first = ConductSettings::new().conduct();
        let answers: Vec<_> = (0..4).map(|_| first.strike(Misbehaviour::Malformed, now)).collect();
        assert_eq!(answers.last(), Some(&Standing::Disconnect));
        memory.keep(&identity, &first, now);
        let second = ConductSettings::new().conduct();
        memory.recall(&identity, &second, now);
        assert!(!second.warns(now), "it has been, before");
        assert_eq!(second.strike(Misbehaviour::UnknownEvent, now), Standing::Disconnect);
        // Half of it is forgotten after half a minute, as in a connection that lives.
        let later = now + Duration::from_secs(30);
        let third = ConductSettings::new().conduct();
        memory.recall(&identity, &third, later);
        assert!((third.points(later) - 10.0).abs() < 1e-6);
    }

    /// A name that is told twice, as each namespace may, does not double anything.
    #[test]
    fn to_be_named_again_changes_nothing() {
        let (memory, now, identity) = (Memory::new(), Instant::now(), named("twice"));
        let conduct = ConductSettings::new().conduct();
        conduct.strike(Misbehaviour::Malformed, now);
        memory.keep(&identity, &conduct, now);
        conduct.strike(Misbehaviour::UnknownEvent, now);
        memory.recall(&identity, &conduct, now);
        memory.recall(&identity, &conduct, now);
        assert_eq!(conduct.points(now), 6.0);
    }

    #[test]
    fn an_address_is_not_remembered() {
        let (memory, now) = (Memory::new(), Instant::now());
        let address = Identity::of_address("203.0.113.7".parse().expect("an address"));
        assert_eq!(warnings(&memory, &address, [now; 20]), 0);
        assert_eq!(memory.scores.lock().len(), 0);
    }

    #[test]
    fn the_worst_stay_when_there_is_no_room() {
        let (memory, now) = (Memory::with_capacity(2), Instant::now());
        let kept = |name: &str, strikes: usize| {
            let conduct = ConductSettings::new().conduct();
            for _ in 0..strikes {
                conduct.strike(Misbehaviour::Flood, now);
            }
            memory.keep(&named(name), &conduct, now);
        };
        for (name, strikes) in [("worst", 9), ("best", 2), ("middle", 5), ("blameless", 0)] {
            kept(name, strikes);
        }
        let is_known = |name: &str| memory.scores.lock().get(&named(name)).is_some();
        assert_eq!(["worst", "best", "middle", "blameless"].map(is_known), [true, false, true, false]);
    }

    #[test]
    fn who_is_forgiven_begins_anew() {
        let (memory, now, identity) = (Memory::new(), Instant::now(), named("forgiven"));
        warnings(&memory, &identity, [now; 6]);
        memory.forget(&identity);
        let conduct = ConductSettings::new().conduct();
        memory.recall(&identity, &conduct, now);
        assert_eq!(conduct.points(now), 0.0);
    }
}
