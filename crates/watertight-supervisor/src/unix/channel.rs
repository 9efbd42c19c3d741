//! The parent's end of a worker's channel. A worker that has lost its mind may write anything into it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use crate::machine::Message;

/// What a worker says to the parent, and the parent to a worker: one line each.
pub(super) const READY: &str = "ready";
pub(super) const STOPPING: &str = "stopping";
pub(super) const AFTER_DEATH: &str = "after-death";
/// Another worker serves; this one is to drain, and is told so by a signal as well.
pub(super) const TAKEN_OVER: &str = "taken-over";

/// What is longer is no message.
const MAX_LINE: usize = 64;
/// How much is read in one turn of the parent's loop.
const MAX_TURN: usize = 4096;
/// How much a worker may say in its life: all it has to say fits into a hundredth.
const MAX_TOTAL: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    line: Vec<u8>,
    said: usize,
    /// Whether the rest of this line is left out.
    skipping: bool,
    /// Nothing more is to be read.
    ended: bool,
}

impl Channel {
    /// `stream` has to be non-blocking.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, line: Vec::new(), said: 0, skipping: false, ended: false }
    }

    /// What can be waited for, as long as there is something to wait for. The worker's lifeline is the other direction, and
    /// stays.
    pub(super) fn readable(&self) -> Option<&UnixStream> {
        (!self.ended).then_some(&self.stream)
    }

    /// What has arrived.
    pub(super) fn read(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut bytes = [0; MAX_TURN];
        if self.ended {
            return messages;
        }
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                for byte in bytes.get(..count).unwrap_or_default() {
                    self.take(*byte, &mut messages);
                }
                self.said = self.said.saturating_add(count);
                if self.said > MAX_TOTAL {
                    self.ended = true;
                    messages.push(Message::Garbage("too much; nothing more is read".to_owned()));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.ended = true,
        }
        messages
    }

    fn take(&mut self, byte: u8, messages: &mut Vec<Message>) {
        if byte == b'\n' {
            if !self.skipping {
                messages.push(parse(&self.line));
            }
            self.skipping = false;
            self.line.clear();
        } else if self.line.len() < MAX_LINE {
            self.line.push(byte);
        } else if !self.skipping {
            self.skipping = true;
            messages.push(parse(&self.line));
        }
    }

    /// Says something to the worker, if it listens.
    pub(super) fn say(&self, line: &str) {
        // A worker that has gone or that has let the socket fill up is not helped by waiting for it.
        _ = (&self.stream).write_all(format!("{line}\n").as_bytes());
    }
}

fn parse(line: &[u8]) -> Message {
    if line == READY.as_bytes() {
        Message::Ready
    } else if line == STOPPING.as_bytes() {
        Message::Stopping
    } else {
        Message::Garbage(line.escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (parent, worker) = UnixStream::pair().unwrap();
        parent.set_nonblocking(true).unwrap();
        (Channel::new(parent), worker)
    }

    fn garbage(text: &str) -> Message {
        Message::Garbage(text.to_owned())
    }

    #[test]
    fn messages_are_whole_lines_however_they_arrive() {
        let (mut channel, mut worker) = pair();
        assert_eq!(channel.read(), []);
        worker.write_all(b"rea").unwrap();
        assert_eq!(channel.read(), []);
        worker.write_all(b"dy\nstopping\n").unwrap();
        assert_eq!(channel.read(), [Message::Ready, Message::Stopping]);
    }

    #[test]
    fn garbage_is_told_and_the_next_line_understood() {
        let (mut channel, mut worker) = pair();
        worker.write_all(b"\xff\x00\nReady\nready\n").unwrap();
        assert_eq!(channel.read(), [garbage("\\xff\\x00"), garbage("Ready"), Message::Ready]);
        worker.write_all(&[b'x'; 1000]).unwrap();
        worker.write_all(b"\nready\n").unwrap();
        assert_eq!(channel.read(), [garbage(&"x".repeat(MAX_LINE)), Message::Ready]);
    }

    #[test]
    fn a_worker_that_never_ends_talking_is_not_listened_to() {
        let (mut channel, mut worker) = pair();
        let mut told = Vec::new();
        for _ in 0..=(MAX_TOTAL / MAX_TURN) {
            worker.write_all(&[b'x'; MAX_TURN]).unwrap();
            told.extend(channel.read());
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(channel.readable().is_none());
        worker.write_all(b"\nready\n").unwrap();
        assert_eq!(channel.read(), []);
    }

    #[test]
    fn the_end_is_not_waited_for_again() {
        let (mut channel, worker) = pair();
        drop(worker);
        assert!(channel.readable().is_some());
        assert_eq!(channel.read(), []);
        assert!(channel.readable().is_none());
        channel.say(AFTER_DEATH);
    }
}
