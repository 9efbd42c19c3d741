//! What the parent tells a worker at its start, and how: one line, and descriptors beside it.
//!
//! It lies in the channel before the worker's process is started, so that the worker never waits for it. Descriptors go
//! through the channel because they arrive there with an owner; a number in the environment has none.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

use crate::Descriptors;

/// How a greeting begins: the protocol and its version.
pub(super) const PROTOCOL: &str = "watertight 1 ";
/// How many descriptors a worker can be given beside its listening sockets.
const MAX_DESCRIPTORS: usize = 32;
/// How long a name of a descriptor can be.
const MAX_NAME: usize = 64;
/// The longest line: all names and a few numbers.
const MAX_LINE: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) generation: u64,
    pub(super) after_death: bool,
    pub(super) drain_timeout: Duration,
    /// How many listening sockets there are, at descriptor 3 and above.
    pub(super) listeners: usize,
}

/// What a worker is greeted with.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) greeting: Greeting,
    pub(super) descriptors: Vec<(String, OwnedFd)>,
    /// What came after the greeting.
    pub(super) rest: Vec<u8>,
}

impl Greeting {
    /// Whether these descriptors can be sent.
    pub(super) fn check(descriptors: &Descriptors) -> io::Result<()> {
        let valid = |name: &str| {
            (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if descriptors.len() <= MAX_DESCRIPTORS && descriptors.iter().all(|(name, _)| valid(name)) {
            return Ok(());
        }
        let error =
            format!("at most {MAX_DESCRIPTORS} descriptors, whose names have 1 to {MAX_NAME} plain bytes");
        Err(io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    pub(super) fn send(&self, channel: &UnixStream, descriptors: &Descriptors) -> io::Result<()> {
        Self::check(descriptors)?;
        let Self { generation, after_death, drain_timeout, listeners } = self;
        let names: Vec<&str> = descriptors.iter().map(|(name, _)| *name).collect();
        let (drain, names) = (drain_timeout.as_millis(), names.join(" "));
        let after_death = u8::from(*after_death);
        let line = format!("{PROTOCOL}{generation} {after_death} {drain} {listeners} {names}\n");

        let borrowed: Vec<_> = descriptors.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let sent = sendmsg(channel, &[IoSlice::new(line.as_bytes())], &mut beside, SendFlags::empty())?;
        if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Takes the greeting out of the channel. `Ok(Err(text))`: there is something else.
    pub(super) fn receive(channel: &UnixStream) -> io::Result<Result<Greeted, String>> {
        let mut bytes = [0; MAX_LINE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let count = recvmsg(channel, &mut into, &mut beside, RecvFlags::DONTWAIT)?.bytes;
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        for descriptor in &descriptors {
            // Not every Unix can receive them so.
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        let received = bytes.get(..count).unwrap_or_default();
        let end = received.iter().position(|byte| *byte == b'\n').unwrap_or(received.len());
        let (line, rest) = received.split_at(end);
        let text = String::from_utf8_lossy(line).into_owned();
        let rest = rest.get(1..).unwrap_or_default().to_vec();
        let Some((greeting, names)) = parse(&text) else { return Ok(Err(text)) };
        if names.len() != descriptors.len() {
            let error = "fewer descriptors arrived than were sent: the limit of open files is too low";
            return Err(io::Error::other(error));
        }
        Ok(Ok(Greeted { greeting, descriptors: names.into_iter().zip(descriptors).collect(), rest }))
    }
}

fn parse(line: &str) -> Option<(Greeting, Vec<String>)> {
    let mut words = line.strip_prefix(PROTOCOL)?.split_ascii_whitespace();
    let generation = words.next()?.parse().ok()?;
    let after_death = words.next()? == "1";
    let drain_timeout = Duration::from_millis(words.next()?.parse().ok()?);
    let listeners = words.next()?.parse().ok()?;
    let greeting = Greeting { generation, after_death, drain_timeout, listeners };
    Some((greeting, words.map(ToOwned::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    fn greeting() -> Greeting {
        let drain_timeout = Duration::from_millis(1500);
        Greeting { generation: 7, after_death: true, drain_timeout, listeners: 2 }
    }

    fn dev_null() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn what_is_sent_arrives() {
        let (parent, worker) = UnixStream::pair().unwrap();
        greeting().send(&parent, &vec![("BOARD", dev_null()), ("DUMP", dev_null())]).unwrap();
        (&parent).write_all(b"after-death\n").unwrap();

        let greeted = Greeting::receive(&worker).unwrap().unwrap();
        assert_eq!(greeted.greeting, greeting());
        let names: Vec<_> = greeted.descriptors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["BOARD", "DUMP"]);
        for (_, descriptor) in &greeted.descriptors {
            assert!(rustix::io::fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn what_follows_the_greeting_is_not_lost() {
        let (parent, worker) = UnixStream::pair().unwrap();
        greeting().send(&parent, &Vec::new()).unwrap();
        (&parent).write_all(b"after-death\n").unwrap();
        assert_eq!(Greeting::receive(&worker).unwrap().unwrap().rest, b"after-death\n");
    }

    #[test]
    fn what_is_no_greeting_is_told_as_such() {
        for text in
            ["watertight 2 1 0 10 0 \n", "watertight 1 x 0 10 0 \n", "\n", "watertight 1 1\n", "hello"]
        {
            let (parent, worker) = UnixStream::pair().unwrap();
            (&parent).write_all(text.as_bytes()).unwrap();
            assert_eq!(Greeting::receive(&worker).unwrap().unwrap_err(), text.trim_end_matches('\n'));
        }
        let (_parent, worker) = UnixStream::pair().unwrap();
        assert_eq!(Greeting::receive(&worker).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn names_that_would_break_the_line_are_refused() {
        let (parent, _worker) = UnixStream::pair().unwrap();
        for name in ["", "two words", "line\nbreak"] {
            let error = greeting().send(&parent, &vec![(name, dev_null())]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        let many = (0..=MAX_DESCRIPTORS).map(|_| ("X", dev_null())).collect();
        assert!(greeting().send(&parent, &many).is_err());
    }
}
