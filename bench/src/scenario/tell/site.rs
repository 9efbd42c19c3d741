//! Where panics happen, and what makes them.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::client::Client;

/// Where a panic happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Site {
    pub(super) name: &'static str,
    #[serde(skip)]
    pub(super) way: Way,
}

/// What makes it panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The event of that name.
    Event,
    /// Entering a namespace: of the lab, and of the bench's bare server.
    Enter { lab: &'static str, bench: &'static str },
    /// The next thing that the transport reads: after the event that arms it there.
    Transport,
}

const fn event(name: &'static str) -> Site {
    Site { name, way: Way::Event }
}

/// The first is measured when there is little time.
pub(super) const SITES: [Site; 11] = [
    event("panic_async"),
    event("panic_async0"),
    event("panic_sync"),
    event("panic_spawned"),
    event("panic_extract"),
    event("panic_ack"),
    event("panic_drop"),
    event("panic_fallback"),
    Site { name: "connect", way: Way::Enter { lab: "/lab_bad_connect", bench: "/bad_connect" } },
    Site { name: "middleware", way: Way::Enter { lab: "/lab_bad_middleware", bench: "/bad_middleware" } },
    Site { name: "transport", way: Way::Transport },
];

impl Site {
    /// For a chart.
    pub(super) fn short(self) -> &'static str {
        self.name.strip_prefix("panic_").unwrap_or(self.name)
    }
}

/// Has the transport panic at the next thing that it reads of this client, by the event `arm`.
pub(super) async fn arm_transport(client: &mut Client, arm: &str) -> Result<()> {
    let address = client.address()?.map(|address| address.to_string());
    client.ask(arm, &json!(address)).await.map(|_| ())
}
