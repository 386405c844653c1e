//! The rules of a listener, with their hits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::timestamp;
use crate::model::{Action, Condition, Forward, ListenerId, RedirectPart, Rule, TargetGroupId};
use crate::observe::{RuleHits, RuleName};

/// One rule of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleStatus {
    /// 1-50000, lowest first; `None` for the default action.
    pub priority: Option<u32>,
    /// What must hold, a sentence each; empty for the default action.
    pub conditions: Vec<String>,
    /// What happens if all of it holds.
    pub action: String,
    /// Requests since the start that it took; of the default action also connections of protocol
    /// `tcp`.
    pub hits: u64,
    /// When the last of them ended; `None` if it took none.
    pub last_hit: Option<Timestamp>,
}

/// The rules of a listener in their order, and its default action.
pub(super) fn rules(
    listener: &ListenerId,
    (rules, default): (&[Rule<TargetGroupId>], &Action<TargetGroupId>),
    hits: &BTreeMap<RuleName, RuleHits>,
) -> Vec<RuleStatus> {
    let status = |priority, conditions: &[Condition], action| {
        let known = hits.get(&(listener.clone(), priority));
        let RuleHits { count, last } = known.copied().unwrap_or_default();
        RuleStatus {
            priority,
            conditions: conditions.iter().map(condition).collect(),
            action: summary(action),
            hits: count,
            last_hit: last.map(timestamp),
        }
    };
    let rules = rules
        .iter()
        .map(|rule| status(Some(rule.priority.0), &rule.conditions, &rule.action));
    rules.chain([status(None, &[], default)]).collect()
}

/// A condition in words: `path is /api/* or /v1/*`.
fn condition(condition: &Condition) -> String {
    fn any<T: ToString>(values: &[T]) -> String {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        values.join(" or ")
    }
    match condition {
        Condition::Host(hosts) => format!("host is {}", any(hosts)),
        Condition::Path(paths) => format!("path is {}", any(paths)),
        Condition::Method(methods) => format!("method is {}", any(methods)),
        Condition::Header { name, values } => format!("header {name} is {}", any(values)),
        Condition::Query(matches) => {
            let pairs = matches.iter().map(|pair| match &pair.key {
                Some(key) => format!("{key}={}", pair.value),
                None => pair.value.to_string(),
            });
            format!("query has {}", pairs.collect::<Vec<_>>().join(" or "))
        }
        Condition::SourceIp(networks) => format!("client is in {}", any(networks)),
    }
}

/// An action in a few words.
pub(super) fn summary(action: &Action<TargetGroupId>) -> String {
    match action {
        Action::Forward(forward) => format!("forward {}", groups(forward)),
        Action::Redirect(redirect) => {
            let location: String = redirect.location.iter().map(part).collect();
            format!("redirect {} {location}", redirect.status.as_u16())
        }
        Action::FixedResponse(fixed) => format!("fixed response {}", fixed.status.as_u16()),
    }
}

/// `todo`, or `blue (90), green (10)`.
fn groups(forward: &Forward<TargetGroupId>) -> String {
    if let [(only, _)] = forward.groups.as_slice() {
        return only.to_string();
    }
    let weighted: Vec<String> = forward
        .groups
        .iter()
        .map(|(group, weight)| format!("{group} ({weight})"))
        .collect();
    weighted.join(", ")
}

/// The part as the configuration has it.
fn part(part: &RedirectPart) -> &str {
    match part {
        RedirectPart::Literal(text) => text,
        RedirectPart::Protocol => "#{protocol}",
        RedirectPart::Host => "#{host}",
        RedirectPart::Port => "#{port}",
        RedirectPart::Path => "#{path}",
        RedirectPart::Query => "#{query}",
    }
}
