//! socketioxide before 0.18.6 with the MessagePack parser (#772, GHSA-c6g7-r2mf-pf5g): arrays in arrays overflow the stack of the
//! thread that parses them, and that ends the process.

use std::process::ExitCode;

use socketioxide::{ParserConfig, SocketIo};
use watertight_museum::{Client, Exhibit, Expect, Message, PLENTY_MIB, Parser, Probe, Scene, Setting};
use watertight_museum::{echo, sockets_route};

/// A map of one entry, whose key is `data`.
const HEAD: &[u8] = b"\x81\xa4data";
/// The head of an array of one.
const ARRAY: u8 = 0x91;
/// How deep the arrays are: a megabyte of them.
const DEPTH: usize = 1024 * 1024;

/// A panic hook cannot help: nothing unwinds.
const DEATH: &[Expect] = &[
    Expect::ProcessDiesOf("SIGABRT"),
    Expect::ProcessDiesSaying("stack overflow"),
    Expect::OffenderIsCutWithoutAWord,
    Expect::OthersAreDisconnected,
];

const SUPERVISED: &[Expect] = &[
    // Whoever marks the dying thread for the flight recorder lets the first signal be the last.
    Expect::WorkerDiesOf("SIGSEGV"),
    Expect::OffenderIsNamed,
    Expect::OffenderIsCutWithoutAWord,
    Expect::OthersAreBackWithin(1000.0),
];

const EXHIBIT: Exhibit = Exhibit {
    name: "msgpack-stack",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide", "socketioxide-parser-msgpack"],
    scenes: &[Scene {
        name: "nested",
        title: "A million arrays, each in the one before",
        parser: Parser::MsgPack,
        rounds: 1,
        memory_mib: PLENTY_MIB,
        app: |_| {
            let (layer, io) = SocketIo::builder().with_parser(ParserConfig::msgpack()).build_layer();
            echo!(socketioxide, io);
            sockets_route(move || io.sockets().len()).layer(layer)
        },
        offend: |stage| {
            Box::pin(async move {
                let mut client = Client::join(stage.server, stage.parser).await?;
                client.send(Message::binary([HEAD, &vec![ARRAY; DEPTH]].concat())).await?;
                Ok(client.watch(&stage, Probe::Echo).await)
            })
        },
        expect: &[(Setting::Bare, DEATH), (Setting::Protected, DEATH), (Setting::Supervised, SUPERVISED)],
    }],
};

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
