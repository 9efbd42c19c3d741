//! Who the connections are, for whoever reads the board when their process is dead.

use super::layout::{PEOPLE, PERSON_WORDS, person};
use super::{Board, text};
use crate::identity::Identity;
use crate::sync::{AtomicU64, Ordering, fence};

/// A connection's row on the board, until it is dropped.
#[derive(Debug)]
pub(crate) struct Person {
    row: &'static [AtomicU64],
}

impl Person {
    /// A row for the compartment with this key. `None` when the board dies with the process, or has none left.
    pub(crate) fn new(key: u64) -> Option<Self> {
        let rows = Board::people()?;
        let rows = rows.as_chunks::<PERSON_WORDS>().0;
        let first = usize::try_from(key % PEOPLE as u64).ok()?;
        let mut near = (0..person::TRIES).map(|step| &rows[(first + step) % rows.len()]);
        let row = near.find(|row| {
            row[person::KEY].compare_exchange(0, key, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })?;
        Some(Self { row })
    }

    /// Writes down who it is. For one caller at a time.
    pub(crate) fn show(&self, session: Option<&str>, identity: Option<&Identity>) {
        let version = self.row[person::VERSION].load(Ordering::Relaxed);
        self.row[person::VERSION].store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let session = session.unwrap_or_default();
        let kept = text::store(&self.row[person::SESSION..][..person::SESSION_WORDS], session);
        let identity = identity.map(Identity::to_data).unwrap_or_default();
        let known = text::store(&self.row[person::IDENTITY..][..person::IDENTITY_WORDS], &identity);
        let form = [kept as u8, known as u8, u8::from(kept < session.len()), 0, 0, 0, 0, 0];
        self.row[person::FORM].store(u64::from_le_bytes(form), Ordering::Relaxed);
        self.row[person::IDENTITY_HASH].store(hash_of(&identity), Ordering::Relaxed);
        self.row[person::VERSION].store(version.wrapping_add(2), Ordering::Release);
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.row[person::FORM].store(0, Ordering::Relaxed);
        self.row[person::IDENTITY_HASH].store(0, Ordering::Relaxed);
        self.row[person::KEY].store(0, Ordering::Release);
    }
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
