//! Watches the bytes of a connection for a notice's id, to know when the client has been told.

use watertight::IncidentId;

/// The characters of an incident id.
const LEN: usize = 26;

/// Looks for one incident id among the bytes that are written. What a server sends in WebSocket frames
/// is not masked, so the id stands in them as it is, in JSON and in MessagePack alike.
#[derive(Debug)]
pub(crate) struct Watch {
    id: [u8; LEN],
    /// The end of what was written so far, in case the id is split.
    tail: Vec<u8>,
    seen: bool,
    flushed: bool,
}

impl Watch {
    pub(crate) fn new(id: IncidentId) -> Self {
        let mut text = [0; LEN];
        for (to, from) in text.iter_mut().zip(id.to_string().bytes()) {
            *to = from;
        }
        Self { id: text, tail: Vec::new(), seen: false, flushed: false }
    }

    pub(crate) fn written(&mut self, bytes: &[u8]) {
        if self.seen {
            return;
        }
        let Self { id, tail, seen, .. } = self;
        tail.extend_from_slice(&bytes[..bytes.len().min(LEN - 1)]);
        *seen = contains(tail, id) || contains(bytes, id);
        if bytes.len() >= LEN {
            tail.clear();
            tail.extend_from_slice(&bytes[bytes.len() - (LEN - 1)..]);
        } else {
            tail.drain(..tail.len().saturating_sub(LEN - 1));
        }
    }

    pub(crate) fn flushed(&mut self) {
        self.flushed |= self.seen;
    }

    /// Whether the id was written and flushed after that.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed
    }
}

fn contains(bytes: &[u8], id: &[u8; LEN]) -> bool {
    bytes.windows(LEN).any(|window| window == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_id_however_it_is_split() {
        let id = IncidentId::new();
        let text = format!("42[\"incident\",{{\"id\":\"{id}\"}}]");
        for size in 1..text.len() {
            let mut watch = Watch::new(id);
            for chunk in text.as_bytes().chunks(size) {
                watch.written(chunk);
            }
            assert!(!watch.is_flushed());
            watch.flushed();
            assert!(watch.is_flushed(), "in pieces of {size}");
        }
    }

    #[test]
    fn another_id_is_not_it() {
        let mut watch = Watch::new(IncidentId::new());
        for _ in 0..3 {
            watch.written(IncidentId::new().to_string().as_bytes());
        }
        watch.flushed();
        assert!(!watch.is_flushed());
    }
}
