//! How the recovery works: durations and limits, each with its bounds and where its default is from.

use std::time::Duration;

use crate::conduct::RateSettings;
use crate::error::InstallError;
use crate::identity::TrustedProxies;
use crate::lanes::LaneSettings;

/// What the panic hook does with the hook that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PreviousHook {
    /// It no longer runs. The default hook prints under one lock and, with `RUST_BACKTRACE=1`, takes
    /// 0.25 ms (release) to 1.3 ms (dev) for each panic: a storm of them is felt by everyone.
    #[default]
    Replace,
    /// It runs after ours, for every panic.
    Chain,
}

/// The durations and limits of the recovery.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) grace: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) quiet_period: Duration,
    pub(crate) sweep_interval: Duration,
    pub(crate) disconnect_cleanup: Duration,
    pub(crate) disconnect_deadline: Duration,
    pub(crate) expose_details: bool,
    pub(crate) storm_limit: u32,
    pub(crate) previous_hook: PreviousHook,
    pub(crate) stall_warn: Duration,
    pub(crate) stall_limit: Duration,
    pub(crate) lanes: Option<LaneSettings>,
    pub(crate) blocking_threads: usize,
    pub(crate) rates: RateSettings,
    pub(crate) proxies: TrustedProxies,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: Duration::from_millis(300),
            retry_after: Duration::from_millis(1000),
            quiet_period: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(1),
            disconnect_cleanup: Duration::from_millis(500),
            disconnect_deadline: Duration::from_secs(30),
            expose_details: false,
            storm_limit: 20,
            previous_hook: PreviousHook::default(),
            stall_warn: Duration::from_millis(250),
            stall_limit: Duration::from_secs(2),
            lanes: None,
            blocking_threads: crate::blocking::DEFAULT_THREADS,
            rates: RateSettings::default(),
            proxies: TrustedProxies::default(),
        }
    }
}

impl Settings {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), InstallError> {
        let Self {
            grace,
            retry_after,
            quiet_period,
            sweep_interval,
            disconnect_cleanup,
            disconnect_deadline,
            expose_details: _,
            storm_limit,
            previous_hook: _,
            stall_warn,
            stall_limit,
            lanes,
            blocking_threads,
            rates,
            proxies: _,
        } = self;
        let ms = Duration::from_millis;
        let hour = Duration::from_secs(3600);
        for (name, value, min, max) in [
            ("grace", grace, ms(0), ms(10_000)),
            ("retry_after", retry_after, ms(0), hour),
            ("quiet_period", quiet_period, ms(100), hour * 24),
            ("sweep_interval", sweep_interval, ms(10), ms(60_000)),
            ("disconnect_cleanup", disconnect_cleanup, ms(0), ms(60_000)),
            ("disconnect_deadline", disconnect_deadline, ms(1), hour),
            ("stall_warn", stall_warn, ms(20), hour),
            ("stall_limit", stall_limit, ms(20), hour),
        ] {
            if *value < min || *value > max {
                return Err(InstallError::OutOfBounds { name, value: *value, min, max });
            }
        }
        if let Some(LaneSettings { threads, spares }) = lanes
            && (!(1..=1024).contains(threads) || *spares > 4096)
        {
            return Err(InstallError::LaneThreads { threads: *threads, spares: *spares });
        }
        rates.check()?;
        if !(1..=4096).contains(blocking_threads) {
            return Err(InstallError::BlockingThreads(*blocking_threads));
        }
        if *storm_limit == 0 {
            return Err(InstallError::NoStormLimit);
        }
        Ok(())
    }
}
