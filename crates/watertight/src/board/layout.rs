//! How the board is laid out, in words of eight bytes: the same in this process's memory and in memory that outlives it.
//!
//! A reader of another build goes by what the header says of the sizes. What a word means never changes within one
//! [`VERSION`]; new words take the place of unused ones.

/// Begins every board that may outlive its process.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"WTBOARD\0");
/// Of the meaning of the words.
pub(crate) const VERSION: u64 = 2;

pub(crate) const HEADER_WORDS: usize = 64;

/// How many threads can be watched at once: executors, lanes with their spares, and some to spare. A thread that
/// finds no slot works as ever, and is not watched.
pub(crate) const SLOTS: usize = 512;
/// Two cache lines for what a thread works on, which its writer must not share with its neighbours, and the ring.
pub(crate) const SLOT_WORDS: usize = 64;

/// As many as activities are told apart by number.
pub(crate) const ACTIVITIES: usize = crate::activity::MAX_KNOWN;
pub(crate) const ACTIVITY_WORDS: usize = 16;

/// How many connections have a name on the board at once. Further ones are as safe as ever; after a death they are a
/// number.
pub(crate) const PEOPLE: usize = 65_536;
pub(crate) const PERSON_WORDS: usize = 16;

/// Everything together: 10.3 MiB of addresses, of which only what is used becomes memory.
pub(crate) const ALL_WORDS: usize =
    HEADER_WORDS + SLOTS * SLOT_WORDS + ACTIVITIES * ACTIVITY_WORDS + PEOPLE * PERSON_WORDS;

/// Words of the header.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    /// How many slots, activities and people there are, and the words of each.
    pub(crate) const SLOTS: usize = 2;
    pub(crate) const SLOT_WORDS: usize = 3;
    pub(crate) const ACTIVITIES: usize = 4;
    pub(crate) const ACTIVITY_WORDS: usize = 5;
    pub(crate) const PEOPLE: usize = 6;
    pub(crate) const PERSON_WORDS: usize = 7;
    pub(crate) const PROCESS: usize = 8;
    /// Milliseconds since the board was made, to within one look of the watchdog.
    pub(crate) const CLOCK: usize = 9;
    /// Grows while the runtimes answer.
    pub(crate) const ANSWERS: usize = 10;
    /// Slots from here on have never been used.
    pub(crate) const USED: usize = 11;
    /// How many connections there are that found no row.
    pub(crate) const NAMELESS: usize = 12;
    /// How the process died: see [`CrashState`](crate::flight::Crash).
    pub(crate) const CRASH: usize = 16;
    pub(crate) const CRASH_THREAD: usize = 17;
    pub(crate) const CRASH_SIGNAL: usize = 18;
    pub(crate) const CRASH_CODE: usize = 19;
    pub(crate) const CRASH_ADDRESS: usize = 20;
    pub(crate) const CRASH_STACK: usize = 21;
    /// Who sent the signal; 0 for the kernel.
    pub(crate) const CRASH_SENDER: usize = 22;
}

/// Words of a slot.
pub(crate) mod slot {
    /// The thread that owns it; 0 for nobody.
    pub(crate) const OWNER: usize = 0;
    pub(crate) const FLAGS: usize = 1;
    /// Odd while scopes that are nested are being written.
    pub(crate) const VERSION: usize = 2;
    /// How deep scopes are nested, in the lowest 16 bits, and a number that grows whenever the thread leaves its outermost
    /// scope.
    pub(crate) const TURN: usize = 3;
    /// The innermost scope: see [`line`](super::line). Of a thread that is in none, the last that it turned to.
    pub(crate) const CURRENT: usize = 4;
    /// The scope that the turn began with, while scopes are nested.
    pub(crate) const OUTERMOST: usize = 7;
    /// What the stack of its thread can be taken by; 0 for not at all.
    pub(crate) const ENROLLED: usize = 10;
    /// The compartment whose bytes the thread has just read, outside of any scope; 0 for none.
    pub(crate) const READING: usize = 11;
    pub(crate) const NAME: usize = 12;
    pub(crate) const NAME_WORDS: usize = 3;
    /// How many lines the ring has ever had. The next one takes the place of the oldest, which is not to be believed.
    pub(crate) const RING_HEAD: usize = 15;
    pub(crate) const RING: usize = 16;
    pub(crate) const RING_LINES: usize = (super::SLOT_WORDS - RING) / super::line::WORDS;

    /// The depth's part of [`TURN`].
    pub(crate) const DEPTH: u64 = 0xffff;

    /// The thread is one of the lanes'.
    pub(crate) const LANE: u64 = 1;
    /// The thread may take as long as it likes.
    pub(crate) const UNWATCHED: u64 = 2;
}

/// Words of a scope: in a slot and in its ring.
pub(crate) mod line {
    pub(crate) const WORDS: usize = 3;
    /// The compartment's key; 0 outside of any scope.
    pub(crate) const COMPARTMENT: usize = 0;
    /// The activity's number.
    pub(crate) const ACTIVITY: usize = 1;
    /// By the header's clock.
    pub(crate) const SINCE: usize = 2;
}

/// Words of an activity. Its row is its number modulo their count.
pub(crate) mod activity {
    /// 0 while it is being written.
    pub(crate) const NUMBER: usize = 0;
    /// From the lowest byte on: the kind, the bytes of the namespace, the bytes of the name, whether either was cut.
    pub(crate) const FORM: usize = 1;
    /// The namespace, then the name.
    pub(crate) const TEXT: usize = 2;
    /// A longer namespace is cut, so that something is left for the name.
    pub(crate) const NAMESPACE_BYTES: usize = 48;
}

/// Words of a connection. Its row is any.
pub(crate) mod person {
    /// The compartment's key; 0 for nobody.
    pub(crate) const KEY: usize = 0;
    /// Odd while the rest is being written.
    pub(crate) const VERSION: usize = 1;
    /// The hash of the address that it comes from, as an identity; 0 where that says nothing.
    pub(crate) const ADDRESS_HASH: usize = 2;
    /// From the lowest byte on: the bytes of the session, the bytes of the identity, whether the session was cut, nothing,
    /// and four bytes of the identity's hash.
    pub(crate) const FORM: usize = 3;
    pub(crate) const SESSION: usize = 4;
    pub(crate) const SESSION_WORDS: usize = 3;
    pub(crate) const IDENTITY: usize = 7;
    pub(crate) const IDENTITY_WORDS: usize = super::PERSON_WORDS - IDENTITY;
    /// How many rows a connection tries. With nine of ten taken, one connection in thirty finds none.
    pub(crate) const TRIES: u64 = 32;
}
