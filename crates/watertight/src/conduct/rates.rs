//! How many messages and bytes a client may send.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::bounds::{SettingError, within};

/// How fast a client may send. What is not set is not limited and costs nothing. Default: nothing is limited,
/// because what is much for one game is little for another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) byte_burst: Option<u32>,
}

/// The most that a rate or burst may be. The limiter counts in whole nanoseconds per message or byte, which
/// makes a rate up to 10 % too high near this bound, and less than 1 % below a tenth of it.
const MAX: u32 = 100_000_000;

impl RateSettings {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages a client may send in a second on average: 1 to 100,000,000.
    #[must_use]
    pub fn messages_per_second(mut self, messages: u32) -> Self {
        self.messages_per_second = Some(messages);
        self
    }

    /// How many it may send at once after a quiet time: 1 to 100,000,000, a second's worth where it is not
    /// set.
    #[must_use]
    pub fn message_burst(mut self, messages: u32) -> Self {
        self.message_burst = Some(messages);
        self
    }

    /// How many bytes of messages it may send in a second on average: 1 to 100,000,000.
    #[must_use]
    pub fn bytes_per_second(mut self, bytes: u32) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// How many bytes it may send at once after a quiet time: 1 to 100,000,000, a second's worth where it is
    /// not set. A single message of more than that is never let through.
    #[must_use]
    pub fn byte_burst(mut self, bytes: u32) -> Self {
        self.byte_burst = Some(bytes);
        self
    }

    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// The first setting that is out of bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        let Self { messages_per_second, message_burst, bytes_per_second, byte_burst } = self;
        for (name, value) in [
            ("messages_per_second", messages_per_second),
            ("message_burst", message_burst),
            ("bytes_per_second", bytes_per_second),
            ("byte_burst", byte_burst),
        ] {
            if let Some(value) = value {
                within(name, *value, 1, MAX)?;
            }
        }
        Ok(())
    }
}

/// What a client has sent too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// Messages.
    Messages,
    /// Bytes, or a single message of more than it may ever send at once.
    Bytes,
}

/// A message is more than the client may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more {} than its rate allows", match .what { Limit::Messages => "messages", Limit::Bytes => "bytes" })]
#[non_exhaustive]
pub struct Limited {
    /// Of what.
    pub what: Limit,
}

