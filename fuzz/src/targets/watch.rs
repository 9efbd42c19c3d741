//! The watch for a notice's id among the bytes that a connection sends.

use watertight::IncidentId;
use watertight_axum::fuzzing::times_told;

use super::{MEMORY, Target};

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

pub(super) const TARGET: Target = Target {
    name: "watch",
    check,
    words: &[
        ID,
        "01ARZ3NDEKTSV",
        "4RRFFQ69G5FAV",
        "01ARZ3NDEKTSV4RRFFQ69G5FA",
        "V",
        "0",
        "01ARZ3NDEKTSV4RRFFQ69G5FAW",
        "\0",
        "\u{1}",
    ],
    memory: MEMORY,
};

/// However the bytes are split into pieces, the id is found as often as it stands in them; and counts once it is flushed.
fn check(bytes: &[u8]) {
    let id: IncidentId = ID.parse().expect("an id");
    let expected = bytes.windows(ID.len()).filter(|window| *window == ID.as_bytes()).count();
    // Pieces of one size, and pieces whose sizes are the bytes themselves.
    let first = usize::from(bytes.first().copied().unwrap_or(1)) % 64 + 1;
    for size in [Some(1), Some(25), Some(26), Some(first), None] {
        let mut rest = bytes;
        let pieces = std::iter::from_fn(|| {
            let first = *rest.first()?;
            let size = size.unwrap_or_else(|| usize::from(first) % 32).max(1);
            let (piece, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            Some([piece, &[]])
        });
        assert_eq!(times_told(id, pieces.flatten()), (0, expected));
    }
}
