//! A run in a few numbers.

use serde::Serialize;

use super::service::quantile;
use super::{Row, Run};

/// Seconds without shortage after which one that nobody answered is over: the load of a single
/// second goes up and down.
const CALM: u64 = 10;

/// What a run comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Most replicas that were desired.
    pub peak_desired: u32,
    /// How often the number was changed.
    pub changes: usize,
    /// Seconds from a rise of the load, so that with the desired replicas the metric would be
    /// more than a tenth above its target, until more are desired: the longest time. `None` if
    /// there was no such rise, or no answer.
    pub reaction: Option<u64>,
    /// Seconds from there until enough replicas serve, their start included: the longest.
    pub enough: Option<u64>,
    /// Replicas that were desired, added up over time.
    pub replica_hours: f64,
    /// 95th percentile of the response time of all requests, in milliseconds.
    pub p95: f64,
    /// Seconds in which more requests came, or waited, than could be served.
    pub overloaded: usize,
    /// Requests whose clients gave up waiting.
    pub lost: f64,
}

/// Sums a run up.
pub fn summary(run: &Run) -> Summary {
    let rows = &run.rows;
    let (reaction, enough) = reactions(run);
    let desired = rows.iter().map(|row| f64::from(row.desired));
    Summary {
        peak_desired: rows.iter().map(|row| row.desired).max().unwrap_or(0),
        changes: run.changes.len(),
        reaction,
        enough,
        replica_hours: desired.sum::<f64>() / 3600.0,
        p95: p95(rows) * 1000.0,
        overloaded: rows.iter().filter(|row| row.moment.overloaded).count(),
        lost: rows.iter().map(|row| row.moment.lost).sum(),
    }
}

/// Seconds, of the requests of all seconds together.
fn p95(rows: &[Row]) -> f64 {
    let total: f64 = rows.iter().map(|row| row.load).sum();
    if total <= 0.0 {
        return 0.0;
    }
    quantile(0.95, |seconds| {
        let slow = rows
            .iter()
            .map(|row| row.load * row.moment.response.exceeds(seconds));
        slow.sum::<f64>() / total
    })
}

/// A time in which more replicas were needed than there were.
struct Shortage {
    since: u64,
    /// The last second in which too few were desired.
    last: u64,
    answered: bool,
}

/// The longest time until a shortage was answered, and until it was over.
fn reactions(run: &Run) -> (Option<u64>, Option<u64>) {
    let (mut reaction, mut enough) = (None, None);
    let mut shortage: Option<Shortage> = None;
    let mut before = run.rows.first().map_or(0, |row| row.running);
    for (second, row) in (0..).zip(&run.rows) {
        if row.is_short {
            let now = shortage.get_or_insert(Shortage {
                since: second,
                last: second,
                answered: false,
            });
            now.last = second;
        }
        if let Some(now) = &mut shortage {
            // What is decided at the end of a second is there at the beginning of the next.
            if row.desired > before && !now.answered {
                now.answered = true;
                reaction = reaction.max(Some(second + 1 - now.since));
            } else if now.answered && !row.is_short && !row.is_scarce {
                enough = enough.max(Some(second - now.since));
                shortage = None;
            } else if !now.answered && second - now.last >= CALM {
                shortage = None;
            }
        }
        before = row.desired;
    }
    (reaction, enough)
}
