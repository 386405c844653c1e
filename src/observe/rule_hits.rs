//! How often each rule has matched, and when it last did.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::live_hits::RuleName;
use super::metrics::{Metrics, lock};

/// The requests of one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleHits {
    /// How many there were.
    pub count: u64,
    /// When the last of them ended; `None` before the first.
    pub last: Option<SystemTime>,
}

impl Metrics {
    /// The requests of each rule that has had some, on all workers. Counts stay over reloads: a
    /// rule is known by its listener and priority.
    pub fn rule_hits(&self) -> BTreeMap<RuleName, RuleHits> {
        let mut hits: BTreeMap<RuleName, RuleHits> = BTreeMap::new();
        for shard in lock(&self.workers).iter() {
            for rule in lock(&shard.rules).iter() {
                let (count, since_start) = rule.read();
                let sum = hits.entry(rule.rule.clone()).or_default();
                sum.count += count;
                sum.last = sum.last.max(Some(self.started() + since_start));
            }
        }
        hits
    }
}

/// How a rule is named in metrics: by its priority.
pub(super) fn rule_label(rule: Option<u32>) -> String {
    rule.map_or_else(|| "default".to_owned(), |priority| priority.to_string())
}
