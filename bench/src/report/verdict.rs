//! Bars that were met and missed, and what went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a scenario found beside its numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What must not be, whatever the machine is doing.
    pub(crate) faults: Vec<String>,
    /// Bars on time and size that were met, and that were not.
    pub(crate) met: Vec<String>,
    pub(crate) missed: Vec<String>,
}

impl Verdict {
    /// A bar on a number that noise can spoil.
    pub(crate) fn bar(&mut self, is_met: bool, line: String) {
        if is_met { self.met.push(line) } else { self.missed.push(line) }
    }

    /// What must hold on any machine.
    pub(crate) fn must(&mut self, holds: bool, line: String) {
        if holds { self.met.push(line) } else { self.faults.push(line) }
    }

    /// Noise only adds to a time, so a bar that is missed proves nothing on a busy machine: `quick` forgives it.
    pub(crate) fn passed(&self, quick: bool) -> bool {
        self.faults.is_empty() && (quick || self.missed.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, met, missed } = self;
        for (word, lines) in [("met", met), ("MISSED", missed), ("FAULT", faults)] {
            for line in lines {
                writeln!(f, "{word}: {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_forgives_time_and_nothing_else() {
        let slow = Verdict { missed: vec!["late".into()], ..Verdict::default() };
        assert!(slow.passed(true) && !slow.passed(false));
        let wrong = Verdict { faults: vec!["lost".into()], ..Verdict::default() };
        assert!(!wrong.passed(true) && !wrong.passed(false));
    }
}
