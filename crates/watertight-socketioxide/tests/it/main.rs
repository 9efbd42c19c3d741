//! Tests of the drop-in over real sockets. One process, one panic hook, one capturing sink.
//!
//! `WATERTIGHT_TEST_LANES=1` runs them with the handlers on lanes; `cargo xtask test` runs them both ways.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop here")]

mod adapters;
mod client;
mod corners;
mod discipline;
mod drop_in;
mod early_events;
mod given;
mod goodbyes;
mod heartbeats;
mod isolation;
mod latecomers;
mod orphans;
mod polling;
mod protocols;
mod reader_panic;
mod server;
mod slow;
mod thousand;
