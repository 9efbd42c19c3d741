//! The pace at which connections are accepted after a death: those who come back all at once must not become an attack.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// How fast connections are accepted for a while. The others wait in the system's backlog, and nobody is refused. Clones
/// share.
///
/// Without one a server accepts as fast as it can; the handshakes of all who come back then compete with those who are
/// back already.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limiter: DefaultDirectRateLimiter,
    ends: Instant,
    delayed: AtomicU64,
}

impl Pace {
    /// `per_second` connections for as long as `lasts` from now on, of which the first half second's may come at once.
    #[must_use]
    pub fn new(per_second: NonZeroU32, lasts: Duration) -> Self {
        let burst = NonZeroU32::new(per_second.get() / 2).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let now = Instant::now();
        let ends = now.checked_add(lasts).unwrap_or(now);
        Self(Arc::new(Shared { limiter: RateLimiter::direct(quota), ends, delayed: AtomicU64::new(0) }))
    }

    /// How often the next connection had to wait.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.0.delayed.load(Ordering::Relaxed)
    }

    /// Waits until the next connection may be accepted.
    pub(crate) async fn wait(&self) {
        let clock = DefaultClock::default();
        while Instant::now() < self.0.ends {
            let Err(not_until) = self.0.limiter.check() else { return };
            self.0.delayed.fetch_add(1, Ordering::Relaxed);
            let left = self.0.ends.saturating_duration_since(Instant::now());
            tokio::time::sleep(not_until.wait_time_from(clock.now()).min(left)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_too_fast_waits_and_only_for_a_while() {
        let pace = Pace::new(NonZeroU32::new(20).expect("not 0"), Duration::from_millis(300));
        let begun = Instant::now();
        for _ in 0..10 {
            pace.wait().await;
        }
        assert_eq!(pace.delayed(), 0, "the first half second's");
        for _ in 0..2 {
            pace.wait().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
        assert_eq!(pace.delayed(), 2);
        for _ in 0..100 {
            pace.wait().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        let over = pace.delayed();
        for _ in 0..1_000 {
            pace.wait().await;
        }
        assert_eq!(pace.delayed(), over, "it is over");
    }
}
