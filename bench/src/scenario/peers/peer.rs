//! Who is compared, and what goes wrong in each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::party::Language;
use crate::mortal::{Mortal, Program};
use crate::peers;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Peer {
    Watertight,
    Bare,
    Node,
    Erlang,
}

/// What one client's message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fault {
    /// A panic, an exception that nobody catches, an error.
    Crash,
    /// The promise of an asynchronous handler is rejected.
    Rejection,
    /// The handler does not give its thread back for three seconds.
    Block,
    /// SIGABRT.
    Abort,
}

/// The programs of those that a manager starts. `None` for what is not there.
pub(super) struct Programs {
    bare: Program,
    node: Option<Program>,
    erlang: Option<Program>,
}

impl Programs {
    /// What is there, and a sentence for each that is not.
    pub(super) fn find(results: &Path) -> Result<(Self, Vec<String>)> {
        let mut missing = Vec::new();
        let mut there = |found: peers::Found| found.map_err(|sentence| missing.push(sentence)).ok();
        let node = there(peers::node());
        let erlang = there(peers::erlang(&results.join("erlang")));
        Ok((Self { bare: peers::bare()?, node, erlang }, missing))
    }
}

impl Peer {
    pub(super) const ALL: [Self; 4] = [Self::Watertight, Self::Bare, Self::Node, Self::Erlang];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Watertight => "Watertight",
            Self::Bare => "bare socketioxide",
            Self::Node => "Node socket.io",
            Self::Erlang => "Erlang gen_server",
        }
    }

    pub(super) fn is_there(self, programs: &Programs) -> bool {
        match self {
            Self::Watertight | Self::Bare => true,
            Self::Node => programs.node.is_some(),
            Self::Erlang => programs.erlang.is_some(),
        }
    }

    pub(super) fn language(self) -> Language {
        match self {
            Self::Watertight => Language::SocketIo("/lab"),
            Self::Bare | Self::Node => Language::SocketIo("/"),
            Self::Erlang => Language::Lines,
        }
    }

    /// Whether it promises to close the connection of whoever causes a fault.
    pub(super) fn promises_to_close(self) -> bool {
        self == Self::Watertight
    }

    /// What its client has to send for that fault. `None` for one that it does not know.
    pub(super) fn event(self, fault: Fault) -> Option<&'static str> {
        Some(match (fault, self) {
            (Fault::Crash, Self::Watertight | Self::Bare) => "panic_async",
            (Fault::Crash, Self::Node) => "throw",
            (Fault::Crash, Self::Erlang) => "crash",
            (Fault::Rejection, Self::Node) => "reject",
            (Fault::Rejection, _) => return None,
            (Fault::Block, _) => "block",
            (Fault::Abort, _) => "abort",
        })
    }

    /// A new one. Its logs are in `results`.
    pub(super) fn start(self, programs: &Programs, results: &Path) -> Result<Mortal> {
        let log = results.join(format!("peers.{self:?}.log").to_lowercase());
        let program = match self {
            Self::Watertight => return Mortal::watertight(&[], &log),
            Self::Bare => Some(&programs.bare),
            Self::Node => programs.node.as_ref(),
            Self::Erlang => programs.erlang.as_ref(),
        };
        Mortal::managed(program.with_context(|| format!("{} is not there", self.name()))?.clone(), &log)
    }
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::Crash, Self::Rejection, Self::Block, Self::Abort];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Rejection => "rejection",
            Self::Block => "block",
            Self::Abort => "abort",
        }
    }

    /// How long it is watched: longer than it lasts.
    pub(super) fn watched(self, quick: bool) -> Duration {
        match self {
            _ if quick => Duration::from_millis(600),
            Self::Crash | Self::Rejection | Self::Abort => Duration::from_millis(1_500),
            Self::Block => Duration::from_millis(4_500),
        }
    }
}
