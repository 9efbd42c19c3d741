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
use crate::seals::Seals;

#[expect(clippy::duplicate_mod, reason = "what is around it says on what the handlers run")]
#[path = "handlers.rs"]
mod handlers;

/// What is let pass.
pub(crate) struct Patience {
    pub(crate) forgive: bool,
    pub(crate) lenient: bool,
}

pub(crate) async fn serve(
    port: u16,
    allocated: Option<Allocated>,
    faults: Option<TransportFaults>,
    patience: Patience,
) -> Result<()> {
    let Patience { forgive, lenient } = patience;
    let (judge, seals) = (Judge::default(), Seals::default());
    let mut builder = Watertight::builder().sink(judge.clone()).sink(seals.clone());
    if forgive {
        // Whatever would end a client that panics again and again.
        builder = builder
            .policy(StandardPolicy::new().fail_event("/", "*").fail_event_limit(u32::MAX))
            .conduct(ConductSettings::new().enabled(false));
    }
    if forgive || lenient {
        builder = builder
            .quarantine(QuarantineSettings::new().enabled(false))
            .breakers(BreakerSettings::new().enabled(false));
    }
    builder.install()?;
    let (layer, io) = SocketIo::new_layer();
    handlers::open(&io, faults.as_ref());
    let sockets = move || io.sockets().len();
    let judged = move || {
        let mut judged = judge.so_far();
        judged["sealed_after_us"] = seals.so_far().into();
        judged
    };
    let app = crate::stats(allocated, sockets, judged).layer(layer);
    let listener = crate::listen(port).await?;
    let Some(faults) = faults else {
        return crate::until_stopped(async { watertight_axum::serve(listener, app).await }).await;
    };
    let app = crate::failing(app, &faults);
    let listener = FaultyListener::new(listener, faults);
    crate::until_stopped(async { watertight_axum::serve(listener, app).await }).await
}
