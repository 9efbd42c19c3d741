//! On socketioxide and axum as they are.

use anyhow::Result;
use socketioxide::extract::{AckSender, Data, Event, SocketRef};
use socketioxide::{SocketIo, TransportType, handler::ConnectHandler};
use tokio::spawn;
use watertight_faults::{FaultyListener, TransportFaults};

use crate::Allocated;

#[expect(clippy::duplicate_mod, reason = "what is around it says on what the handlers run")]
#[path = "handlers.rs"]
mod handlers;

pub(crate) async fn serve(
    port: u16,
    allocated: Option<Allocated>,
    faults: Option<TransportFaults>,
) -> Result<()> {
    let (layer, io) = SocketIo::new_layer();
    handlers::open(&io, faults.as_ref());
    let sockets = move || io.sockets().len();
    let app = crate::stats(allocated, sockets, || serde_json::Value::Null).layer(layer);
    // So that both send small frames at once.
    let listener = axum::serve::ListenerExt::tap_io(crate::listen(port).await?, |tcp| {
        _ = tcp.set_nodelay(true);
    });
    let Some(faults) = faults else {
        return crate::until_stopped(async { axum::serve(listener, app).await }).await;
    };
    let app = crate::failing(app, &faults);
    let listener = FaultyListener::new(listener, faults);
    crate::until_stopped(async { axum::serve(listener, app).await }).await
}
