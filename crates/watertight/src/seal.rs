//! The seam through which a compartment is closed: the integrations know how, the core knows when.

use std::any::Any;
use std::time::Duration;

use serde::Serialize;

use crate::incident::IncidentId;

/// How a seal treats the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealMode {
    /// The client is told and its transport is closed; an official Socket.IO client reconnects by itself.
    Disconnect,
    /// The client is told and asked to stay away: Socket.IO sends a disconnect packet first, after
    /// which the official client does not reconnect by itself.
    Expel,
}

/// How firmly [`Seal::close`] shuts the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseMode {
    /// End it so that the transport's own code can say goodbye.
    Polite,
    /// Cut it from the outside; whoever polls it next gets an error.
    Forced,
}

/// What the client is told. Serialises to `{id, code, message, retry, retryAfterMs}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Notice {
    /// The incident that the operator finds in the log.
    pub id: IncidentId,
    /// A stable word for programs: `panic`, `orphan`, `shutdown`, or the application's own.
    pub code: &'static str,
    /// A sentence for people. The details of a fault are in it only when configured.
    pub message: String,
    /// Whether reconnecting makes sense.
    pub retry: bool,
    /// How long the client should wait before it does, in milliseconds.
    #[serde(rename = "retryAfterMs", serialize_with = "as_millis")]
    pub retry_after: Duration,
}

impl Notice {
    /// A notice with a fresh id and no waiting time, which invites the client back.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            id: IncidentId::new(),
            code,
            message: message.into(),
            retry: true,
            retry_after: Duration::ZERO,
        }
    }

    /// Sets whether the client should come back and after what time.
    #[must_use]
    pub fn retry(mut self, retry: bool, after: Duration) -> Self {
        self.retry = retry;
        self.retry_after = after;
        self
    }

    /// The one line for channels that carry text only (a refused connect, a WebSocket close reason):
    /// `code; retry after N ms (incident ID)`. A client may parse it; the wording is fixed.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { id, code, retry_after, retry, .. } = self;
        if *retry {
            format!("{code}; retry after {} ms (incident {id})", retry_after.as_millis())
        } else {
            format!("{code} (incident {id})")
        }
    }
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// What became of an attempt to tell the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// This part has no way to talk to the client.
    NoChannel,
    /// The words are on their way.
    Sent,
    /// There was no room for them, or the channel is gone.
    Refused,
}

/// What waits at a transport to be read: the worse the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unread {
    /// Nothing, or its reader is at work.
    Nothing,
    /// Something that has just been found; its reader has been told. What was found before has been read.
    Found,
    /// Something that its reader has been told of before, and nothing of which has been read since the last look.
    Waits,
}

/// One part of a compartment that must be closed: a namespace's socket, a polling session, a TCP
/// connection. All methods but [`is_transport`](Self::is_transport) and [`carries`](Self::carries) are called from the
/// recovery thread, inside the context of the server's runtime; none may block.
pub trait Seal: Any + Send + Sync {
    /// Whether this part is a connection that its compartment has alone. A compartment that has lost its connection and
    /// still [serves](Self::serves) its client is an orphan, and is sealed when the recovery finds it; so is one whose
    /// part [is lost](Self::is_lost).
    fn is_transport(&self) -> bool {
        false
    }

    /// Whether the client's messages come by this part: a connection, which always counts as one, or a session that uses
    /// several. Asked once, on the thread that attaches it. Only of such a part it is asked whether it
    /// [is lost](Self::is_lost), and for how long the client has [taken nothing](Self::not_taken) or is
    /// [absent](Self::absent).
    fn carries(&self) -> bool {
        self.is_transport()
    }

    /// Whether the client still uses this part: a socket in a namespace, until it leaves.
    fn serves(&self) -> bool {
        false
    }

    /// Comes before [`tell`](Self::tell) of any part: from now on, note whether this notice leaves the process.
    fn watch(&self, _notice: &Notice) {}

    /// Tells the client why it is about to be closed.
    fn tell(&self, _notice: &Notice) -> Told {
        Told::NoChannel
    }

    /// Tells the client that it is about to be closed if it goes on like this.
    fn warn(&self, _notice: &Notice) {}

    /// For how long the client has not taken a single byte although some are waiting for it. Asked of a part that
    /// [carries](Self::carries). One of which this may be said, or that its client is [absent](Self::absent), holds a [`Lagging`](crate::Lagging) meanwhile: it may not be asked
    /// else.
    fn not_taken(&self) -> Option<Duration> {
        None
    }

    /// For how long the client has taken nothing, whether something waits for it or not. `None` when it takes what comes.
    /// Asked of a part that [carries](Self::carries).
    fn absent(&self) -> Option<Duration> {
        self.not_taken()
    }

    /// Whether what waits for the client fills all the room there is. Asked of a client that is
    /// [absent](Self::absent).
    fn is_full(&self) -> bool {
        false
    }

    /// Whether this part stands for something that is gone although nobody was told of its end: a session that the
    /// engine does not know any more. Asked now and then of a part that [carries](Self::carries).
    fn is_lost(&self) -> bool {
        false
    }

    /// Whether the notice has left this process `copies` times, as far as this part can know: each namespace of
    /// the client gets one. `None`: it cannot know. A part that can calls
    /// [`Compartment::progress`](crate::Compartment::progress) when the answer changes. First asked when all parts have
    /// told.
    fn delivered(&self, _notice: &Notice, _copies: usize) -> Option<bool> {
        None
    }

    /// Whether bytes are waiting here that nobody reads. Asked now and then of a part that
    /// [is a transport](Self::is_transport); a panic of this is one of the transport's own code.
    fn unread(&self) -> Unread {
        Unread::Nothing
    }

    /// Leaves every room and namespace. May be called again until [`is_gone`](Self::is_gone).
    fn leave(&self, _mode: SealMode) {}

    /// Closes the transport. `Forced` may follow `Polite`.
    fn close(&self, _mode: CloseMode) {}

    /// Whether nothing of this part is left. [`Compartment::progress`](crate::Compartment::progress) says
    /// when to ask again.
    fn is_gone(&self) -> bool;
}
