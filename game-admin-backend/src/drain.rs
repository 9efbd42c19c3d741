//! The end of all connections, when the server stops.

use std::time::Duration;

use serde_json::json;
use socketioxide::SocketIo;
use tracing::debug;

/// Tells every client `shutdown {message, retryAfterMs}` and closes every connection.
///
/// Takes as long as the connections take to close; the caller sets the bound.
pub async fn drain(io: &SocketIo, retry_after: Duration) {
    let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    let notice = json!({ "message": "the server is shutting down", "retryAfterMs": retry_after_ms });
    for namespace in io.nsps() {
        let path = namespace.ns_path().to_owned();
        if let Err(error) = namespace.emit("shutdown", &notice).await {
            debug!(namespace = path, %error, "not every client could be told of the shutdown");
        }
    }
    io.close().await;
}
