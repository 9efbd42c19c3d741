//! What a compartment's code was doing: "event `chat` of namespace `/`".

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The kind of work an [`Activity`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivityKind {
    /// A handler that runs when a client connects to a namespace.
    Connect,
    /// A check that runs before a client is let into a namespace.
    Middleware,
    /// A handler of one named event.
    Event,
    /// The handler of events that no other handler is registered for.
    Fallback,
    /// A handler that runs when a client has left a namespace.
    Disconnect,
    /// The transport's own code: framing, parsing, heartbeats.
    Transport,
    /// A plain WebSocket's handler.
    WebSocket,
    /// Work that the application named itself.
    Task,
}

impl ActivityKind {
    /// The name used in logs, metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Middleware => "middleware",
            Self::Event => "event",
            Self::Fallback => "fallback",
            Self::Disconnect => "disconnect",
            Self::Transport => "transport",
            Self::WebSocket => "websocket",
            Self::Task => "task",
        }
    }
}

/// What the code that runs now is working on. Cheap to clone; equal by value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Activity(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    kind: ActivityKind,
    namespace: Cow<'static, str>,
    name: Cow<'static, str>,
}

impl Activity {
    /// An activity of `kind` in `namespace` (empty when there are no namespaces), called `name`
    /// (an event's name; empty where the kind says it all).
    pub fn new(
        kind: ActivityKind,
        namespace: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Arc::new(Parts { kind, namespace: namespace.into(), name: name.into() }))
    }

    /// The transport's own work.
    #[must_use]
    pub fn transport() -> Self {
        Self::new(ActivityKind::Transport, "", "")
    }

    /// The kind of work.
    #[must_use]
    pub fn kind(&self) -> ActivityKind {
        self.0.kind
    }

    /// The namespace, or an empty string.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The event's or task's name, or an empty string.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.as_str())?;
        for part in [self.namespace(), self.name()] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Activity({self})")
    }
}

impl Serialize for Activity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let Parts { kind, namespace, name } = &*self.0;
        let mut out = serializer.serialize_struct("Activity", 3)?;
        out.serialize_field("kind", kind)?;
        out.serialize_field("namespace", namespace)?;
        out.serialize_field("name", name)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_only_what_it_has() {
        assert_eq!(Activity::transport().to_string(), "transport");
        assert_eq!(Activity::new(ActivityKind::Event, "/", "chat").to_string(), "event / chat");
        assert_eq!(Activity::new(ActivityKind::Connect, "/lab", "").to_string(), "connect /lab");
    }
}
