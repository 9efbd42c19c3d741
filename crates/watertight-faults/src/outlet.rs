//! The writing side of a connection whose client stops taking anything.

/// What a connection still lets out.
#[derive(Debug, Default)]
pub(crate) enum Outlet {
    /// Everything.
    #[default]
    Open,
    /// Everything up to these words.
    Until(Until),
    /// Nothing.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Until {
    words: &'static [u8],
    /// The end of what was written, in which the words may have begun.
    tail: Vec<u8>,
}

impl Outlet {
    pub(crate) fn until(words: &'static [u8]) -> Self {
        if words.is_empty() { Self::Closed } else { Self::Until(Until { words, tail: Vec::new() }) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Notes what has been written.
    pub(crate) fn wrote(&mut self, bytes: &[u8]) {
        let Self::Until(Until { words, tail }) = self else { return };
        tail.extend_from_slice(bytes);
        if tail.windows(words.len()).any(|window| window == *words) {
            *self = Self::Closed;
        } else {
            tail.drain(..tail.len().saturating_sub(words.len() - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_behind_the_words_however_they_are_cut() {
        for cut in 0..=9 {
            let mut outlet = Outlet::until(b"armed");
            let text = b"a armed b";
            outlet.wrote(b"arme");
            assert!(!outlet.is_closed());
            outlet.wrote(&text[..cut]);
            assert_eq!(outlet.is_closed(), cut >= 7, "{cut}");
            outlet.wrote(&text[cut..]);
            assert!(outlet.is_closed(), "{cut}");
        }
    }

    #[test]
    fn keeps_no_more_than_it_needs() {
        let mut outlet = Outlet::until(b"armed");
        outlet.wrote(&[0; 100_000]);
        let Outlet::Until(Until { tail, .. }) = &outlet else { panic!("closed") };
        assert_eq!(tail.len(), 4);
    }

    #[test]
    fn without_words_it_is_closed_at_once_and_without_orders_never() {
        assert!(Outlet::until(b"").is_closed());
        let mut open = Outlet::default();
        open.wrote(b"armed");
        assert!(!open.is_closed());
    }
}
