//! Supervisors and workers as processes of their own.

#![cfg(unix)]

mod deaths;
mod environment;
mod orphans;
mod stopping;
mod takeover;
mod trial;
mod wedge;
