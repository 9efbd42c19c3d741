//! When a worker that died is replaced.
//!
//! Pure: it is told the time and is given its source of chance.

use std::{collections::VecDeque, time::Duration};

/// How soon a worker that died is replaced, and what is too often.
///
/// The first death is followed by a restart at once. From the second on, the parent waits: a random time between nothing and
/// `base`, then `2 × base`, `4 × base` and so on up to `cap` ("full jitter": many machines that the same event kills do not
/// come back together). A worker that has lived for `reset_after` since it was ready wipes the slate clean.
///
/// More than `restarts` restarts within `period` are too many; what is done then is [`Exceeded`], and it is done at every death
/// until a worker has lived that long.
///
/// | | waits | too often | then |
/// |---|---|---|---|
/// | this policy | 0, then up to 100 ms doubling to 30 s | 5 in 60 s | tries every 30 s and says so |
/// | OTP | not at all | 1 in 5 s | the supervisor ends, and its own decides |
/// | systemd | 100 ms | 5 in 10 s | the unit fails and stays down |
/// | Kubernetes | 10 s doubling to 5 min, reset after 10 min | never | goes on |
///
/// OTP's limit is that low because supervisors stand above supervisors; here is one, and often nobody above it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestartPolicy {
    base: Duration,
    cap: Duration,
    restarts: u32,
    period: Duration,
    reset_after: Duration,
    exceeded: Exceeded,
}

/// What the parent does when workers die faster than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Exceeded {
    /// It goes on trying, waits for the policy's `cap` each time, and says so every time. Connections wait in the backlog
    /// meanwhile.
    #[default]
    Wait,
    /// It ends with [`EXIT_INTENSITY`](crate::EXIT_INTENSITY), so that the service manager decides.
    Exit,
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Another worker after this time, which may be zero.
    After(Duration),
    /// There were too many deaths: another worker after this time.
    ExceededAfter(Duration),
    /// There were too many deaths: no further worker.
    GiveUp,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            restarts: 5,
            period: Duration::from_secs(60),
            reset_after: Duration::from_secs(60),
            exceeded: Exceeded::Wait,
        }
    }
}

impl RestartPolicy {
    /// The longest wait before the second restart, and the longest at all. A cap below the base is raised to it.
    /// Default: 100 ms, 30 s.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap.max(base);
        self
    }

    /// How many restarts within which time are still allowed. Default: 5 in 60 s. As in OTP, none means that the first death
    /// is one too many. A number above 1000 is taken for 1000.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.restarts = restarts.min(1000);
        self.period = period;
        self
    }

    /// How long a worker must have served until its death counts as a first one again. Default: 60 s.
    #[must_use]
    pub fn reset_after(mut self, uptime: Duration) -> Self {
        self.reset_after = uptime;
        self
    }

    /// What is done when there were too many. Default: [`Exceeded::Wait`].
    #[must_use]
    pub fn when_exceeded(mut self, exceeded: Exceeded) -> Self {
        self.exceeded = exceeded;
        self
    }

    /// How many restarts are allowed, and within which time.
    #[must_use]
    pub fn allowed(&self) -> (u32, Duration) {
        (self.restarts, self.period)
    }
}

/// A [`RestartPolicy`] at work: remembers the deaths.
#[derive(Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    chance: fastrand::Rng,
    /// How many deaths since the slate was clean.
    deaths: u32,
    /// When there were restarts, the oldest first: never more than one above the number that is allowed.
    recent: VecDeque<Duration>,
    /// Whether there were too many; it stays so until the slate is clean.
    exceeded: bool,
}

impl Restarts {
    /// With a clean slate. The waits are drawn from `chance`.
    #[must_use]
    pub fn new(policy: RestartPolicy, chance: fastrand::Rng) -> Self {
        Self { policy, chance, deaths: 0, recent: VecDeque::new(), exceeded: false }
    }

    /// A worker has died at `now`. It had served for `uptime` since it was ready, or `was_ready` is false and it never was.
    ///
    /// `now` is any clock that does not go back.
    pub fn died(&mut self, now: Duration, uptime: Duration, was_ready: bool) -> Next {
        if was_ready && uptime >= self.policy.reset_after {
            self.deaths = 0;
            self.recent.clear();
            self.exceeded = false;
        }
        self.deaths = self.deaths.saturating_add(1);
        while self.recent.front().is_some_and(|then| now.saturating_sub(*then) > self.policy.period) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let allowed = usize::try_from(self.policy.restarts).unwrap_or(usize::MAX);
        if self.recent.len() > allowed {
            self.recent.pop_front();
            self.exceeded = true;
        }
        if self.exceeded {
            return match self.policy.exceeded {
                Exceeded::Wait => Next::ExceededAfter(self.policy.cap),
                Exceeded::Exit => Next::GiveUp,
            };
        }
        Next::After(self.backoff())
    }

