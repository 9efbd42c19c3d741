//! On Watertight, as a library is used.

use anyhow::Result;
use watertight::spawn;
use watertight::{BreakerSettings, ConductSettings, QuarantineSettings, StandardPolicy, Watertight};
use watertight_faults::{FaultyListener, TransportFaults};
use watertight_socketioxide::extract::{AckSender, Data, Event, SocketRef};
use watertight_socketioxide::handler::ConnectHandler;
use watertight_socketioxide::{SocketIo, TransportType};

use crate::Allocated;
use crate::judge::Judge;

#[allow(clippy::duplicate_mod, reason = "on purpose: written once, on what is around it")]
#[path = "handlers.rs"]
mod handlers;

pub(crate) async fn serve(
    port: u16,
    allocated: Option<Allocated>,
    faults: Option<TransportFaults>,
    forgive: bool,
) -> Result<()> {
    let judge = Judge::default();
    let mut builder = Watertight::builder().sink(judge.clone());
    if forgive {
        // Whatever would end a client that panics again and again.
        builder = builder
            .policy(StandardPolicy::new().fail_event("/", "*").fail_event_limit(u32::MAX))
            .conduct(ConductSettings::new().enabled(false))
            .quarantine(QuarantineSettings::new().enabled(false))
            .breakers(BreakerSettings::new().enabled(false));
    }
    builder.install()?;
    let (layer, io) = SocketIo::new_layer();
    handlers::open(&io, faults.as_ref());
    let sockets = move || io.sockets().len();
    let app = crate::stats(allocated, sockets, move || judge.so_far()).layer(layer);
    let listener = crate::listen(port).await?;
    let Some(faults) = faults else {
        return crate::until_stopped(async { watertight_axum::serve(listener, app).await }).await;
    };
    let app = crate::failing(app, &faults);
    let listener = FaultyListener::new(listener, faults);
    crate::until_stopped(async { watertight_axum::serve(listener, app).await }).await
}
