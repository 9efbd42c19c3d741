//! Making new inputs from those there are.

use fastrand::Rng;

/// The longest input, in bytes.
pub(crate) const MAX_LEN: usize = 4096;

/// A new input: one of the corpus, changed in a few places.
pub(crate) fn mutated(corpus: &[Vec<u8>], words: &[&str], random: &mut Rng) -> Vec<u8> {
    let mut input = random.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..6) {
        change(&mut input, corpus, words, random);
    }
    input.truncate(MAX_LEN);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Rng) {
    let at = random.usize(..=input.len());
    match random.u8(..8) {
        // Words twice as often as anything else: they lead further than bytes.
        0 | 1 => insert(input, at, random.choice(words).unwrap_or(&"").as_bytes()),
        2 => insert(input, at, &[random.u8(..)]),
        3 => insert(input, at, random.char(..).encode_utf8(&mut [0; 4]).as_bytes()),
        4 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        5 => {
            let end = random.usize(at..=input.len());
            input.drain(at..end);
        }
        6 => {
            let end = random.usize(at..=input.len());
            let copy = input[at..end].to_vec();
            insert(input, at, &copy);
        }
        7 => {
            let other = random.choice(corpus).cloned().unwrap_or_default();
            input.truncate(at);
            input.extend_from_slice(&other[random.usize(..=other.len())..]);
        }
        _ => {}
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