/// The rates of one client. A check takes no lock and reads no clock.
#[derive(Debug)]
pub struct Rates {
    start: Instant,
    messages: Option<Limiter>,
    bytes: Option<Limiter>,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, ToldClock, NoOpMiddleware<Nanos>>;

/// A clock that is told the time, in nanoseconds since the start: the caller has read its own already, and
/// both limits share that reading, which costs more than the rest of a check.
///
/// Threads that check one client at a time may overwrite each other's time. That is no more than
/// the difference between the two, which is nothing to a rate.
#[derive(Debug, Default)]
struct ToldClock(AtomicU64);

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl Rates {
    /// The rates that the settings ask for; `None` when they limit nothing.
    #[must_use]
    pub fn new(settings: &RateSettings, now: Instant) -> Option<Self> {
        let RateSettings { messages_per_second, message_burst, bytes_per_second, byte_burst } = settings;
        let messages = messages_per_second.map(|rate| limiter(rate, *message_burst));
        let bytes = bytes_per_second.map(|rate| limiter(rate, *byte_burst));
        (messages.is_some() || bytes.is_some()).then_some(Self { start: now, messages, bytes })
    }

    /// Counts a message of so many bytes.
    ///
    /// # Errors
    ///
    /// When it is more than the client may send now. A message whose bytes are too many has still counted as
    /// one message; the bytes of one that is refused have not counted.
    pub fn check(&self, bytes: usize, now: Instant) -> Result<(), Limited> {
        let now = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        if let Some(messages) = &self.messages {
            take(messages, 1, now).map_err(|Full| Limited { what: Limit::Messages })?;
        }
        if let Some(limiter) = &self.bytes {
            take(limiter, bytes, now).map_err(|Full| Limited { what: Limit::Bytes })?;
        }
        Ok(())
    }
}

struct Full;

fn take(limiter: &Limiter, amount: usize, now: u64) -> Result<(), Full> {
    let amount = u32::try_from(amount).map_err(|_| Full)?;
    let Some(amount) = NonZeroU32::new(amount) else { return Ok(()) };
    limiter.clock().0.store(now, Ordering::Relaxed);
    match limiter.check_n(amount) {
        Ok(Ok(())) => Ok(()),
        // Not now, or never: more at once than the burst.
        Ok(Err(_)) | Err(_) => Err(Full),
    }
}

fn limiter(rate: u32, burst: Option<u32>) -> Limiter {
    // Bounded here too: a setting that nobody checked must not panic.
    let bounded = |number: u32| NonZeroU32::new(number.min(MAX)).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(bounded(rate)).allow_burst(bounded(burst.unwrap_or(rate)));
    RateLimiter::direct_with_clock(quota, ToldClock::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MESSAGES: Result<(), Limited> = Err(Limited { what: Limit::Messages });
    const BYTES: Result<(), Limited> = Err(Limited { what: Limit::Bytes });

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn rates(settings: &RateSettings) -> (Rates, Instant) {
        assert_eq!(settings.check(), Ok(()));
        let now = Instant::now();
        (Rates::new(settings, now).expect("something is limited"), now)
    }

    #[test]
    fn without_limits_there_is_nothing() {
        assert!(Rates::new(&RateSettings::new(), Instant::now()).is_none());
        assert!(Rates::new(&RateSettings::new().byte_burst(1).message_burst(1), Instant::now()).is_none());
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rates, now) = rates(&RateSettings::new().messages_per_second(10).message_burst(3));
        let passed = (0..9).filter(|_| rates.check(1_000_000, now).is_ok());
        assert_eq!(passed.count(), 3);
        assert_eq!(rates.check(0, now), MESSAGES);
        assert_eq!(rates.check(0, now + ms(99)), MESSAGES);
        assert_eq!(rates.check(0, now + ms(100)), Ok(()));
        assert_eq!(rates.check(0, now + ms(100)), MESSAGES);
        let passed = (0..9).filter(|_| rates.check(0, now + ms(60_000)).is_ok());
        assert_eq!(passed.count(), 3, "no more than the burst, however long it was quiet");
    }

    #[test]
    fn the_burst_is_a_seconds_worth_where_it_is_not_set() {
        let (rates, now) = rates(&RateSettings::new().messages_per_second(7));
        assert_eq!((0..99).filter(|_| rates.check(0, now).is_ok()).count(), 7);
    }

    #[test]
    fn bytes_are_limited_apart_from_messages() {
        let (rates, now) = rates(&RateSettings::new().bytes_per_second(1_000).byte_burst(100));
        assert_eq!(rates.check(60, now), Ok(()));
        assert_eq!(rates.check(60, now), BYTES);
        assert_eq!(rates.check(40, now), Ok(()), "what is refused does not count");
        assert_eq!(rates.check(0, now), Ok(()), "nothing is not too much");
        assert_eq!(rates.check(21, now + ms(20)), BYTES);
        assert_eq!(rates.check(20, now + ms(20)), Ok(()));
    }

    #[test]
    fn a_message_beyond_the_burst_is_never_let_through() {
        let (rates, now) = rates(&RateSettings::new().bytes_per_second(1_000).byte_burst(100));
        for bytes in [101, u32::MAX as usize, usize::MAX] {
            assert_eq!(rates.check(bytes, now + ms(60_000)), BYTES);
        }
        assert_eq!(rates.check(100, now + ms(60_000)), Ok(()));
    }

    #[test]
    fn what_is_limited_is_said() {
        let (rates, now) = rates(&RateSettings::new().messages_per_second(1).bytes_per_second(1));
        assert_eq!(rates.check(2, now), BYTES);
        assert_eq!(rates.check(2, now), MESSAGES, "the message counted");
        assert_eq!(Limited { what: Limit::Bytes }.to_string(), "more bytes than its rate allows");
    }

    #[test]
    fn every_bound_is_checked_and_named() {
        let sound = RateSettings::new;
        for (settings, name) in [
            (sound().messages_per_second(0), "`messages_per_second` is 0:"),
            (sound().message_burst(0), "`message_burst` is 0:"),
            (sound().bytes_per_second(u32::MAX), "`bytes_per_second` is 4294967295:"),
            (sound().byte_burst(0), "`byte_burst` is 0:"),
        ] {
            let error = settings.check().expect_err("out of bounds").to_string();
            assert!(error.starts_with(name), "{name} {error}");
        }
        assert_eq!(serde_json::to_string(&sound().byte_burst(1)).expect("serialises"), r#"{"byte_burst":1}"#);
        assert!(serde_json::from_str::<RateSettings>(r#"{"messages":1}"#).is_err(), "unknown");
    }

    proptest! {
        /// Any settings, sizes and times, checked or not: no panic, and never more than the burst and what
        /// the rate has added since.
        #[test]
        fn never_more_than_allowed(
            rate in any::<u32>(),
            burst in any::<u32>(),
            messages in prop::collection::vec((any::<u32>(), 0..5_000u64), 0..50),
        ) {
            let settings = RateSettings::new().bytes_per_second(rate).byte_burst(burst);
            let now = Instant::now();
            let rates = Rates::new(&settings, now).expect("bytes are limited");
            let (mut at, mut sent) = (Duration::ZERO, 0.0);
            for (bytes, pause) in messages {
                at += ms(pause);
                // Around the burst, where it matters.
                let bytes = bytes % burst.clamp(1, MAX).saturating_mul(2);
                if rates.check(bytes as usize, now + at).is_ok() {
                    sent += f64::from(bytes);
                }
                let (rate, burst) = (f64::from(rate.clamp(1, MAX)), f64::from(burst.clamp(1, MAX)));
                prop_assert!(sent <= burst + 1.11 * rate * at.as_secs_f64() + 1.0, "{sent} after {at:?}");
            }
        }
    }
}
