//! How noisy the machine was.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use super::load;

/// What others had of the machine while something was measured. `None` where the operating system does not tell.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// What part of the processors the host gave to other machines, 0 to 1.
    stolen: Option<f64>,
    /// How many tasks wanted to run in the minute before.
    load_before: Option<f64>,
}

/// Listens from its start on.
pub(crate) struct Listening {
    load: Option<f64>,
    before: Option<[u64; 2]>,
}

impl Listening {
    pub(crate) fn start() -> Self {
        Self { load: load(), before: ticks() }
    }

    /// What there was to hear.
    pub(crate) fn end(&self) -> Noise {
        let stolen = self.before.zip(ticks()).map(|([all, stolen], [all_now, stolen_now])| {
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let part = stolen_now.saturating_sub(stolen) as f64 / all_now.saturating_sub(all).max(1) as f64;
            part
        });
        Noise { stolen, load_before: self.load }
    }
}

fn ticks() -> Option<[u64; 2]> {
    of_machine(&fs::read_to_string("/proc/stat").ok()?)
}

/// All ticks and the stolen ones of `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
fn of_machine(stat: &str) -> Option<[u64; 2]> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    Some([numbers.iter().sum(), *numbers.get(7)?])
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stolen, load_before } = self;
        match stolen {
            Some(stolen) => {
                write!(f, "with {:.1} % of the processors taken away by the host", stolen * 100.0)?
            }
            None => f.write_str("with nothing known of the host")?,
        }
        match load_before {
            Some(load) => write!(f, " and a load of {load:.1} before"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_stolen() {
        assert_eq!(of_machine("cpu  1 2 3 40 5 6 7 8 9 10\ncpu0 1 1\n"), Some([72, 8]));
        assert_eq!(of_machine("cpu  1 2 3"), None);
    }
}
