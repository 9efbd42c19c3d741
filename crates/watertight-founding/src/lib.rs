//! The panic that this project was founded on, reproduced with the real crates of that time: `engineioxide 0.10.2` panics
//! at `ws.rs:190` when a client sends a WebSocket ping. This crate is empty; see its tests.

#![forbid(unsafe_code)]
