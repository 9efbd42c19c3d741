//! Supervisors and workers as processes of their own. They are looked at through `/proc`.

#![cfg(target_os = "linux")]

mod deaths;
mod environment;
mod orphans;
mod stopping;
mod takeover;
mod trial;
mod wedge;
