//! Bars that were met and missed or neither, and what went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Estimate;

/// What a scenario found beside its numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// What must not be, whatever the machine is doing.
    pub(crate) faults: Vec<String>,
    /// Bars on time and size that were met, and that were not.
    pub(crate) met: Vec<String>,
    pub(crate) missed: Vec<String>,
    /// Bars of which the measurement does not say whether they are met.
    #[serde(default)]
    pub(crate) undecided: Vec<String>,
}

impl Verdict {
    /// A bar on a number that noise can spoil.
    pub(crate) fn bar(&mut self, is_met: bool, line: String) {
        if is_met { self.met.push(line) } else { self.missed.push(line) }
    }

    /// A bar that is to be reached: met when all that the estimate may be reaches it, and missed when none of it does.
    pub(crate) fn at_least(&mut self, bar: f64, Estimate { from, to, .. }: Estimate, line: String) {
        let is_met = from >= bar;
        if is_met || to < bar { self.bar(is_met, line) } else { self.undecided.push(line) }
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
        let Self { faults, met, missed, undecided } = self;
        for (word, lines) in [("met", met), ("undecided", undecided), ("MISSED", missed), ("FAULT", faults)] {
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

    #[test]
    fn what_may_reach_a_bar_has_neither_met_nor_missed_it() {
        let mut verdict = Verdict::default();
        for (name, [median, from, to]) in [
            ("above", [1.0, 0.99, 1.01]),
            ("may not be", [1.0, 0.98, 1.01]),
            ("may be", [0.98, 0.97, 0.99]),
            ("below", [0.98, 0.97, 0.985]),
            ("one start", [0.98, f64::NAN, f64::NAN]),
        ] {
            verdict.at_least(0.99, Estimate { median, from, to }, name.to_owned());
        }
        assert_eq!(verdict.met, ["above"]);
        assert_eq!(verdict.undecided, ["may not be", "may be", "one start"]);
        assert_eq!(verdict.missed, ["below"]);
        assert!(verdict.to_string().contains("undecided: may be\n"));
        assert!(!verdict.passed(false), "for those that are missed");
        verdict.missed.clear();
        assert!(verdict.passed(false));
    }
}