    fn backoff(&mut self) -> Duration {
        let Some(doublings) = self.deaths.checked_sub(2) else { return Duration::ZERO };
        let factor = 2_u32.saturating_pow(doublings);
        let longest = self.policy.base.saturating_mul(factor).min(self.policy.cap);
        longest.mul_f64(self.chance.f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn restarts(policy: RestartPolicy) -> Restarts {
        Restarts::new(policy, fastrand::Rng::with_seed(7))
    }

    /// No limit of intensity.
    fn patient() -> RestartPolicy {
        RestartPolicy::default().backoff(100 * MS, 1000 * MS).intensity(1000, 1000 * MS)
    }

    fn delay(next: Next) -> Duration {
        match next {
            Next::After(delay) | Next::ExceededAfter(delay) => delay,
            Next::GiveUp => panic!("it gives up"),
        }
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_later_ones_wait_ever_longer() {
        let mut longest = [Duration::ZERO; 8];
        for seed in 0..500 {
            let mut restarts = Restarts::new(patient(), fastrand::Rng::with_seed(seed));
            for longest in &mut longest {
                *longest = delay(restarts.died(Duration::ZERO, MS, true)).max(*longest);
            }
        }
        assert_eq!(longest[0], Duration::ZERO);
        for (longest, bound) in longest[1..].iter().zip([100, 200, 400, 800, 1000, 1000, 1000]) {
            let bound = bound * MS;
            assert!(*longest <= bound && *longest > bound * 9 / 10, "{longest:?} of {bound:?}");
        }
    }

    #[test]
    fn the_jitter_is_full() {
        let mut waits: Vec<_> = (0..1000)
            .map(|seed| {
                let mut restarts = Restarts::new(patient(), fastrand::Rng::with_seed(seed));
                restarts.died(Duration::ZERO, MS, true);
                delay(restarts.died(Duration::ZERO, MS, true))
            })
            .collect();
        waits.sort();
        for (place, expected) in [(100, 10), (500, 50), (900, 90)] {
            let difference = waits[place].abs_diff(expected * MS);
            assert!(difference < 10 * MS, "{place}: {:?}", waits[place]);
        }
    }

    #[test]
    fn who_has_served_long_enough_dies_for_the_first_time() {
        let mut restarts = restarts(patient().reset_after(5000 * MS));
        restarts.died(Duration::ZERO, MS, true);
        assert_ne!(restarts.died(2 * MS, 4999 * MS, true), Next::After(Duration::ZERO));
        assert_eq!(restarts.died(3 * MS, 5000 * MS, true), Next::After(Duration::ZERO));
        // One that was never ready has not served, however long it took.
        assert_ne!(restarts.died(4 * MS, 5000 * MS, false), Next::After(Duration::ZERO));
    }

    #[test]
    fn intensity_is_what_otp_means_by_it() {
        // OTP's default: one restart in five seconds is allowed, the second is too many.
        let policy = RestartPolicy::default().intensity(1, 5000 * MS).when_exceeded(Exceeded::Exit);
        let mut twice = restarts(policy.clone());
        assert_eq!(twice.died(Duration::ZERO, MS, true), Next::After(Duration::ZERO));
        assert_eq!(twice.died(5000 * MS, MS, true), Next::GiveUp);
        let mut seldom = restarts(policy.clone());
        for death in 0..10 {
            assert_ne!(seldom.died(death * 5001 * MS, MS, true), Next::GiveUp);
        }
        // None is allowed: the first is too many.
        let mut never = restarts(policy.intensity(0, 5000 * MS));
        assert_eq!(never.died(Duration::ZERO, MS, true), Next::GiveUp);
    }

    #[test]
    fn too_many_deaths_wait_for_the_cap_until_one_has_served_long_enough() {
        let policy = patient().intensity(2, 100 * MS).reset_after(5000 * MS);
        let mut restarts = restarts(policy);
        for _ in 0..2 {
            assert!(matches!(restarts.died(Duration::ZERO, MS, true), Next::After(_)));
        }
        // Even when the waiting alone keeps the deaths apart.
        for death in 0..5 {
            assert_eq!(restarts.died(death * 1000 * MS, MS, true), Next::ExceededAfter(1000 * MS));
        }
        assert_eq!(restarts.died(9000 * MS, 5000 * MS, true), Next::After(Duration::ZERO));
    }

    proptest! {
        /// Whatever happens when: no wait is above the cap, no more restarts than allowed are called few within any period, and
        /// nothing overflows or grows.
        #[test]
        fn no_history_breaks_the_policy(
            (base, cap, allowed, period) in (0_u64..1000, 0_u64..100_000, 0_u32..20, 0_u64..10_000),
            deaths in proptest::collection::vec((0_u64..5000, 0_u64..200_000, any::<bool>()), 0..200),
        ) {
            let policy = RestartPolicy::default()
                .backoff(Duration::from_millis(base), Duration::from_millis(cap))
                .intensity(allowed, Duration::from_millis(period));
            let cap = Duration::from_millis(cap.max(base));
            let mut restarts = restarts(policy.clone());
            let (mut now, mut calm) = (Duration::ZERO, Vec::new());
            for (passed, uptime, was_ready) in deaths {
                now += Duration::from_millis(passed);
                let uptime = Duration::from_millis(uptime);
                if was_ready && uptime >= policy.reset_after {
                    calm.clear();
                }
                match restarts.died(now, uptime, was_ready) {
                    Next::After(delay) => {
                        prop_assert!(delay <= cap);
                        calm.push(now);
                        let within = calm.iter().filter(|then| now - **then <= policy.period).count();
                        prop_assert!(within <= usize::try_from(allowed).unwrap());
                    }
                    Next::ExceededAfter(delay) => prop_assert_eq!(delay, cap),
                    Next::GiveUp => prop_assert!(false, "it was told to wait"),
                }
                prop_assert!(restarts.recent.len() <= usize::try_from(allowed).unwrap());
            }
        }
    }

    #[test]
    fn a_long_life_does_not_overflow() {
        let mut restarts = restarts(RestartPolicy::default().backoff(Duration::MAX, Duration::MAX));
        restarts.deaths = u32::MAX - 1;
        for _ in 0..3 {
            restarts.died(Duration::MAX, Duration::ZERO, false);
        }
    }
}
