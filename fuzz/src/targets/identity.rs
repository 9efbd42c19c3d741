//! Identities as data.

use watertight::Identity;

use super::{ADDRESSES, MEMORY, Target, text};

pub(super) const TARGET: Target = Target { name: "identity", check, words: ADDRESSES, memory: MEMORY };

/// Every text is an identity, and one that is written comes back as it was: also the name that any text is.
fn check(bytes: &[u8]) {
    let text = text(bytes);
    let Ok(identity) = text.parse::<Identity>();
    comes_back(&identity);
    comes_back(&Identity::Named(text.into_owned()));
    if let Identity::Address(address) = identity {
        assert_eq!(Identity::of_address(address), identity, "an identity is its own");
    }
}

fn comes_back(identity: &Identity) {
    let json = serde_json::to_string(identity).expect("an identity is a text");
    assert_eq!(&serde_json::from_str::<Identity>(&json).expect("it was written so"), identity);
}
