//! How long many of one thing took.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// Three digits, as many as a measurement over a network can mean.
const DIGITS: u8 = 3;
/// In microseconds; what takes longer counts as this.
const LONGEST: u64 = 60_000_000;

/// How long many of one thing took.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(LONGEST, DIGITS)?))
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
    }

    /// `quantile` is from 0 to 1.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn p50(&self) -> Duration {
        self.quantile(0.50)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    pub(crate) fn p999(&self) -> Duration {
        self.quantile(0.999)
    }

    pub(crate) fn max(&self) -> Duration {
        self.quantile(1.0)
    }

    /// How many have been added.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }
}

/// As the numbers that are looked at, in milliseconds.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Summary {
            count: u64,
            p50_ms: f64,
            p90_ms: f64,
            p99_ms: f64,
            p999_ms: f64,
            max_ms: f64,
        }
        let ms = |quantile| self.quantile(quantile).as_secs_f64() * 1000.0;
        let count = self.0.len();
        Summary {
            count,
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: ms(1.0),
        }
        .serialize(serializer)
    }
}

/// `1.23`, for columns that are headed with their unit.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// A dash where there is no number.
pub(crate) fn or_dash(number: Option<String>) -> String {
    number.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_three_digits() {
        let mut times = Times::new().unwrap();
        (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
        assert_eq!(ms(times.p50()), "50.01", "the upper end of what counts as the same");
        assert!(times.p99() >= Duration::from_millis(99) && times.p99() < Duration::from_millis(100));
        times.add(Duration::from_hours(1));
        assert!(times.max() <= Duration::from_secs(61));
    }
}
