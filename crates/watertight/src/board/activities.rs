//! What activities are called, for whoever reads the board when their process is dead.

use super::layout::{ACTIVITY_WORDS, activity};
use super::{Board, text};
use crate::activity::ActivityKind;
use crate::sync::{AtomicU64, Ordering, fence};

/// Writes down what the number stands for. An earlier activity with the same row, which nobody uses any more, loses its
/// name. For one caller at a time.
pub(crate) fn write(number: u32, kind: ActivityKind, namespace: &str, name: &str) {
    if number == 0 {
        return;
    }
    if let Some(rows) = Board::activities() {
        write_row(row_of(rows, number), number, kind, namespace, name);
    }
}

fn row_of(rows: &'static [AtomicU64], number: u32) -> &'static [AtomicU64] {
    let at = crate::activity::row_of(number) as usize * ACTIVITY_WORDS;
    &rows[at..at + ACTIVITY_WORDS]
}

fn write_row(row: &[AtomicU64], number: u32, kind: ActivityKind, namespace: &str, name: &str) {
    row[activity::NUMBER].store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    let kept = &namespace[..namespace.floor_char_boundary(activity::NAMESPACE_BYTES)];
    let both = format!("{kept}{name}");
    let length = text::store(&row[activity::TEXT..], &both) - kept.len();
    let cut = kept.len() < namespace.len() || length < name.len();
    let form = [kind.number(), kept.len() as u8, length as u8, u8::from(cut), 0, 0, 0, 0];
    row[activity::FORM].store(u64::from_le_bytes(form), Ordering::Relaxed);
    row[activity::NUMBER].store(u64::from(number), Ordering::Release);
}
