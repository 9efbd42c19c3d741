//! Several measurements of one number.

use std::fmt;

use serde::Serialize;

use super::decimal;

/// The middle one of them, and the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Not a number where there is none.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
        // The mean of two where there is none in the middle.
        let median = f64::midpoint(at(numbers.len().saturating_sub(1) / 2), at(numbers.len() / 2));
        Self { median, least: at(0), greatest: at(numbers.len().saturating_sub(1)) }
    }
}

/// `0.991 (0.962 to 1.013)`; the precision is that of the format, three digits by default. A dash when there is no number.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, greatest } = self;
        if ![median, least, greatest].into_iter().any(|number| number.is_finite()) {
            return f.write_str("-");
        }
        let digits = f.precision().unwrap_or(3);
        let [median, least, greatest] = [median, least, greatest].map(|&number| decimal(number, digits));
        write!(f, "{median} ({least} to {greatest})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, least: 1.0, greatest: 4.0 });
        assert_eq!(Spread::of([7.0]).to_string(), "7.000 (7.000 to 7.000)");
        assert_eq!(format!("{:.1}", Spread::of([1.0, 2.0, 4.0])), "2.0 (1.0 to 4.0)");
        assert!(Spread::of([]).median.is_nan());
        assert_eq!(Spread::of([]).to_string(), "-");
        assert_eq!(format!("{:.0}", Spread::of([1.0, 2.0, f64::INFINITY])), "2 (1 to -)");
    }
}
