//! socketioxide before 0.18.7 (GHSA-55mf-67qm-4wpg): a packet may announce any number of attachments of any size, and
//! all are kept until the last has come.

use std::process::ExitCode;

use watertight_museum::{
    Client, Exhibit, Expect, Message, Parser, Probe, Scene, Setting, echo, sockets_route,
};

/// A binary event that announces a million attachments.
const ANNOUNCES: &str = r#"451000000-["echo",{"_placeholder":true,"num":0}]"#;
/// How large each is.
const SIZE: usize = 1024 * 1024;
/// What the server may have, in MiB. A machine has more, and a client has time.
const MEMORY_MIB: u64 = 512;

/// Nothing counts the bytes of a client before its packet is complete.
const DEATH: &[Expect] = &[
    Expect::ProcessDiesOf("SIGABRT"),
    Expect::ProcessDiesSaying("memory allocation of"),
    Expect::OffenderIsCutWithoutAWord,
    Expect::OthersAreDisconnected,
];

const SUPERVISED: &[Expect] = &[
    Expect::WorkerDiesOf("SIGABRT"),
    Expect::OffenderIsNamed,
    Expect::ProcessDiesSaying("memory allocation of"),
    Expect::OffenderIsCutWithoutAWord,
    Expect::OthersAreBackWithin(1000.0),
];

const EXHIBIT: Exhibit = Exhibit {
    name: "attachments",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide", "socketioxide-parser-common"],
    scenes: &[Scene {
        name: "endless",
        title: "Attachments of 1 MiB, one after another, to a server that has 512 MiB",
        parser: Parser::Common,
        rounds: 1,
        memory_mib: MEMORY_MIB,
        app: |_| {
            let (layer, io) = socketioxide::SocketIo::new_layer();
            echo!(socketioxide, io);
            sockets_route(move || io.sockets().len()).layer(layer)
        },
        offend: |stage| {
            Box::pin(async move {
                let mut client = Client::join(stage.server, stage.parser).await?;
                client.send(Message::text(ANNOUNCES)).await?;
                for _ in 0..2 * MEMORY_MIB {
                    if client.send(Message::binary(vec![0; SIZE])).await.is_err() {
                        break;
                    }
                }
                Ok(client.watch(&stage, Probe::Echo).await)
            })
        },
        expect: &[(Setting::Bare, DEATH), (Setting::Protected, DEATH), (Setting::Supervised, SUPERVISED)],
    }],
};

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
