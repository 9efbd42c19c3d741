//! What dies: Watertight's server, and others under a process manager.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::mortal::{Mortal, Program};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// The game server with its parent process, with defaults.
    Watertight,
    /// The same, and it accepts as fast as it can after a death.
    Unpaced,
    /// socketioxide as it is, under a manager.
    Bare,
    /// Socket.IO on Node, under the same.
    Node,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Watertight => "Watertight",
            Self::Unpaced => "Watertight, unpaced",
            Self::Bare => "bare socketioxide",
            Self::Node => "Node socket.io",
        }
    }

    /// Whether it is ours, which promises something.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Watertight | Self::Unpaced)
    }
}

/// The programs of those that a manager starts.
pub(super) struct Programs {
    pub(super) bare: Program,
    pub(super) node: Option<Program>,
}

impl Subject {
    /// A new one, which has not died yet. Its logs are in `results`.
    pub(super) fn start(self, programs: &Programs, results: &Path) -> Result<Mortal> {
        let log = |name: &str| results.join(format!("death.{name}.log"));
        match self {
            Self::Watertight => Mortal::watertight(&[], &log("watertight")),
            Self::Unpaced => {
                Mortal::watertight(&["--set", "supervisor.accepts_per_second=0"], &log("unpaced"))
            }
            Self::Bare => Mortal::managed(programs.bare.clone(), &log("bare")),
            Self::Node => {
                let node = programs.node.clone().context("Node is measured only where it is there")?;
                Mortal::managed(node, &log("node"))
            }
        }
    }

    /// The namespace that has an event `echo`.
    pub(super) fn namespace(self) -> &'static str {
        if self.is_ours() { "/lab" } else { "/" }
    }
}
