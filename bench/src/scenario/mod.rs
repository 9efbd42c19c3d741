//! What can be measured, each in a file of its own.

mod attribution;
pub(crate) mod board;
mod cost;
mod death;
mod growth;
mod lanes;
mod peers;
mod storm;
mod tell;

use anyhow::Result;
use clap::ValueEnum;

use crate::Run;
use crate::machine::Listening;
use crate::report::Verdict;

/// What can be measured, in the order of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// What protection costs, beside a bare server.
    Cost,
    /// How soon the client of a panic is told and closed.
    Tell,
    /// What a storm of panics is to those who have nothing to do with it.
    Storm,
    /// Whether panics are traced to whose they are, a million of them.
    Attribution,
    /// How soon everybody is back after the process has died.
    Death,
    /// What grows with the number of clients.
    Growth,
    /// What it costs to run handlers on lanes.
    Lanes,
    /// What the board costs for each poll.
    Board,
    /// One client's fault in Watertight and in servers of others.
    Peers,
}

impl Scenario {
    /// What its results are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tell => "tell",
            Self::Death => "death",
            Self::Storm => "storm",
            Self::Attribution => "attribution",
            Self::Lanes => "lanes",
            Self::Board => "board",
            Self::Growth => "growth",
            Self::Peers => "peers",
        }
    }

    /// Measures, prints, and writes the results.
    ///
    /// # Errors
    ///
    /// When it could not be measured.
    pub(crate) fn run(self, run: &Run) -> Result<Verdict> {
        let listening = Listening::start();
        let report = match self {
            Self::Cost => cost::run(run),
            Self::Tell => tell::run(run),
            Self::Death => death::run(run),
            Self::Storm => storm::run(run),
            Self::Attribution => attribution::run(run),
            Self::Lanes => lanes::run(run),
            Self::Board => board::run(run),
            Self::Growth => growth::run(run),
            Self::Peers => peers::run(run),
        }?;
        for note in &report.notes {
            println!("\n{note}");
        }
        report.write(&run.results, self.name(), run.quick, listening.end())
    }
}
