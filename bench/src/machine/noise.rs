//! How noisy the machine was.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Watch, load};

/// What others had of the machine while something was measured. `None` where the operating system does not tell.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// What part of the processors was used by processes that neither measure nor are measured, 0 to 1.
    others: Option<f64>,
    /// What part of the processors the host gave to other machines, 0 to 1.
    stolen: Option<f64>,
    /// How many tasks wanted to run in the minute before.
    load_before: Option<f64>,
}

/// Listens from its start on.
pub(crate) struct Listening {
    load: Option<f64>,
    watch: Watch,
}

impl Listening {
    pub(crate) fn start() -> Self {
        Self { load: load(), watch: Watch::start(&[]) }
    }

    /// What there was to hear.
    pub(crate) fn end(&self) -> Noise {
        let shares = self.watch.shares();
        Noise {
            others: shares.map(|shares| shares.others),
            stolen: shares.map(|shares| shares.stolen),
            load_before: self.load,
        }
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { others, stolen, load_before } = self;
        match (others, stolen) {
            (Some(others), Some(stolen)) => write!(
                f,
                "with {:.1} % of the processors used by others, {:.1} % taken away by the host",
                others * 100.0,
                stolen * 100.0
            )?,
            _ => f.write_str("with nothing known of others on the machine")?,
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
    fn says_what_others_had() {
        let noise = Noise { others: Some(0.031), stolen: Some(0.004), load_before: Some(1.25) };
        let said = "with 3.1 % of the processors used by others, 0.4 % taken away by the host and a load of 1.2 before";
        assert_eq!(noise.to_string(), said);
        let nothing = Noise { others: None, stolen: None, load_before: None };
        assert_eq!(nothing.to_string(), "with nothing known of others on the machine");
    }
}
