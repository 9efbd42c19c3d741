//! The namespace `/admin`, for operators.
//!
//! | event | payload | answer beside `ok` |
//! |---|---|---|
//! | `list` | `{after?, limit?}` or nothing | `sockets, total`, sorted by id; `after` continues behind an id |
//! | `kick` | `{id, reason?}` | `id` |
//! | `mark` | `{id, reason?}` | `id` |
//! | `incidents` | `{limit?}` or nothing | `incidents`, latest first; `recovering` |
//! | `quarantine` | `{identity, ms, reason?}` | `identity, incident, retryAfterMs`; disconnects it too |
//! | `lift` | `{identity}` | `identity` |
//! | `quarantined` | nothing | `quarantined`, the one that ends soonest first |
//! | `breakers` | nothing | `breakers`: what is not switched on |
//! | `reset_breaker` | `{namespace, event}` | `namespace, event` |
//! | `announce` | `{text, room?}` | nothing; players get `announcement {text, room?}` |
//!
//! An `identity` is an address or a name such as `user:42`; a name that looks like an address has `name:` in front.
//! The `event` of a breaker is an event's name, or `connect`, `middleware` or `fallback`.
//!
//! Who may enter is decided by [`admission`].

pub mod admission;
mod discipline;
mod events;

use tracing::info;
use watertight_socketioxide::{
    extract::{SocketRef, State},
    socket::DisconnectReason,
};

use crate::{
    Shared,
    namespaces::{enter, ordered, peer, unknown_event},
};

/// Path of the namespace.
pub const NAMESPACE: &str = "/admin";

/// Connect handler of the namespace; comes after [`admission::admit`].
pub async fn connect(socket: SocketRef, State(shared): State<Shared>) {
    socket.on("list", ordered(events::list));
    socket.on("kick", ordered(events::kick));
    socket.on("mark", ordered(events::mark));
    socket.on("incidents", ordered(events::incidents));
    socket.on("quarantine", ordered(discipline::quarantine));
    socket.on("lift", ordered(discipline::lift));
    socket.on("quarantined", ordered(discipline::quarantined));
    socket.on("breakers", ordered(discipline::breakers));
    socket.on("reset_breaker", ordered(discipline::reset_breaker));
    socket.on("announce", ordered(events::announce));
    socket.on_fallback(unknown_event);
    socket.on_disconnect(disconnect);
    if enter(&socket, &shared) {
        info!(socket_id = %socket.id, peer = ?peer(&socket), "an operator has connected");
    }
}

async fn disconnect(socket: SocketRef, reason: DisconnectReason, State(shared): State<Shared>) {
    info!(socket_id = %socket.id, ?reason, "an operator has disconnected");
    shared.connections.disconnected(socket.id.as_str(), NAMESPACE);
}
