//! Text in words.

use crate::sync::{AtomicU64, Ordering};

/// Writes as much of `text` as fits, cut between two characters. Answers how many bytes.
pub(crate) fn store(words: &[AtomicU64], text: &str) -> usize {
    let kept = &text.as_bytes()[..text.floor_char_boundary(words.len() * 8)];
    for (word, bytes) in words.iter().zip(kept.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
    }
    kept.len()
}

/// The first `length` bytes of the words as text. What is no text in them is replaced.
pub(crate) fn load(words: &[u64], length: usize) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take(length).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back_cut_between_characters(text in any::<String>(), words in 0..6_usize) {
            let words: Vec<_> = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
            let length = store(&words, &text);
            let stored: Vec<_> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
            let back = load(&stored, length);
            prop_assert!(text.starts_with(&back));
            prop_assert!(back.len() == text.len() || back.len() + 4 > words.len() * 8);
        }
    }
}
