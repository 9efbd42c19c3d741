//! The board of a dead process, which may have written anything there.

use std::io;
use std::time::Duration;

use watertight::flight::{Memory, Record, WORDS};
use watertight::{Death, Exit};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "board",
    check,
    words: &[
        "WTBOARD\0",
        "\0\0\0\0\0\0\0\0",
        "\x01\0\0\0\0\0\0\0",
        "\x02\0\0\0\0\0\0\0",
        "\x07\0\0\0\0\0\0\0",
        "\x01\0\0\0\x01\0\0\0",
        "\0\x05\x05\0\0\0\0\0",
        "\x10\x7f\x01\0\0\0\0\0",
        "user:eve",
        "/lab\0fi",
        "é",
    ],
    // What the parent may use all in all.
    memory: 5 * 1024 * 1024,
};

/// The words of a board's header, as version 2 has them.
const HEADER: usize = 64;
const MAGIC: u64 = u64::from_le_bytes(*b"WTBOARD\0");
const VERSION: u64 = 2;
const USED: usize = 11;
const CRASH: usize = 16;

/// As many words as a board has, all from the input, again and again.
struct Board {
    header: [u64; HEADER],
    body: Vec<u64>,
    length: usize,
}

impl Memory for Board {
    fn read(&self, word: usize, into: &mut [u64]) -> io::Result<()> {
        if word.checked_add(into.len()).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let body = self.body.iter().cycle().skip(word.saturating_sub(HEADER) % self.body.len());
        let words = self.header.iter().skip(word).chain(body);
        into.iter_mut().zip(words).for_each(|(into, word)| *into = *word);
        Ok(())
    }
}

/// Whatever stands there: it can be read or not, within the time and the memory that a parent has, and what it says of the
/// dead has bounds and can be written down.
fn check(bytes: &[u8]) {
    let [shape, bytes @ ..] = bytes else { return };
    let words: Vec<_> = bytes.as_chunks::<8>().0.iter().copied().map(u64::from_le_bytes).collect();
    if shape % 4 == 0 {
        // Anything at all, of any length.
        judge(Record::read(&words[..]).ok());
        return;
    }
    let [slots, activities, people, cut, mark, rest @ ..] = &words[..] else { return };
    let size = |word: &u64, most: u64| word % most + 1;
    let sizes = [size(slots, 96), 64, size(activities, 64), 16, size(people, 96), 16];
    let mut header = [0; HEADER];
    (header[0], header[1]) = (MAGIC, VERSION);
    header[2..8].copy_from_slice(&sizes);
    header[USED] = u64::MAX;
    // A complete mark of a thread, or none.
    header[CRASH..CRASH + 7].copy_from_slice(&[mark % 3, *mark >> 2, 11, mark % 5, 0, 0, 0]);
    let body = if rest.is_empty() { vec![*cut] } else { rest.to_vec() };
    let whole = HEADER + sizes.chunks(2).map(|of| (of[0] * of[1]) as usize).sum::<usize>();
    let is_cut = shape % 4 == 1;
    let length = if is_cut { *cut as usize % whole } else { whole };
    let board = Board { header, body, length };
    let record = Record::read(&board);
    assert!(is_cut || record.is_ok(), "a sound header with anything behind it is a board: {record:?}");
    assert!(whole <= WORDS);
    judge(record.ok());
}

fn judge(record: Option<Record>) {
    let threads = record.iter().flat_map(|record| &record.threads);
    let (threads, lines) =
        threads.fold((0, 0), |(threads, lines), thread| (threads + 1, lines + thread.last.len()));
    assert!(threads <= 1025 && lines <= 2048 + 16, "{threads} threads, {lines} lines");
    let mut exit = Exit::now(Duration::from_secs(1));
    exit.signal = Some("SIGSEGV".to_owned());
    for wedged in [false, true] {
        exit.wedged = wedged.then_some(std::time::Duration::from_secs(10));
        let death = Death::new(exit.clone(), record.as_ref());
        assert!(death.culprits.len() <= 64 && death.last.len() <= 16);
        assert!(death.culprit().is_none() || death.culprits.len() == 1);
        assert!(!death.to_string().is_empty());
        let text = serde_json::to_string(&death).expect("it can be written down");
        // A line of the journal.
        assert!(text.len() < 256 * 1024, "{} bytes", text.len());
    }
}
