//! socketioxide before 0.18.9 with the MessagePack parser (#796, #797, GHSA-7xpx-rcqc-8qjh): a packet that declares more
//! than it has, or that ends after the key `id`, panics in the parser.

use std::process::ExitCode;

use socketioxide::{ParserConfig, SocketIo};
use watertight_museum::{
    Client, Exhibit, Expect, Fate, Message, PLENTY_MIB, Parser, Probe, Result, Router, Scene, Setting,
};
use watertight_museum::{Stage, echo, sockets_route};

/// A map of one entry, whose key is said to be a text of 31 bytes, of which there is none.
const DECLARES_MORE: &[u8] = b"\x81\xbf";
/// A map of one entry, whose key is `id`, and no value.
const ENDS_AFTER_ID: &[u8] = b"\x81\xa2id";

/// Where the parser goes on beyond the end.
const BEYOND: &str = "bytes-1.12.2/src/lib.rs:207";

const HARM: &[Expect] = &[Expect::PanicsAt(BEYOND), Expect::OffenderGetsNoAnswer, Expect::OthersAreUnharmed];
const PROTECTED: &[Expect] = &[
    Expect::PanicsAt(BEYOND),
    Expect::OffenderIsCutWithoutAWord,
    Expect::OffenderIsNamed,
    Expect::OthersAreUnharmed,
    Expect::ProcessIsWell,
];

const EXHIBIT: Exhibit = Exhibit {
    name: "msgpack-panic",
    lock: include_str!("../Cargo.lock"),
    packages: &["engineioxide", "socketioxide", "socketioxide-parser-msgpack"],
    scenes: &[
        Scene {
            name: "declares-more",
            title: "Two bytes that declare 31 more (#796)",
            parser: Parser::MsgPack,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| Box::pin(send(stage, DECLARES_MORE)),
            expect: &[(Setting::Bare, HARM), (Setting::Protected, PROTECTED)],
        },
        Scene {
            name: "ends-after-id",
            title: "A packet that ends after the key `id` (#797)",
            parser: Parser::MsgPack,
            rounds: 1,
            memory_mib: PLENTY_MIB,
            app,
            offend: |stage| Box::pin(send(stage, ENDS_AFTER_ID)),
            expect: &[(Setting::Bare, HARM), (Setting::Protected, PROTECTED)],
        },
    ],
};

async fn send(stage: Stage, packet: &'static [u8]) -> Result<Fate> {
    let mut client = Client::join(stage.server, stage.parser).await?;
    client.send(Message::binary(packet)).await?;
    Ok(client.watch(&stage, Probe::Echo).await)
}

fn app(_: Setting) -> Router {
    let (layer, io) = SocketIo::builder().with_parser(ParserConfig::msgpack()).build_layer();
    echo!(socketioxide, io);
    sockets_route(move || io.sockets().len()).layer(layer)
}

fn main() -> ExitCode {
    watertight_museum::main(&EXHIBIT)
}
