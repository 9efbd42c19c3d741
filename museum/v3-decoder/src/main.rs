//! engineioxide before 0.17.4, with the old protocol (feature `v4`): the decoder of binary payloads waits in a circle for the
//! rest of a packet that is shorter than it says (#739). It never gives its thread back.

use std::process::ExitCode;

use watertight_museum::{
    Exhibit, Expect, PLENTY_MIB, Parser, Result, Router, Scene, Setting, Stage, THREADS,
};
use watertight_museum::{Fate, echo, http, sockets_route, together};

/// A text packet of nine bytes, of which there is one.
const SHORT: &[u8] = b"\x00\x09\xff4";

/// Whether one held thread freezes the bare server is luck: the one that is left may be asleep while the held one was to
/// watch the connections for both.
const ROUNDS: usize = 5;

const EXHIBIT: Exhibit = Exhibit {
    name: "v3-decoder",
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
            offend: |stage| Box::pin(together(stage, 1, open, post)),
            expect: &[
                (Setting::Bare, &[Expect::ThreadsSpin(1), Expect::OffenderWaits]),
                (
                    Setting::Protected,
                    &[Expect::ThreadsSpin(1), Expect::OffenderWaits, Expect::OthersAreUnharmed],
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
            offend: |stage| Box::pin(together(stage, THREADS, open, post)),
            // On the bare server the first of them can freeze it before the second is read.
            expect: &[
                (Setting::Bare, &[Expect::ThreadsSpin(1), Expect::OffenderWaits, Expect::OthersAreFrozen]),
                (
                    Setting::Protected,
                    &[Expect::ThreadsSpin(2), Expect::OffenderWaits, Expect::OthersAreFrozen],
                ),
                (
                    Setting::Supervised,
                    &[Expect::WorkerDiesOf("did not answer"), Expect::OthersAreBackWithin(3000.0)],
                ),
            ],
        },
    ],
};

async fn open(stage: Stage) -> Result<String> {
    http::open_polling(stage.server, 3).await
}

async fn post(stage: Stage, session: String) -> Result<Fate> {
    http::post(&stage, 3, &session, "application/octet-stream", SHORT).await
}

fn app(_: Setting) -> Router {
    let (layer, io) = socketioxide::SocketIo::new_layer();
    echo!(socketioxide, io);
    sockets_route(move || io.sockets().len()).layer(layer)
}

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
