//! What is measured again and again after each of several starts.

use std::fmt;

use fastrand::Rng;
use serde::Serialize;

use super::{Spread, decimal};

/// How often the starts are drawn again.
const DRAWS: usize = 2_000;
/// The part of the draws that is outside, below and above.
const OUTSIDE: f64 = 0.025;

/// What starts that differ in one thing have measured, such as which server was the first to be there.
pub(crate) type Kind = Vec<Vec<f64>>;

/// The median of all measurements, and between what it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Estimate {
    /// Of measurements that belong to starts, since what they have in common makes them alike, and of starts of several kinds: it is
    /// the geometric mean of the kinds' medians. How far it is to be trusted is what it would have been with as many starts of each
    /// kind drawn at random from those that there are (the bootstrap): not known where a kind has but one.
    pub(crate) fn of(kinds: &[Kind]) -> Self {
        let kinds: Vec<&Kind> = kinds.iter().filter(|kind| !kind.is_empty()).collect();
        let all = mean(kinds.iter().map(|kind| median(&mut kind.iter())));
        if kinds.iter().any(|kind| kind.len() < 2) || kinds.is_empty() {
            return Self { median: all, from: f64::NAN, to: f64::NAN };
        }
        // The same measurements always say the same.
        let mut rng = Rng::with_seed(0);
        let mut draw = |kind: &Kind| median(&mut (0..kind.len()).map(|_| &kind[rng.usize(..kind.len())]));
        let mut draws: Vec<f64> =
            (0..DRAWS).map(|_| mean(kinds.iter().map(|kind| draw(kind)).collect::<Vec<_>>())).collect();
        draws.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small numbers"
        )]
        let outside = (OUTSIDE * DRAWS as f64) as usize;
        Self { median: all, from: draws[outside], to: draws[DRAWS - 1 - outside] }
    }
}

fn median(starts: &mut dyn Iterator<Item = &Vec<f64>>) -> f64 {
    Spread::of(starts.flatten().copied()).median
}

/// The geometric one: what is half in one kind and twice in the other is the same in both.
fn mean(medians: impl IntoIterator<Item = f64>) -> f64 {
    let (mut logarithms, mut count) = (0.0, 0.0);
    for median in medians {
        logarithms += median.ln();
        count += 1.0;
    }
    f64::exp(logarithms / count)
}

/// `0.991 (0.982 to 1.003)`; only the median where the rest is not known.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, from, to } = self;
        f.write_str(&decimal(*median, 3))?;
        if from.is_finite() && to.is_finite() { write!(f, " ({from:.3} to {to:.3})") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_median_of_all_and_not_that_of_the_starts() {
        // The medians of the starts are 1, 2 and 3; that of all is 1.
        let starts = [vec![1.0, 1.0, 1.0, 1.0, 1.0], vec![2.0], vec![3.0]];
        assert_eq!(Estimate::of(&[starts.to_vec()]).median, 1.0);
    }

    /// Would reveal a median that falls on either side of what two kinds have: as far as they are apart says nothing of it.
    #[test]
    fn what_kinds_differ_in_is_in_the_middle() {
        let kind =
            |of: f64| -> Kind { (0..6).map(|start| vec![of + f64::from(start) / 1000.0; 3]).collect() };
        let both = Estimate::of(&[kind(0.8), kind(1.25)]);
        assert!((both.median - 1.0).abs() < 0.01, "{both}");
        assert!(both.from > 0.99 && both.to < 1.01, "{both}");
    }

    /// Many measurements after one start tell less than few after many.
    #[test]
    fn what_a_start_has_in_common_counts_once() {
        let of = |starts: usize, turns: usize| -> Estimate {
            let mut rng = Rng::with_seed(7);
            let starts: Vec<Vec<f64>> = (0..starts)
                .map(|_| {
                    let common = rng.f64();
                    (0..turns).map(|_| common + rng.f64() / 100.0).collect()
                })
                .collect();
            Estimate::of(&[starts])
        };
        let [few, many] = [of(4, 100), of(100, 4)];
        let width = |of: Estimate| of.to - of.from;
        assert!(width(few) > 0.3 && width(many) < 0.25, "{few}; {many}");
        assert!(many.from < 0.5 && 0.5 < many.to, "the middle of what is drawn from 0 to 1: {many}");
        assert_eq!(of(4, 100), few, "the same again");
    }

    #[test]
    fn one_start_tells_nothing_of_others() {
        let one = Estimate::of(&[vec![vec![0.5, 0.7, 0.6]], vec![]]);
        assert_eq!(one.to_string(), "0.600");
        assert_eq!(Estimate::of(&[]).to_string(), "-");
        assert_eq!(Estimate { median: 0.9, from: 0.85, to: 0.95 }.to_string(), "0.900 (0.850 to 0.950)");
    }
}
