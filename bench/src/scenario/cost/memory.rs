//! How much memory the server needs for a client that is there and does nothing.

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::Run;
use crate::client::Transport;
use crate::crowd::Crowd;
use crate::machine::resident;
use crate::report::{Report, Table, or_dash};
use crate::server::{Kind, Server};
use crate::stats::Stats;

/// In bytes: of the bare server's memory for a connection, at most so many more.
const BAR: f64 = 512.0;
/// How many clients are there when it is asked.
const CLIENTS: [usize; 4] = [0, 500, 1_000, 2_000];
const QUICK_CLIENTS: [usize; 2] = [0, 200];
/// In bytes for each client that was there: what may be left of it when it has gone.
const LEFT: f64 = 16.0;
/// How many crowds come and go to see what is left of them.
const CROWDS: usize = 4;
/// Clients before those that count: what is made once is there.
const WARM_UP: usize = 10;

/// One server over one transport.
#[derive(Serialize)]
pub(super) struct Case {
    pub(super) transport: Transport,
    pub(super) kind: Kind,
    points: Vec<Point>,
    /// Bytes for each client, as the slope over the points.
    pub(super) allocated: f64,
    pub(super) resident: Option<f64>,
    /// Bytes for each client that every crowd leaves behind.
    left: f64,
}

#[derive(Serialize)]
struct Point {
    clients: usize,
    allocated: u64,
    resident: Option<u64>,
}

pub(super) fn measure(run: &Run, report: &mut Report) -> Result<Vec<Case>> {
    let mut table = Table::begin(
        "Memory of the server for each idle client, in bytes",
        2,
        &["transport", "server ", "allocated", "more", "resident", "left when gone"],
    );
    let mut cases: Vec<Case> = Vec::new();
    for transport in Transport::ALL {
        let bare = Case::measure(run, transport, Kind::Bare)?;
        let guarded = Case::measure(run, transport, Kind::Guarded)?;
        let more = guarded.allocated - bare.allocated;
        table.row(bare.cells(None));
        table.row(guarded.cells(Some(more)));
        let line = format!("an idle client over {transport} takes {more:+.0} bytes (≤ {BAR:+.0})");
        report.verdict.bar(more <= BAR, line);
        let left = guarded.left;
        let line = format!("of a client over {transport} that has gone, {left:.1} bytes are left (≤ {LEFT})");
        report.verdict.must(left <= LEFT, line);
        cases.extend([bare, guarded]);
    }
    report.tables.push(table);
    Ok(cases)
}

impl Case {
    fn measure(run: &Run, transport: Transport, kind: Kind) -> Result<Self> {
        let log = run.results.join(format!("cost-memory-{}.log", kind.name()));
        let server = Server::counted(kind, &[], &log)?;
        let sizes = if run.quick { &QUICK_CLIENTS[..] } else { &CLIENTS[..] };
        let largest = sizes.last().copied().unwrap_or_default();
        Crowd::gather(server.address(), transport, WARM_UP)?.leave()?;
        let mut points = vec![Point::of(&server, 0)?];
        for &clients in sizes.iter().filter(|&&clients| clients > 0) {
            let crowd = Crowd::gather(server.address(), transport, clients)?;
            points.push(Point::of(&server, clients)?);
            crowd.leave()?;
            Stats::settled(server.address(), 0)?;
        }
        let mut gone = Vec::new();
        for _ in 0..CROWDS {
            Crowd::gather(server.address(), transport, largest)?.leave()?;
            gone.push(Point::of(&server, 0)?.allocated);
        }
        let left = least_left(&gone, largest);
        let slope_of = |of: fn(&Point) -> Option<u64>| {
            let points: Option<Vec<_>> =
                points.iter().map(|point| Some((point.clients, of(point)?))).collect();
            points.map(|points| slope(&points))
        };
        let allocated = slope_of(|point| Some(point.allocated)).context("it is counted")?;
        let resident = slope_of(|point| point.resident);
        Ok(Self { transport, kind, points, allocated, resident, left })
    }

    fn cells(&self, more: Option<f64>) -> Vec<String> {
        vec![
            self.transport.to_string(),
            self.kind.name().to_owned(),
            format!("{:.0}", self.allocated),
            or_dash(more.map(|more| format!("{more:+.0}"))),
            or_dash(self.resident.map(|resident| format!("{resident:.0}"))),
            format!("{:.1}", self.left),
        ]
    }
}

impl Point {
    fn of(server: &Server, clients: usize) -> Result<Self> {
        let stats = Stats::settled(server.address(), clients)?;
        let allocated = stats.allocated.context("a server that counts its allocations tells them")?;
        Ok(Self { clients, allocated, resident: resident(server.process()) })
    }
}

/// Bytes for each client. What every crowd leaves is a leak; a table that happens to grow at one of them is none.
fn least_left(gone: &[u64], clients: usize) -> f64 {
    let least = gone.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min();
    #[expect(clippy::cast_precision_loss, reason = "bytes for each of some")]
    let left = least.unwrap_or_default() as f64 / clients.max(1) as f64;
    left
}

/// How much `y` grows for each `x`: least squares.
fn slope(points: &[(usize, u64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bytes and clients")]
    let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x as f64, y as f64)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few points")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    both / square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_what_every_crowd_leaves() {
        assert!((least_left(&[1_000, 5_000, 5_000, 9_000], 10)).abs() < 1e-9);
        assert!((least_left(&[1_000, 1_400, 1_800, 2_300], 10) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn the_slope_is_that_of_a_line() {
        assert!((slope(&[(0, 100), (10, 150), (20, 200)]) - 5.0).abs() < 1e-9);
        assert!((slope(&[(0, 7), (1, 7)])).abs() < 1e-9);
    }
}
