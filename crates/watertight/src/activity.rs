//! What a compartment's code was doing: "event `chat` of namespace `/`".

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::board;

/// How many different activities the process tells apart by number. Past that, those that nobody uses are forgotten;
/// when all are used, a further one has no number and a stall in it is reported without its name.
pub(crate) const MAX_KNOWN: usize = 16 * 1024;

/// When looking for those that nobody uses has found less than so many, the next look is so many later.
const SPARINGLY: usize = MAX_KNOWN / 16;

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// The activities that exist, each once.
#[derive(Default)]
struct Known {
    all: HashSet<Arc<Parts>>,
    /// By the row that its number has on the board, so that none loses its name there to a new one while it is used.
    by_row: HashMap<u32, Arc<Parts>>,
    last: u32,
    /// For how many more nobody looks for those that nobody uses: it was in vain the last time.
    wait: usize,
}

/// The kind of work an [`Activity`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// Every kind, each at the place that is its number on the board. New ones go to the end.
    const ALL: [Self; 8] = [
        Self::Connect,
        Self::Middleware,
        Self::Event,
        Self::Fallback,
        Self::Disconnect,
        Self::Transport,
        Self::WebSocket,
        Self::Task,
    ];

    /// What the board knows it by.
    pub(crate) fn number(self) -> u8 {
        Self::ALL.iter().position(|kind| *kind == self).map_or(u8::MAX, |at| at as u8)
    }

    /// The kind that the board knows by this number.
    pub(crate) fn by_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What the code that runs now is working on. Cheap to clone; equal by value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Activity(Arc<Parts>);

struct Parts {
    /// What the board knows it by; 0 for none.
    number: u32,
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
        let parts = Parts { number: 0, kind, namespace: namespace.into(), name: name.into() };
        if let Some(known) = KNOWN.read().all.get(&parts) {
            return Self(Arc::clone(known));
        }
        Self(KNOWN.write().add(parts))
    }

    /// The activity that the board knows by this number, while somebody uses it.
    pub(crate) fn by_number(number: u32) -> Option<Self> {
        let known = KNOWN.read();
        known.by_row.get(&row_of(number)).filter(|parts| parts.number == number).cloned().map(Self)
    }

    /// What the board knows it by; 0 for none.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// Writes what is known by now on the board of this process, which has just been set up.
    pub(crate) fn write_all() {
        // Alone, as every writer.
        let known = KNOWN.write();
        for parts in known.by_row.values() {
            board::write_activity(parts.number, parts.kind, &parts.namespace, &parts.name);
        }
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

impl Known {
    fn add(&mut self, mut parts: Parts) -> Arc<Parts> {
        // Another thread may have been faster.
        if let Some(known) = self.all.get(&parts) {
            return Arc::clone(known);
        }
        if self.all.len() >= MAX_KNOWN && self.wait > 0 {
            self.wait -= 1;
        } else if self.all.len() >= MAX_KNOWN {
            self.by_row.retain(|_, known| Arc::strong_count(known) > 2);
            let Self { all, by_row, .. } = self;
            all.retain(|known| by_row.contains_key(&row_of(known.number)));
            // Looking takes time, in which everybody waits.
            if all.len() > MAX_KNOWN - SPARINGLY {
                self.wait = SPARINGLY;
            }
        }
        if self.all.len() >= MAX_KNOWN {
            return Arc::new(parts);
        }
        // Fewer are known than there are rows.
        let mut further = (self.last..u32::MAX).map(|last| last + 1);
        let Some(number) = further.find(|number| !self.by_row.contains_key(&row_of(*number))) else {
            return Arc::new(parts);
        };
        self.last = number;
        parts.number = number;
        board::write_activity(self.last, parts.kind, &parts.namespace, &parts.name);
        let parts = Arc::new(parts);
        self.all.insert(Arc::clone(&parts));
        self.by_row.insert(row_of(number), Arc::clone(&parts));
        parts
    }
}

/// Where on the board the activity with this number has its name.
pub(crate) fn row_of(number: u32) -> u32 {
    number % MAX_KNOWN as u32
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.namespace, &self.name) == (other.kind, &other.namespace, &other.name)
    }
}

impl Eq for Parts {}

impl Hash for Parts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, &self.namespace, &self.name).hash(state);
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

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As it is serialised.
        #[derive(Deserialize)]
        struct Form {
            kind: ActivityKind,
            namespace: String,
            name: String,
        }

        let Form { kind, namespace, name } = Form::deserialize(deserializer)?;
        Ok(Self::new(kind, namespace, name))
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
        let Parts { number: _, kind, namespace, name } = &*self.0;
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
    fn the_same_again_has_the_same_number() {
        let chat = Activity::new(ActivityKind::Event, "/", "chat");
        let again = Activity::new(ActivityKind::Event, "/".to_owned(), "chat".to_owned());
        assert_eq!((&chat, chat.number()), (&again, again.number()));
        assert_eq!(Activity::by_number(chat.number()), Some(chat.clone()));
        assert_ne!(Activity::new(ActivityKind::Task, "/", "chat").number(), chat.number());
    }

    #[test]
    fn those_that_nobody_uses_are_forgotten_when_there_are_too_many() {
        let mut known = Known::default();
        let parts = |n: usize| Parts {
            number: 0,
            kind: ActivityKind::Task,
            namespace: "".into(),
            name: n.to_string().into(),
        };
        let kept = known.add(parts(0));
        for n in 1..3 * MAX_KNOWN {
            known.add(parts(n));
        }
        assert!(known.all.len() <= MAX_KNOWN && known.by_row.len() <= MAX_KNOWN);
        assert!(Arc::ptr_eq(&kept, &known.add(parts(0))), "one in use stays");
        let used: Vec<_> = (0..MAX_KNOWN).map(|n| known.add(parts(n))).collect();
        assert_eq!(known.add(parts(4 * MAX_KNOWN)).number, 0, "all are in use");
        drop(used);
        let numbers = (0..=SPARINGLY).map(|n| known.add(parts(5 * MAX_KNOWN + n)).number);
        assert_ne!(numbers.last(), Some(0), "it is looked again after a while");
    }

    /// Clients make up names of fallbacks: many of them must not leave the event that everybody uses without its own.
    #[test]
    fn one_that_is_used_keeps_its_row() {
        let mut known = Known::default();
        let parts = |n: usize| Parts {
            number: 0,
            kind: ActivityKind::Fallback,
            namespace: "".into(),
            name: n.to_string().into(),
        };
        let used = known.add(parts(0));
        let others = (1..3 * MAX_KNOWN).map(|n| known.add(parts(n)).number);
        assert!(others.into_iter().all(|number| row_of(number) != row_of(used.number)));
    }

    #[test]
    fn a_kind_is_known_by_its_number() {
        for kind in ActivityKind::ALL {
            assert_eq!(ActivityKind::by_number(kind.number()), Some(kind));
        }
        assert_eq!(ActivityKind::by_number(u8::MAX), None);
    }

    #[test]
    fn comes_back_as_it_was() {
        let activity = Activity::new(ActivityKind::Event, "/", "chat");
        let text = serde_json::to_string(&activity).expect("serialises");
        assert_eq!(serde_json::from_str::<Activity>(&text).expect("reads back"), activity);
    }

    #[test]
    fn displays_only_what_it_has() {
        assert_eq!(Activity::transport().to_string(), "transport");
        assert_eq!(Activity::new(ActivityKind::Event, "/", "chat").to_string(), "event / chat");
        assert_eq!(Activity::new(ActivityKind::Connect, "/lab", "").to_string(), "connect /lab");
    }
}
