//! **One socket sinks, the ship sails.** Watertight keeps a fault inside the one connection that caused it.
//!
//! This is the core: no web framework is in it. Most programs use it through an integration:
//! `watertight-socketioxide` for Socket.IO servers and `watertight-axum` for plain WebSockets.
//!
//! ```
//! use watertight::{RingSink, Watertight};
//!
//! # fn main() -> Result<(), watertight::InstallError> {
//! let incidents = RingSink::new(1000);
//! let watertight = Watertight::builder().sink(incidents.clone()).install()?;
//! assert_eq!(watertight.stats().panics, 0);
//! assert!(incidents.latest().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Concepts
//!
//! - A [`Compartment`] is the unit of isolation, one per client connection. The [`Registry`] knows them all;
//!   a [`Lease`] keeps one known.
//! - A [`Scope`] says "the code running now works for this compartment on this [`Activity`]". Guards enter it
//!   on every poll; [`spawn`] and [`ScopeExt`] carry it into child tasks.
//! - A panic in a scope is a [`Fault`] of its compartment. One outside of any scope is traced through the
//!   task that polls a [`Transport`], or else is nobody's. It is never guessed.
//! - The [`Policy`] turns a fault into a [`Verdict`]. To disconnect, the recovery thread seals the compartment
//!   through the [`Seal`] parts that integrations attached to it.
//! - What happened is an [`Incident`] and goes to the [`Sink`]s.
//!
//! # Features
//!
//! - `test`: a sink that keeps everything, for tests.
//!
//! # What it does not promise
//!
//! Only panics that unwind are caught. With `panic = "abort"`, and for aborts of other kinds, the process ends.
//! A task spawned with plain `tokio::spawn` loses its scope: its panic is recorded and nobody is disconnected.

#![forbid(unsafe_code)]

mod activity;
mod aftermath;
mod blocking;
mod board;
mod bounds;
mod breaker;
mod builder;
mod compartment;
mod conduct;
mod deadline;
mod death;
mod error;
mod fault;
pub mod flight;
mod guard;
mod hook;
mod identity;
mod incident;
mod inner;
mod install;
mod lagging;
mod lanes;
mod ledger;
mod mailbox;
mod moment;
mod policy;
mod quarantine;
mod rare;
mod recorder;
mod recovery;
mod registry;
mod runtimes;
mod scope;
mod seal;
mod settings;
mod sink;
mod spare;
mod stacks;
mod state;
mod store;
mod strand;
mod sync;
mod tasks;
mod transport;
mod watchdog;

pub use activity::{Activity, ActivityKind};
pub use blocking::blocking;
pub use bounds::SettingError;
pub use breaker::{
    Admission, BreakerPhase, BreakerSettings, BreakerState, Breakers, Probe, Tripped, admission,
};
pub use builder::Builder;
pub use compartment::Compartment;
pub use conduct::{Conduct, ConductSettings, Limit, Limited, Misbehaviour, RateSettings, Rates, Standing};
pub use death::{Culprit, Death, Exit, Manner};
pub use error::InstallError;
pub use fault::{Attribution, Component, Fault, Location, Outcome, Report};
pub use guard::{Caught, Guarded, NoResponder, quietly, run, run_lent};
pub use identity::{Identity, ParseNetworkError, TrustedProxies};
pub use incident::{Incident, IncidentId, Offender, ParseIncidentIdError};
pub use install::{Stats, Watertight, ensure_installed, installed, submit};
pub use lagging::Lagging;
pub use lanes::{Drain, LaneSettings, LaneTask, Lanes, lanes};
pub use moment::{Moment, coarse_ms};
pub use policy::{Case, Policy, StandardPolicy, Verdict};
pub use quarantine::{AllowEntry, Entry, Held, Quarantine, QuarantineSettings, Strike};
pub use recorder::Recorder;
pub use registry::{Lease, Registry};
pub use scope::{Entered, Scope, ScopeExt, misbehaved, spawn};
pub use seal::{CloseMode, Notice, Seal, SealMode, Told, Unread};
pub use settings::PreviousHook;
#[cfg(feature = "test")]
pub use sink::CaptureSink;
pub use sink::{BroadcastSink, Event, RingSink, Sink, TracingSink};
pub use spare::{keep_extensions, spare_extensions};
pub use stacks::{NameFrames, Stacks};
pub use state::State;
pub use store::{Journal, MemoryStore, Store};
pub use strand::{Job, Strand, StrandLimits};
pub use tasks::spawn_brief;
pub use transport::{Connection, ServerId, Transport, TransportTasks};
pub use watchdog::Stall;
