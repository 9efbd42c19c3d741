//! On socketioxide and axum as they are.

use anyhow::Result;
use socketioxide::extract::{AckSender, Data, Event, SocketRef};
use socketioxide::{SocketIo, handler::ConnectHandler};
use tokio::spawn;

use crate::Allocated;

#[expect(clippy::duplicate_mod, reason = "what is around it says on what the handlers run")]
#[path = "handlers.rs"]
mod handlers;

pub(crate) async fn serve(port: u16, allocated: Option<Allocated>) -> Result<()> {
    let (layer, io) = SocketIo::new_layer();
    handlers::open(&io);
    let sockets = move || io.sockets().len();
    let app = crate::stats(allocated, sockets, || serde_json::Value::Null).layer(layer);
    // So that both send small frames at once.
    let listener = axum::serve::ListenerExt::tap_io(crate::listen(port).await?, |tcp| {
        _ = tcp.set_nodelay(true);
    });
    crate::until_stopped(async { axum::serve(listener, app).await }).await
}
