//! Where panics happen, and what the client of one does for it.

use crate::client::Transport;

/// Where a panic happens, by the name that its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) name: &'static str,
    /// For a reader.
    pub(super) told: &'static str,
    pub(super) way: Way,
}

/// What makes it panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// An event of that name, whose client stays; and whether its answer says that it failed.
    Event { answered: bool },
    /// Entering that namespace.
    Enter(&'static str),
    /// Leaving.
    Leave,
    /// Anything that the server reads of it.
    Transport,
}

const ANSWERED: Way = Way::Event { answered: true };

pub(super) const SITES: [Site; 12] = [
    Site { name: "panic_sync", told: "handler, before its future", way: ANSWERED },
    Site { name: "panic_async0", told: "handler, before its first await", way: ANSWERED },
    Site { name: "panic_async", told: "handler, after an await", way: ANSWERED },
    // The handler itself ends well.
    Site { name: "panic_spawned", told: "child task", way: Way::Event { answered: false } },
    Site { name: "panic_extract", told: "extractor", way: ANSWERED },
    Site { name: "panic_ack", told: "after its client's answer", way: ANSWERED },
    Site { name: "panic_drop", told: "destructor", way: ANSWERED },
    Site { name: "panic_fallback", told: "fallback handler", way: ANSWERED },
    Site { name: "connect", told: "connect handler", way: Way::Enter("/bad_connect") },
    Site { name: "middleware", told: "middleware", way: Way::Enter("/bad_middleware") },
    Site { name: "disconnect", told: "disconnect handler", way: Way::Leave },
    Site { name: "transport", told: "the engine's own task", way: Way::Transport },
];

impl Site {
    /// Whether its client can panic again over the same connection.
    pub(super) fn stays(self) -> bool {
        matches!(self.way, Way::Event { .. })
    }
}

/// A site and a transport, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) usize, pub(super) Transport);

impl Place {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of = |site| Transport::ALL.into_iter().map(move |transport| Self(site, transport));
        (0..SITES.len()).flat_map(of)
    }

    pub(super) fn site(self) -> Site {
        SITES[self.0]
    }

    /// As the text of its panic says it.
    pub(super) fn text(self) -> String {
        format!("{} over {}", self.site().name, self.1)
    }
}
