//! The tests of `it` once more, with the handlers on lanes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop here")]
#![allow(clippy::duplicate_mod, reason = "the same tests in a process with other settings")]

#[path = "../it/adapters.rs"]
mod adapters;
#[path = "../it/client.rs"]
mod client;
#[path = "../it/corners.rs"]
mod corners;
#[path = "../it/discipline.rs"]
mod discipline;
#[path = "../it/drop_in.rs"]
mod drop_in;
#[path = "../it/early_events.rs"]
mod early_events;
#[path = "../it/goodbyes.rs"]
mod goodbyes;
#[path = "../it/heartbeats.rs"]
mod heartbeats;
#[path = "../it/isolation.rs"]
mod isolation;
#[path = "../it/orphans.rs"]
mod orphans;
#[path = "../it/polling.rs"]
mod polling;
#[path = "../it/protocols.rs"]
mod protocols;
#[path = "../it/reader_panic.rs"]
mod reader_panic;
#[path = "../it/server.rs"]
mod server;
#[path = "../it/slow.rs"]
mod slow;
#[path = "../it/thousand.rs"]
mod thousand;
