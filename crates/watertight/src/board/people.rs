//! Who the connections are, for whoever reads the board when their process is dead.

use super::layout::{PERSON_WORDS, header, person};
use super::{Board, text};
use crate::identity::Identity;
use crate::sync::{AtomicU64, Ordering, fence};

/// A connection's row on the board, until it is dropped.
#[derive(Debug)]
pub(crate) enum Person {
    Row(&'static [AtomicU64]),
    /// There was none left. How many such there are is on the board: any of them may share an address with anybody.
    Nameless(&'static AtomicU64),
}

impl Person {
    /// A row for the compartment with this key. `None` when the board dies with the process.
    pub(crate) fn new(key: u64) -> Option<Self> {
        let board = Board::recorded()?;
        Some(Self::on(board.people, &board.header[header::NAMELESS], key))
    }

    fn on(rows: &'static [AtomicU64], nameless: &'static AtomicU64, key: u64) -> Self {
        let rows = rows.as_chunks::<PERSON_WORDS>().0;
        let free =
            (0..person::TRIES).map(|attempt| &rows[scattered(key, attempt) % rows.len()]).find(|row| {
                row[person::KEY].compare_exchange(0, key, Ordering::Acquire, Ordering::Relaxed).is_ok()
            });
        free.map_or_else(
            || {
                nameless.fetch_add(1, Ordering::Relaxed);
                Self::Nameless(nameless)
            },
            |row| Self::Row(row),
        )
    }

    /// Writes down who it is, and from which address it comes where that says something. For one caller at a time.
    pub(crate) fn show(
        &self,
        session: Option<&str>,
        identity: Option<&Identity>,
        address: Option<&Identity>,
    ) {
        let Self::Row(row) = self else { return };
        let identity = identity.map(Identity::to_data).unwrap_or_default();
        let address = address.map(Identity::to_data).unwrap_or_default();
        let version = row[person::VERSION].load(Ordering::Relaxed);
        row[person::VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let session = session.unwrap_or_default();
        let kept = text::store(&row[person::SESSION..][..person::SESSION_WORDS], session);
        let known = text::store(&row[person::IDENTITY..][..person::IDENTITY_WORDS], &identity);
        let [a, b, c, d, ..] = hash_of(&identity).to_le_bytes();
        let form = [kept as u8, known as u8, u8::from(kept < session.len()), 0, a, b, c, d];
        row[person::FORM].store(u64::from_le_bytes(form), Ordering::Relaxed);
        row[person::ADDRESS_HASH].store(hash_of(&address), Ordering::Relaxed);
        row[person::VERSION].store(version.wrapping_add(2), Ordering::Release);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        match self {
            Self::Row(row) => {
                row[person::FORM].store(0, Ordering::Relaxed);
                row[person::ADDRESS_HASH].store(0, Ordering::Relaxed);
                row[person::KEY].store(0, Ordering::Release);
            }
            Self::Nameless(count) => {
                count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Another number for each key and attempt, spread over all: keys are given one after another, and connections that
/// came together and stay would leave the rows beside them to nobody.
fn scattered(key: u64, attempt: u64) -> usize {
    // The finaliser of SplitMix64.
    let mut mixed = key.wrapping_mul(person::TRIES).wrapping_add(attempt);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize
}

/// The same for equal identities, in every build; 0 for none.
pub(crate) fn hash_of(identity: &str) -> u64 {
    use std::hash::Hasher;

    if identity.is_empty() {
        return 0;
    }
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(identity.as_bytes());
    hasher.finish().max(1)
}

#[cfg(all(test, not(watertight_loom)))]
mod tests {
    use super::*;

    fn zeros(words: usize) -> &'static [AtomicU64] {
        (0..words).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak()
    }

    /// Keys that follow each other had rows that follow each other: with 5,000 that stay, thousands in a row had none as
    /// soon as the keys had gone around.
    #[test]
    fn those_who_stay_leave_room_for_those_who_come() {
        const ROWS: u64 = 4096;
        let (rows, nameless) = (zeros(ROWS as usize * PERSON_WORDS), &zeros(1)[0]);
        let stay: Vec<_> = (0..ROWS / 2).map(|n| Person::on(rows, nameless, 1 + n)).collect();
        let come: Vec<_> = (0..ROWS / 4).map(|n| Person::on(rows, nameless, 1 + ROWS + n)).collect();
        assert_eq!(nameless.load(Ordering::Relaxed), 0, "a quarter is still free");
        drop((stay, come));
        assert!(rows.iter().all(|word| word.load(Ordering::Relaxed) == 0), "nobody is left");
    }

    #[test]
    fn whoever_finds_no_row_is_counted_while_there() {
        let (rows, nameless) = (zeros(2 * PERSON_WORDS), &zeros(1)[0]);
        let all: Vec<_> = (1..=5).map(|key| Person::on(rows, nameless, key)).collect();
        let (named, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| matches!(one, Person::Row(_)));
        assert!(!named.is_empty() && rest.len() >= 3);
        assert_eq!(nameless.load(Ordering::Relaxed), rest.len() as u64);
        drop(rest);
        assert_eq!(nameless.load(Ordering::Relaxed), 0);
    }
}
