//! The whole server, spoken to as a client would.

mod admin;
mod client;
mod drain;
mod players;
mod probes;
mod program;
