//! Summarizes a run in a few numbers.

use serde::Serialize;

use super::service::quantile;
use super::{Row, Run};

/// Seconds after which a shortage without a reaction has ended: the load of single seconds varies.
const SHORTAGE_TIMEOUT: u64 = 10;

/// The key numbers of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Largest desired count.
    pub peak_desired: u32,
    /// Number of changes of the desired count.
    pub changes: usize,
    /// Longest time, in seconds, from a load that would bring the metric more than a tenth above
    /// its target until more replicas are desired. `None` if there was no such load, or no
    /// reaction.
    pub reaction: Option<u64>,
    /// Longest time, in seconds, from such a load until enough replicas serve.
    pub enough: Option<u64>,
    /// Desired replicas, integrated over time.
    pub replica_hours: f64,
    /// 95th percentile of the response time of all requests, in milliseconds.
    pub p95: f64,
    /// Seconds in which more requests arrived, or waited, than could be served.
    pub overloaded: usize,
    /// Requests given up by their clients.
    pub lost: f64,
}

/// Summarizes a run.
pub fn summary(run: &Run) -> Summary {
    let rows = &run.rows;
    let (reaction, enough) = reactions(run);
    Summary {
        peak_desired: rows.iter().map(|row| row.desired).max().unwrap_or(0),
        changes: run.changes.len(),
        reaction,
        enough,
        replica_hours: rows.iter().map(|row| f64::from(row.desired)).sum::<f64>() / 3600.0,
        p95: p95(rows) * 1000.0,
        overloaded: rows.iter().filter(|row| row.served.overloaded).count(),
        lost: rows.iter().map(|row| row.served.lost).sum(),
    }
}

/// The 95th percentile of all requests, seconds.
fn p95(rows: &[Row]) -> f64 {
    let total: f64 = rows.iter().map(|row| row.load).sum();
    if total <= 0.0 {
        return 0.0;
    }
    quantile(0.95, |seconds| {
        let slow = rows
            .iter()
            .map(|row| row.load * row.served.response.exceeds(seconds));
        slow.sum::<f64>() / total
    })
}

/// A time in which more replicas were needed than were desired or served.
struct Shortage {
    since: u64,
    /// The last second in which too few were desired.
    last: u64,
    /// Whether the desired count has grown since.
    has_reaction: bool,
}

/// The longest times from the start of a shortage to the reaction, and to its end.
fn reactions(run: &Run) -> (Option<u64>, Option<u64>) {
    let (mut reaction, mut enough) = (None, None);
    let mut shortage: Option<Shortage> = None;
    let mut before = run.rows.first().map_or(0, |row| row.running);
    for (second, row) in (0..).zip(&run.rows) {
        if row.lacks_desired {
            let now = shortage.get_or_insert(Shortage {
                since: second,
                last: second,
                has_reaction: false,
            });
            now.last = second;
        }
        if let Some(now) = &mut shortage {
            // A decision at the end of a second takes effect in the next.
            if row.desired > before && !now.has_reaction {
                now.has_reaction = true;
                reaction = reaction.max(Some(second + 1 - now.since));
            } else if now.has_reaction && !row.lacks_desired && !row.lacks_running {
                enough = enough.max(Some(second - now.since));
                shortage = None;
            } else if !now.has_reaction && second - now.last >= SHORTAGE_TIMEOUT {
                shortage = None;
            }
        }
        before = row.desired;
    }
    (reaction, enough)
}
