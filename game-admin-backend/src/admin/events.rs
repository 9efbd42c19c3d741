//! The events of operators.

use std::sync::Arc;

use garde::Validate;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};
use watertight::Incident;

use crate::{
    managers::{DisconnectError, connection::ConnectionInfo},
    namespaces::Call,
    payload::{one_line, optional_room_name},
    players,
    reply::{Code, Failure, Nothing},
};

/// Payload of `list`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct List {
    #[garde(length(chars, min = 1, max = 64))]
    #[serde(default)]
    after: Option<String>,
    #[garde(range(min = 1, max = 1000))]
    #[serde(default)]
    limit: Option<usize>,
}

/// Payload of `kick` and `mark`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Target {
    #[garde(length(chars, min = 1, max = 64))]
    id: String,
    #[garde(length(chars, min = 1, max = 200), custom(one_line))]
    #[serde(default)]
    reason: Option<String>,
}

/// Payload of `announce`, and what players get.
#[derive(Debug, Deserialize, Serialize, Validate)]
pub(super) struct Announcement {
    #[garde(length(chars, min = 1, max = 2000))]
    text: String,
    #[garde(custom(optional_room_name))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<String>,
}

/// Answer to `list`.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    sockets: Vec<ConnectionInfo>,
    total: usize,
}

/// Payload of `incidents`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Incidents {
    #[garde(range(min = 1, max = 1000))]
    #[serde(default)]
    limit: Option<usize>,
}

/// Answer to `incidents`.
#[derive(Debug, Serialize)]
pub(super) struct IncidentListing {
    incidents: Vec<Arc<Incident>>,
    recovering: bool,
}

/// Answer to `kick` and `mark`.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    id: String,
}

pub(super) async fn list(mut call: Call) -> Result<Listing, Failure> {
    let List { after, limit } = call.read_optional()?;
    let sockets = call.shared.connections.page(after.as_deref(), limit.unwrap_or(1000));
    Ok(Listing { sockets, total: call.shared.connections.count() })
}

pub(super) async fn incidents(mut call: Call) -> Result<IncidentListing, Failure> {
    let Incidents { limit } = call.read_optional()?;
    let mut incidents = call.shared.incidents.latest();
    incidents.truncate(limit.unwrap_or(100));
    Ok(IncidentListing { incidents, recovering: watertight::ensure_installed().is_recovering() })
}

pub(super) async fn kick(mut call: Call) -> Result<Done, Failure> {
    let Target { id, reason } = call.read()?;
    let reason = reason.as_deref().unwrap_or("kicked by an operator");
    info!(operator = %call.socket.id, socket_id = id, reason, "an operator kicks a socket");
    call.shared.connections.kick(&id, reason).map_err(failure)?;
    Ok(Done { id })
}

pub(super) async fn mark(mut call: Call) -> Result<Done, Failure> {
    let Target { id, reason } = call.read()?;
    let reason = reason.as_deref().unwrap_or("marked by an operator");
    info!(operator = %call.socket.id, socket_id = id, reason, "an operator marks a socket as problematic");
    call.shared.connections.mark_problematic_socket(&id, reason).map_err(failure)?;
    Ok(Done { id })
}

pub(super) async fn announce(mut call: Call) -> Result<Nothing, Failure> {
    let announcement: Announcement = call.read()?;
    info!(operator = %call.socket.id, room = announcement.room, "an operator makes an announcement");
    let players = call
        .io
        .of(players::NAMESPACE)
        .ok_or_else(|| Failure::new(Code::Internal, "there are no players on this server"))?;
    let players = match &announcement.room {
        Some(room) => players.within(room.clone()),
        None => players,
    };
    if let Err(error) = players.emit("announcement", &announcement).await {
        debug!(%error, "an announcement did not reach every player");
    }
    Ok(Nothing {})
}

fn failure(error: DisconnectError) -> Failure {
    let message = error.to_string();
    match error {
        DisconnectError::NotConnected { .. } => Failure::new(Code::NotFound, message).in_field("id"),
        DisconnectError::Stuck { .. } => Failure::new(Code::Internal, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use serde_json::json;

    #[test]
    fn a_page_is_bounded() {
        for (payload, right) in [
            (json!({}), true),
            (json!({"limit": 1000, "after": "x"}), true),
            (json!({"limit": 1001}), false),
            (json!({"limit": 0}), false),
            (json!({"limit": -1}), false),
        ] {
            assert_eq!(payload::read::<List, String>(Ok(payload.clone())).is_ok(), right, "{payload}");
        }
    }

    #[test]
    fn a_target_has_an_id_and_a_reason_of_one_line() {
        for (payload, right) in [
            (json!({"id": "a"}), true),
            (json!({"id": "a", "reason": "spam"}), true),
            (json!({}), false),
            (json!({"id": ""}), false),
            (json!({"id": 7}), false),
            (json!({"id": "a", "reason": "spam\nINFO all is well"}), false),
            (json!({"id": "a", "reason": "x".repeat(201)}), false),
        ] {
            assert_eq!(payload::read::<Target, String>(Ok(payload.clone())).is_ok(), right, "{payload}");
        }
    }

    #[test]
    fn an_announcement_goes_to_one_room_or_to_all() {
        for (payload, right) in [
            (json!({"text": "restart at noon"}), true),
            (json!({"text": "restart at noon", "room": "lobby"}), true),
            (json!({"text": "restart at noon", "room": "no such name"}), false),
            (json!({"text": ""}), false),
        ] {
            assert_eq!(
                payload::read::<Announcement, String>(Ok(payload.clone())).is_ok(),
                right,
                "{payload}"
            );
        }
    }
}
