//! Packets of Socket.IO 5 in Engine.IO 4, as text. Binary ones are not spoken.

use serde_json::Value;

/// Between the packets of one polling request.
pub(super) const SEPARATOR: char = '\u{1e}';
/// The packet that ends a session, from either side.
pub(super) const CLOSE: &str = "1";

/// What a client gets in its namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Packet {
    /// It is in the namespace.
    Connected,
    /// It is not let in, with the server's words.
    Refused(String),
    /// It has been sent out of the namespace.
    Disconnected,
    /// An event with its first argument, and the number to answer with where an answer is asked.
    Event { name: String, data: Value, ack: Option<u64> },
    /// The first argument of the answer to one of its own events.
    Ack { id: u64, data: Value },
    /// The end of the transport, and how it came.
    Closed(String),
}

/// What an Engine.IO packet is to a client of `namespace`; `None` for what concerns only the transport, or another
/// namespace.
pub(super) fn parse(text: &str, namespace: &str) -> Option<Packet> {
    if text == CLOSE {
        return Some(Packet::Closed("a close packet".to_owned()));
    }
    let kind = text.get(..2)?;
    let rest = text.get(2..)?;
    let rest = if namespace == "/" {
        rest
    } else {
        let rest = rest.strip_prefix(namespace)?;
        rest.strip_prefix(',').unwrap_or(rest)
    };
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (ack, content) = rest.split_at(digits);
    let ack = ack.parse().ok();
    let mut content: Value = serde_json::from_str(content).unwrap_or_default();
    match kind {
        "40" => Some(Packet::Connected),
        "41" => Some(Packet::Disconnected),
        "42" => {
            let name = content.get(0)?.as_str()?.to_owned();
            Some(Packet::Event { name, data: argument(&mut content, 1), ack })
        }
        "43" => Some(Packet::Ack { id: ack?, data: argument(&mut content, 0) }),
        "44" => Some(Packet::Refused(content.get("message")?.as_str()?.to_owned())),
        _ => None,
    }
}

fn argument(content: &mut Value, index: usize) -> Value {
    content.get_mut(index).map(Value::take).unwrap_or_default()
}

/// The packet that asks to enter a namespace.
pub(super) fn connect(namespace: &str) -> String {
    format!("40{}", path(namespace))
}

/// An event with one argument; with a number, its answer is asked.
pub(super) fn event(namespace: &str, name: &str, data: &Value, ack: Option<u64>) -> String {
    let ack = ack.map(|ack| ack.to_string()).unwrap_or_default();
    format!("42{}{ack}{}", path(namespace), Value::from(vec![Value::from(name), data.clone()]))
}

/// The answer to an event of the server.
pub(super) fn ack(namespace: &str, ack: u64, data: &Value) -> String {
    format!("43{}{ack}[{data}]", path(namespace))
}

fn path(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_a_server_sends() {
        let lab = |text| parse(text, "/lab");
        assert_eq!(lab(r#"40/lab,{"sid":"x"}"#), Some(Packet::Connected));
        assert_eq!(lab("41/lab,"), Some(Packet::Disconnected));
        let event = Packet::Event { name: "a".into(), data: json!({"b": 1}), ack: Some(7) };
        assert_eq!(lab(r#"42/lab,7["a",{"b":1}]"#), Some(event));
        assert_eq!(lab("43/lab,12[true]"), Some(Packet::Ack { id: 12, data: json!(true) }));
        assert_eq!(lab(r#"44/lab,{"message":"no"}"#), Some(Packet::Refused("no".into())));
        assert!(matches!(lab("1"), Some(Packet::Closed(_))));
        let event = Packet::Event { name: "a".into(), data: Value::Null, ack: None };
        assert_eq!(parse(r#"42["a"]"#, "/"), Some(event));
    }

    #[test]
    fn what_is_for_others_is_nothing() {
        for text in ["", "2", "6", r#"0{"sid":"x"}"#, r#"42/other,["a"]"#, r#"42["a"]"#] {
            assert_eq!(parse(text, "/lab"), None, "{text}");
        }
    }

    #[test]
    fn writes_what_a_server_reads() {
        assert_eq!((connect("/lab"), connect("/")), ("40/lab,".into(), "40".into()));
        assert_eq!(event("/lab", "a", &json!({}), Some(3)), r#"42/lab,3["a",{}]"#);
        assert_eq!(event("/", "a", &json!(1), None), r#"42["a",1]"#);
        assert_eq!(ack("/lab", 3, &json!("x")), r#"43/lab,3["x"]"#);
    }
}
