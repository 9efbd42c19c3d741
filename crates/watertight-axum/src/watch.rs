//! Watches the bytes of a connection for a notice's id, to know when the client has been told.

use watertight::IncidentId;

/// The characters of an incident id.
const LEN: usize = 26;

/// Counts one incident id among the bytes that are written. What a server sends in WebSocket frames is not
/// masked, so the id stands in them as it is, in JSON and in MessagePack alike.
#[derive(Debug)]
pub(crate) struct Watch {
    id: [u8; LEN],
    /// The end of what was written so far, in case the id is split.
    tail: Vec<u8>,
    written: usize,
    flushed: usize,
}

impl Watch {
    pub(crate) fn new(id: IncidentId) -> Self {
        let mut text = [0; LEN];
        for (to, from) in text.iter_mut().zip(id.to_string().bytes()) {
            *to = from;
        }
        Self { id: text, tail: Vec::new(), written: 0, flushed: 0 }
    }

    pub(crate) fn written(&mut self, bytes: &[u8]) {
        let Self { id, tail, written, .. } = self;
        // Of an id that is split, the tail holds too little and the new bytes hold too little.
        tail.extend_from_slice(&bytes[..bytes.len().min(LEN - 1)]);
        *written += count(tail, id) + count(bytes, id);
        if bytes.len() >= LEN {
            // A whole id in both was counted twice otherwise.
            tail.clear();
            tail.extend_from_slice(&bytes[bytes.len() - (LEN - 1)..]);
        } else {
            tail.drain(..tail.len().saturating_sub(LEN - 1));
        }
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.written;
    }

    /// How often the id was written and flushed after that.
    pub(crate) fn flushed(&self) -> usize {
        self.flushed
    }
}

fn count(bytes: &[u8], id: &[u8; LEN]) -> usize {
    bytes.windows(LEN).filter(|window| window == id).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_id_however_it_is_split() {
        let id = IncidentId::new();
        let text = format!("42[\"incident\",{{\"id\":\"{id}\"}}]42/two,[{{\"id\":\"{id}\"}}]{id}");
        for size in 1..=text.len() {
            let mut watch = Watch::new(id);
            for chunk in text.as_bytes().chunks(size) {
                watch.written(chunk);
            }
            assert_eq!(watch.flushed(), 0);
            watch.flush();
            assert_eq!(watch.flushed(), 3, "in pieces of {size}");
        }
    }

    #[test]
    fn another_id_is_not_it() {
        let mut watch = Watch::new(IncidentId::new());
        for _ in 0..3 {
            watch.written(IncidentId::new().to_string().as_bytes());
        }
        watch.flush();
        assert_eq!(watch.flushed(), 0);
    }
}
