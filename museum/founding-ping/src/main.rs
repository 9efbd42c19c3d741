//! engineioxide 0.10.2 panics at `ws.rs:190` when a client sends a WebSocket ping (socketioxide #319, fixed by #320 in
//! 0.13.1): the founding panic.

use std::process::ExitCode;

use watertight_museum::{Client, Exhibit, Expect, Message, PLENTY_MIB, Parser, Probe, Scene, Setting};

const EXHIBIT: Exhibit = Exhibit {
    name: "founding-ping",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide"],
    scenes: &[Scene {
        name: "ping",
        title: "A WebSocket ping frame",
        parser: Parser::Common,
        rounds: 1,
        memory_mib: PLENTY_MIB,
        app: |_| {
            let (layer, io) = socketioxide::SocketIo::new_layer();
            watertight_museum::echo_sync!(socketioxide, io);
            watertight_museum::sockets_route(move || io.sockets().map_or(0, |sockets| sockets.len()))
                .layer(layer)
        },
        offend: |stage| {
            Box::pin(async move {
                let mut client = Client::join(stage.server, stage.parser).await?;
                client.send(Message::Ping(Vec::new().into())).await?;
                Ok(client.watch(&stage, Probe::Echo).await)
            })
        },
        expect: &[
            (
                Setting::Bare,
                &[
                    Expect::PanicsAt("engineioxide-0.10.2/src/transport/ws.rs:190"),
                    Expect::OffenderGetsNoAnswer,
                    Expect::OthersAreUnharmed,
                    Expect::ProcessIsWell,
                ],
            ),
            (
                Setting::Protected,
                &[
                    Expect::PanicsAt("engineioxide-0.10.2/src/transport/ws.rs:190"),
                    Expect::OffenderIsCutWithoutAWord,
                    Expect::OffenderIsNamed,
                    Expect::OthersAreUnharmed,
                    Expect::ProcessIsWell,
                ],
            ),
        ],
    }],
};

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
