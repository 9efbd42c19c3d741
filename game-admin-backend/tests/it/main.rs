//! The whole server, spoken to as a client would.

mod admin;
mod client;
mod drain;
mod lab;
mod players;
mod probes;
mod program;
