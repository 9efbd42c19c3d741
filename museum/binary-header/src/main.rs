//! socketioxide 0.14.0 (#357, fixed in 0.14.1): the header of a binary packet is read until its dash, also beyond its end,
//! by the task that reads the connection. It never gives its thread back.

use std::process::ExitCode;

use watertight_museum::{
    Client, Exhibit, Expect, Fate, Message, PLENTY_MIB, Parser, Probe, Result, Router, Scene, Setting,
};
use watertight_museum::{Stage, THREADS, echo_sync, sockets_route, together};

/// A message, which is a binary event, and nothing more.
const NO_DASH: &str = "45";

/// Whether one held thread freezes the bare server is luck: the one that is left may be asleep while the held one was to
/// watch the connections for both.
const ROUNDS: usize = 5;

const EXHIBIT: Exhibit = Exhibit {
    name: "binary-header",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide"],
    scenes: &[
        Scene {
            name: "one",
            title: "One client; the server has two threads",
            parser: Parser::Common,
            rounds: ROUNDS,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| Box::pin(together(stage, 1, join, send)),
            expect: &[
                (Setting::Bare, &[Expect::ThreadsSpin(1), Expect::OffenderGetsNoAnswer]),
                (
                    Setting::Protected,
                    &[Expect::ThreadsSpin(1), Expect::OffenderGetsNoAnswer, Expect::OthersAreUnharmed],
                ),
            ],
        },
        Scene {
            name: "all",
            title: "Two clients; the server has two threads",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| Box::pin(together(stage, THREADS, join, send)),
            // On the bare server the first of them can freeze it before the second is read.
            expect: &[
                (
                    Setting::Bare,
                    &[Expect::ThreadsSpin(1), Expect::OffenderGetsNoAnswer, Expect::OthersAreFrozen],
                ),
                (
                    Setting::Protected,
                    &[Expect::ThreadsSpin(2), Expect::OffenderGetsNoAnswer, Expect::OthersAreFrozen],
                ),
                (
                    Setting::Supervised,
                    &[Expect::WorkerDiesOf("did not answer"), Expect::OthersAreBackWithin(3000.0)],
                ),
            ],
        },
    ],
};

async fn join(stage: Stage) -> Result<Client> {
    Client::join(stage.server, stage.parser).await
}

async fn send(stage: Stage, mut client: Client) -> Result<Fate> {
    client.send(Message::text(NO_DASH)).await?;
    Ok(client.watch(&stage, Probe::Echo).await)
}

fn app(_: Setting) -> Router {
    let (layer, io) = socketioxide::SocketIo::new_layer();
    echo_sync!(socketioxide, io);
    sockets_route(move || io.sockets().map_or(0, |sockets| sockets.len())).layer(layer)
}

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
