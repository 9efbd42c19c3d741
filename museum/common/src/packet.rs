//! Socket.IO 5 packets in Engine.IO 4 frames, in the namespace `/`, as far as clients of an exhibit speak it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// How Socket.IO packets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parser {
    /// JSON in text frames, the default.
    Common,
    /// MessagePack in binary frames.
    MsgPack,
}

/// What a client hears from its server.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// It is in the namespace.
    Joined,
    /// It is not let in, with the server's words.
    Refused(String),
    /// It has been sent out of the namespace.
    SentOut,
    /// An event with its first argument.
    Event(String, Value),
    /// A heartbeat that has to be answered.
    Ping,
    /// What no client of an exhibit looks at.
    Other,
}

const CONNECT: u64 = 0;
const DISCONNECT: u64 = 1;
const EVENT: u64 = 2;
const CONNECT_ERROR: u64 = 4;

impl Parser {
    /// The packet that asks to enter the namespace.
    pub fn connect(self) -> Message {
        self.packet(CONNECT, None)
    }

    /// An event with one argument.
    pub fn event(self, name: &str, data: &Value) -> Message {
        self.packet(EVENT, Some(json!([name, data])))
    }

    fn packet(self, kind: u64, data: Option<Value>) -> Message {
        match self {
            Self::Common => {
                Message::text(format!("4{kind}{}", data.map(|data| data.to_string()).unwrap_or_default()))
            }
            Self::MsgPack => {
                let mut packet = json!({ "type": kind, "nsp": "/" });
                if let Some(data) = data {
                    packet["data"] = data;
                }
                Message::binary(rmp_serde::to_vec(&packet).expect("JSON is a subset of MessagePack"))
            }
        }
    }

    /// What a frame says. An error when it is no packet.
    pub(crate) fn read(self, frame: &Message) -> Result<Heard> {
        let (kind, data) = match (self, frame) {
            (_, Message::Text(text)) if text.as_str() == "2" => return Ok(Heard::Ping),
            (Self::Common, Message::Text(text)) => match text.strip_prefix('4') {
                Some(packet) => read_common(packet)?,
                None => return Ok(Heard::Other),
            },
            (Self::MsgPack, Message::Binary(bytes)) => {
                let mut packet: Value = rmp_serde::from_slice(bytes).context("no MessagePack")?;
                (packet["type"].as_u64().context("a packet has a type")?, packet["data"].take())
            }
            _ => return Ok(Heard::Other),
        };
        Ok(match (kind, data) {
            (CONNECT, _) => Heard::Joined,
            (DISCONNECT, _) => Heard::SentOut,
            (EVENT, Value::Array(mut data)) if !data.is_empty() => {
                let name = data[0].as_str().context("an event has a name")?.to_owned();
                Heard::Event(name, data.get_mut(1).map(Value::take).unwrap_or_default())
            }
            (CONNECT_ERROR, data) => Heard::Refused(data["message"].as_str().unwrap_or_default().to_owned()),
            _ => Heard::Other,
        })
    }
}

/// The type and the data of a packet of the common parser.
fn read_common(packet: &str) -> Result<(u64, Value)> {
    let kind = packet.get(..1).and_then(|kind| kind.parse().ok()).context("a packet has a type")?;
    let rest = packet.get(1..).unwrap_or_default();
    let data = if rest.is_empty() { Value::Null } else { serde_json::from_str(rest).context("no JSON")? };
    Ok((kind, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_alike_by_both_parsers() {
        for parser in [Parser::Common, Parser::MsgPack] {
            assert_eq!(parser.read(&parser.connect()).expect("a packet"), Heard::Joined);
            let event = parser.event("echo", &json!(7));
            assert_eq!(parser.read(&event).expect("a packet"), Heard::Event("echo".into(), json!(7)));
        }
    }

    #[test]
    fn refusals_and_heartbeats_are_told_apart() {
        let read = |text: &str| Parser::Common.read(&Message::text(text)).expect("a packet");
        assert_eq!(read(r#"44{"message":"no"}"#), Heard::Refused("no".into()));
        assert_eq!((read("2"), read("41"), read("6")), (Heard::Ping, Heard::SentOut, Heard::Other));
        assert!(Parser::Common.read(&Message::text("4x")).is_err());
    }
}
