//! What is fuzzed, one file for each.

mod allow;
mod board;
mod component;
mod identity;
mod incident;
#[cfg(unix)]
mod journal;
mod proxies;
mod query;
mod settings;
mod watch;

/// Something that takes any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and its folder's in the corpus.
    pub name: &'static str,
    /// Panics when what it promises does not hold.
    pub check: fn(&[u8]),
    /// What its inputs are made of.
    pub words: &'static [&'static str],
    /// What an input may cost to allocate, all in all, in bytes; so much for each of its bytes comes on top.
    pub memory: usize,
}

/// What most of them may cost.
const MEMORY: usize = 64 * 1024;

/// All of them.
pub const TARGETS: &[Target] = &[
    allow::TARGET,
    board::TARGET,
    component::TARGET,
    identity::TARGET,
    incident::TARGET,
    #[cfg(unix)]
    journal::TARGET,
    proxies::TARGET,
    query::TARGET,
    settings::TARGET,
    watch::TARGET,
];

/// What addresses and networks are made of.
const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "127.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::1",
    "::",
    "fe80::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "/0",
    "/8",
    "/32",
    "/64",
    "/95",
    "/96",
    "/104",
    "/128",
    "/129",
    "[",
    "]",
    ":80",
    ":",
    ".",
    "%eth0",
    "name:",
    "user:42",
    " ",
    ",",
    "\n",
];

/// The bytes as text, as far as they are.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
