//! engineioxide before 0.17.9 (socketioxide #809): the task that is to write to an upgraded connection panics when anybody
//! else has the session's queue at that moment. Its client is heard, and hears nothing any more.
//!
//! Upstream names a polling request as that somebody, which needs luck. A second upgrade of the same session waits in line
//! for the queue, and so has it for sure when the first one ends.

use std::process::ExitCode;
use std::time::Duration;

use watertight_museum::{Client, Exhibit, Expect, Message, PLENTY_MIB, Parser, Probe, Scene, Setting};
use watertight_museum::{echo, http, sleep, sockets_route};

/// How long the second upgrade has to get in line; nothing tells when it is.
const IN_LINE: Duration = Duration::from_millis(200);

const EXHIBIT: Exhibit = Exhibit {
    name: "upgrade-writer",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide"],
    scenes: &[Scene {
        name: "two-upgrades",
        title: "Two upgrades of one session at once",
        parser: Parser::Common,
        rounds: 1,
        memory_mib: PLENTY_MIB,
        app: |_| {
            let (layer, io) = socketioxide::SocketIo::new_layer();
            echo!(socketioxide, io);
            sockets_route(move || io.sockets().len()).layer(layer)
        },
        offend: |stage| {
            Box::pin(async move {
                let session = http::open_polling(stage.server, 4).await?;
                let query = format!("EIO=4&transport=websocket&sid={session}");
                let mut first = Client::at(stage.server, &query, stage.parser).await?;
                first.send(Message::text("2probe")).await?;
                first.frame().await?;
                let second = Client::at(stage.server, &query, stage.parser).await?;
                sleep(IN_LINE).await;
                first.send(Message::text("5")).await?;
                first.send(stage.parser.connect()).await?;
                let fate = first.watch(&stage, Probe::Echo).await;
                // Until now: its end would end the session.
                drop(second);
                Ok(fate)
            })
        },
        expect: &[
            (
                Setting::Bare,
                &[
                    Expect::PanicsAt("engineioxide-0.17.8/src/transport/ws.rs:259"),
                    Expect::OffenderGetsNoAnswer,
                    Expect::OthersAreUnharmed,
                ],
            ),
            (
                Setting::Protected,
                &[
                    Expect::PanicsAt("engineioxide-0.17.8/src/transport/ws.rs:259"),
                    // A task that has never touched the connection: nothing tells whose it was.
                    Expect::OffenderGetsNoAnswer,
                    Expect::NobodyIsNamed,
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
