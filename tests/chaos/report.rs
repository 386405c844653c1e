//! The table of results.

use std::io;
use std::time::Duration;

use crate::lab::Findings;
use crate::proxies::Kind;
use crate::scenarios::Scenario;

/// A line of the table.
pub struct Row {
    pub scenario: Scenario,
    pub kind: Kind,
    pub outcome: io::Result<Findings>,
}

impl Row {
    pub fn heading() -> String {
        format!(
            "{:<38} {:<8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5} {:>9}",
            "scenario",
            "proxy",
            "sent",
            "200",
            "failed",
            "POSTs",
            "shed",
            "retried",
            "twice",
            "lost",
            "p99"
        )
    }

    /// Results that are faults of Weir; none for the other proxies.
    pub fn faults(&self) -> Vec<String> {
        let findings = match &self.outcome {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Vec::new(),
            Err(error) => return vec![error.to_string()],
            Ok(_) if self.kind != Kind::Weir => return Vec::new(),
            Ok(findings) => findings,
        };
        let mut faults = findings.left.clone();
        let tally = &findings.tally;
        let excused = if self.scenario.may_shed() {
            tally.shed
        } else {
            0
        };
        let unexcused = (tally.failed + tally.failed_posts).saturating_sub(excused);
        if self.scenario.may_shed() && unexcused > 0 {
            faults.push(format!("{unexcused} failures without `Retry-After`"));
        }
        if !self.scenario.may_shed() && tally.failed > 0 {
            faults.push(format!("{} idempotent requests failed", tally.failed));
        }
        if findings.twice > 0 {
            faults.push(format!("{} POSTs executed twice", findings.twice));
        }
        if findings.lost > 0 {
            faults.push(format!(
                "{} POSTs answered and never executed",
                findings.lost
            ));
        }
        faults
    }

    /// The failures, counted by kind of error.
    pub fn errors(&self) -> Vec<String> {
        let Ok(findings) = &self.outcome else {
            return Vec::new();
        };
        findings
            .tally
            .errors
            .iter()
            .map(|(error, count)| format!("{count} x {error}"))
            .collect()
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scenario, proxy) = (self.scenario.name(), self.kind.name());
        write!(f, "{scenario:<38} {proxy:<8} ")?;
        let findings = match &self.outcome {
            Ok(findings) => findings,
            Err(error) => return write!(f, "not run: {error}"),
        };
        let tally = &findings.tally;
        let retried = findings
            .retried
            .map_or("-".to_owned(), |count| count.to_string());
        write!(
            f,
            "{:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5} {:>6.1} ms",
            tally.sent,
            tally.succeeded,
            tally.failed,
            tally.failed_posts,
            tally.shed,
            retried,
            findings.twice,
            findings.lost,
            percentile(&tally.latencies, 0.99).as_secs_f64() * 1000.0,
        )
    }
}

/// The smallest value that `part` of all values do not exceed.
fn percentile(values: &[Duration], part: f64) -> Duration {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() as f64 * part).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
