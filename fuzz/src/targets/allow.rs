//! Who is never quarantined.

use watertight::AllowEntry;

use super::{ADDRESSES, MEMORY, Target, text};

pub(super) const TARGET: Target = Target { name: "allow", check, words: ADDRESSES, memory: MEMORY };

/// Every text is an entry, and an entry that is written comes back as it was.
fn check(bytes: &[u8]) {
    let Ok(entry) = text(bytes).parse::<AllowEntry>();
    let Ok(again) = entry.to_string().parse::<AllowEntry>();
    assert_eq!(again, entry);
    let json = serde_json::to_string(&entry).expect("an entry is a text");
    assert_eq!(serde_json::from_str::<AllowEntry>(&json).expect("it was written so"), entry);
}
