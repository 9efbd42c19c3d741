//! engineioxide before 0.17.9 (socketioxide #794): a packet of six bytes that begins with a character of several, and
//! in the old protocol a binary packet without its type, panic in the parser.

use std::process::ExitCode;

use watertight_museum::{
    Client, Exhibit, Expect, Message, PLENTY_MIB, Parser, Probe, Router, Scene, Setting,
};
use watertight_museum::{echo, http, sockets_route};

/// Six bytes, of which the parser compares all but the first with `probe`; it cuts `é` in two.
const SIX_BYTES: &str = "éabcd";
/// Where it does.
const CUT: &str = "engineioxide-core-0.2.2/src/packet.rs:224";
/// Where the parser takes what is behind the second of the bytes `b`.
const BEYOND: &str = "bytes-1.12.2/src/bytes.rs:374";

const EXHIBIT: Exhibit = Exhibit {
    name: "packet-panic",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "engineioxide-core", "socketioxide"],
    scenes: &[
        Scene {
            name: "websocket",
            title: "`éabcd` in a WebSocket text frame",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| {
                Box::pin(async move {
                    let mut client = Client::join(stage.server, stage.parser).await?;
                    client.send(Message::text(SIX_BYTES)).await?;
                    Ok(client.watch(&stage, Probe::Echo).await)
                })
            },
            expect: &[
                (
                    Setting::Bare,
                    &[Expect::PanicsAt(CUT), Expect::OffenderGetsNoAnswer, Expect::OthersAreUnharmed],
                ),
                (
                    Setting::Protected,
                    &[
                        Expect::PanicsAt(CUT),
                        Expect::OffenderIsCutWithoutAWord,
                        Expect::OffenderIsNamed,
                        Expect::OthersAreUnharmed,
                        Expect::ProcessIsWell,
                    ],
                ),
            ],
        },
        Scene {
            name: "polling",
            title: "`éabcd` in a polling request",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| {
                Box::pin(async move {
                    let session = http::open_polling(stage.server, 4).await?;
                    http::post(&stage, 4, &session, "text/plain;charset=UTF-8", SIX_BYTES.as_bytes()).await
                })
            },
            expect: &[
                (
                    Setting::Bare,
                    &[Expect::PanicsAt(CUT), Expect::OffenderIsCutWithoutAWord, Expect::OthersAreUnharmed],
                ),
                (
                    Setting::Protected,
                    &[
                        Expect::PanicsAt(CUT),
                        Expect::OffenderIsTold("HTTP status 500"),
                        Expect::NobodyIsNamed,
                        Expect::OthersAreUnharmed,
                        Expect::ProcessIsWell,
                    ],
                ),
            ],
        },
        Scene {
            name: "truncated",
            title: "`b` in the old protocol (feature `v4`)",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| {
                Box::pin(async move {
                    let query = "EIO=3&transport=websocket";
                    let mut client = Client::at(stage.server, query, stage.parser).await?;
                    // The open packet, and the one that lets every client of that protocol into `/`.
                    for _ in 0..2 {
                        client.frame().await?;
                    }
                    client.send(Message::text("b")).await?;
                    Ok(client.watch(&stage, Probe::Echo).await)
                })
            },
            expect: &[
                (
                    Setting::Bare,
                    &[Expect::PanicsAt(BEYOND), Expect::OffenderGetsNoAnswer, Expect::OthersAreUnharmed],
                ),
                (
                    Setting::Protected,
                    &[
                        Expect::PanicsAt(BEYOND),
                        Expect::OffenderIsCutWithoutAWord,
                        Expect::OffenderIsNamed,
                        Expect::OthersAreUnharmed,
                        Expect::ProcessIsWell,
                    ],
                ),
            ],
        },
    ],
};

fn app(_: Setting) -> Router {
    let (layer, io) = socketioxide::SocketIo::new_layer();
    echo!(socketioxide, io);
    sockets_route(move || io.sockets().len()).layer(layer)
}

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
