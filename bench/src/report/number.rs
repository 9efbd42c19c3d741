//! Numbers in text.

/// With so many digits behind the point; a dash for what is no number, as a part of nothing.
pub(crate) fn decimal(number: f64, digits: usize) -> String {
    if number.is_finite() { format!("{number:.digits$}") } else { "-".to_owned() }
}

/// A text in which what is no number is a dash. Scenarios write many of their numbers by themselves.
pub(super) fn dashed(text: &str) -> String {
    let mut dashed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(|letter: char| letter.is_alphanumeric()) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        if matches!(word, "NaN" | "inf") {
            dashed.push_str(before.strip_suffix(['+', '-']).unwrap_or(before));
            dashed.push('-');
        } else {
            dashed.push_str(before);
            dashed.push_str(word);
        }
        rest = behind;
    }
    dashed + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_a_dash() {
        assert_eq!([1.25, f64::NAN, f64::INFINITY].map(|number| decimal(number, 1)), ["1.2", "-", "-"]);
        assert_eq!(dashed("| NaN | -inf | +NaN % | 1.5 |"), "| - | - | - % | 1.5 |");
        assert_eq!(dashed("an info on Nancy's `info`: é inf."), "an info on Nancy's `info`: é -.");
        assert_eq!(dashed(""), "");
    }
}
