//! socketioxide 0.18.9: sockets whose disconnect handler panics, or whose disconnect extractor answers an error, stay in
//! their namespace for ever; a client whose middleware panics waits until its connect timeout. No upstream report was
//! found.

mod servers;

use std::process::ExitCode;

use servers::{drop_in, plain};
use watertight_museum::{
    Client, Exhibit, Expect, Fate, Message, Offending, PLENTY_MIB, Parser, Probe, Scene,
};
use watertight_museum::{Setting, Stage};

/// How many clients come and go.
const CLIENTS: usize = 20;

const EXHIBIT: Exhibit = Exhibit {
    name: "leaks-today",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide"],
    scenes: &[
        Scene {
            name: "disconnect-panic",
            title: "20 clients leave, and their disconnect handler panics",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app: |setting| match setting {
                Setting::Bare => plain::disconnect_handler_panics(),
                Setting::Protected | Setting::Supervised => drop_in::disconnect_handler_panics(),
            },
            offend: come_and_go,
            expect: &[
                (Setting::Bare, &[Expect::LeavesBehind(CLIENTS), Expect::OthersAreUnharmed]),
                (
                    Setting::Protected,
                    &[
                        Expect::LeavesBehind(0),
                        Expect::OffenderIsNamed,
                        Expect::OthersAreUnharmed,
                        Expect::ProcessIsWell,
                    ],
                ),
            ],
        },
        Scene {
            name: "disconnect-extractor",
            title: "20 clients leave, and an extractor of their disconnect handler answers an error",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app: |setting| match setting {
                Setting::Bare => plain::disconnect_extractor_refuses(),
                Setting::Protected | Setting::Supervised => drop_in::disconnect_extractor_refuses(),
            },
            offend: come_and_go,
            expect: &[
                (Setting::Bare, &[Expect::LeavesBehind(CLIENTS), Expect::OthersAreUnharmed]),
                (
                    Setting::Protected,
                    &[Expect::LeavesBehind(0), Expect::OthersAreUnharmed, Expect::ProcessIsWell],
                ),
            ],
        },
        Scene {
            name: "middleware-panic",
            title: "A connect middleware panics",
            parser: Parser::Common,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app: |setting| match setting {
                Setting::Bare => plain::middleware_panics(),
                Setting::Protected | Setting::Supervised => drop_in::middleware_panics(),
            },
            offend: |stage| {
                Box::pin(async move {
                    let mut client = Client::open(stage.server, stage.parser).await?;
                    // A token that is no text, for which the middleware was not written.
                    client.send(Message::text(r#"40{"token":7}"#)).await?;
                    Ok(client.watch(&stage, Probe::Nothing).await)
                })
            },
            expect: &[
                (
                    Setting::Bare,
                    &[Expect::PanicsAt("src/servers.rs"), Expect::OffenderWaits, Expect::OthersAreUnharmed],
                ),
                (
                    Setting::Protected,
                    &[
                        Expect::PanicsAt("src/servers.rs"),
                        Expect::OffenderIsTold("panic; retry after"),
                        Expect::OffenderIsClosedAtOnce,
                        Expect::OffenderIsNamed,
                        Expect::OthersAreUnharmed,
                        Expect::ProcessIsWell,
                    ],
                ),
            ],
        },
    ],
};

fn come_and_go(stage: Stage) -> Offending {
    Box::pin(async move {
        let mut addresses = Vec::new();
        for _ in 0..CLIENTS {
            let client = Client::join(stage.server, stage.parser).await?;
            addresses.push(client.address);
            client.leave().await?;
        }
        Ok(Fate::Left { addresses })
    })
}

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
