//! Why a rule is not the one, and which one it may be when not all of a request is known: for
//! people. Conditions are those of every request, and hold as they do there.

use super::RuleTable;
use super::condition::holds;
use super::request::RequestView;
use crate::model::{Action, Condition, GroupIndex, Priority, Rule};

/// A rule that does not hold for a request.
#[derive(Clone, Copy, Debug)]
pub struct PassedOver<'t> {
    /// Its priority.
    pub rule: Priority,
    /// The first of its conditions that does not hold.
    pub condition: &'t Condition,
}

/// What may happen to a request of which not everything is known.
#[derive(Debug)]
pub struct Candidate<'t> {
    /// The rule; `None` is the default action.
    pub rule: Option<Priority>,
    /// What happens then.
    pub action: &'t Action<GroupIndex>,
    /// Conditions of which it is not known whether they hold; all others do.
    pub unknown: Vec<&'t Condition>,
}

impl RuleTable {
    /// The rules that [`Self::route`] has passed over for a request before it found the one with this
    /// priority, or none, in order.
    pub fn passed_over<'t>(
        &'t self,
        request: &RequestView<'_>,
        found: Option<Priority>,
    ) -> Vec<PassedOver<'t>> {
        let is_before = |rule: &&Rule<_>| found.is_none_or(|found| rule.priority < found);
        let passed = |rule: &'t Rule<GroupIndex>| {
            let mut conditions = rule.conditions.iter();
            Some(PassedOver {
                rule: rule.priority,
                condition: conditions.find(|condition| !holds(condition, request))?,
            })
        };
        self.rules
            .iter()
            .take_while(is_before)
            .filter_map(passed)
            .collect()
    }

    /// What may happen to a request, in order of priority. The last one happens if nothing before it
    /// does; a condition for which `is_known` is false may hold or not.
    pub fn candidates<'t>(
        &'t self,
        request: &RequestView<'_>,
        is_known: impl Fn(&Condition) -> bool,
    ) -> Vec<Candidate<'t>> {
        let mut candidates = Vec::new();
        for rule in &self.rules {
            let (known, unknown): (Vec<_>, Vec<_>) =
                rule.conditions.iter().partition(|one| is_known(one));
            if !known.iter().all(|condition| holds(condition, request)) {
                continue;
            }
            let is_sure = unknown.is_empty();
            candidates.push(Candidate {
                rule: Some(rule.priority),
                action: &rule.action,
                unknown,
            });
            if is_sure {
                return candidates;
            }
        }
        candidates.push(Candidate {
            rule: None,
            action: &self.default,
            unknown: Vec::new(),
        });
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RequestHead;
    use crate::model::{ClientAddress, Forward, HostPattern, NormalizePath, Pattern};

    fn rule(priority: u32, conditions: Vec<Condition>) -> Rule<GroupIndex> {
        Rule {
            priority: Priority(priority),
            conditions,
            action: Action::Forward(Forward::to(vec![(GroupIndex(priority as usize), 1)])),
        }
    }

    fn path(glob: &str) -> Condition {
        Condition::Path(vec![Pattern::glob(glob).unwrap()])
    }

    fn header() -> Condition {
        Condition::Header {
            name: http::HeaderName::from_static("x-beta"),
            values: vec![Pattern::glob("1").unwrap()],
        }
    }

    fn table() -> RuleTable {
        let host = Condition::Host(vec![HostPattern::new("a.example").unwrap()]);
        let rules = vec![
            rule(30, vec![path("/a/*")]),
            rule(10, vec![host, path("/a/*")]),
            rule(20, vec![path("/a/*"), header()]),
            rule(40, vec![]),
        ];
        RuleTable::new(
            rules,
            Action::Forward(Forward::to(vec![(GroupIndex(0), 1)])),
        )
    }

    fn head(target: &str) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_target(target.as_bytes()).unwrap();
        head.set_host(b"b.example").unwrap();
        head
    }

    #[test]
    fn each_rule_before_the_one_that_holds_has_a_condition_that_does_not() {
        let (table, head) = (table(), head("/a/b"));
        let view = RequestView::new(&head, ClientAddress::Unix, NormalizePath::Off);
        let (_, found) = table.route(&view);
        assert_eq!(found, Some(Priority(30)));
        let passed: Vec<_> = table.passed_over(&view, found).into_iter().collect();
        let rules: Vec<u32> = passed.iter().map(|one| one.rule.0).collect();
        assert_eq!(rules, [10, 20]);
        assert!(matches!(passed[0].condition, Condition::Host(_)));
        assert!(matches!(passed[1].condition, Condition::Header { .. }));
    }

    #[test]
    fn what_is_not_known_leaves_several_rules_until_one_holds() {
        let table = table();
        let candidates = |target: &str| -> Vec<Option<u32>> {
            let head = head(target);
            let view = RequestView::new(&head, ClientAddress::Unix, NormalizePath::Off);
            let is_known = |one: &Condition| !matches!(one, Condition::Header { .. });
            let found = table.candidates(&view, is_known);
            found
                .iter()
                .map(|one| one.rule.map(|rule| rule.0))
                .collect()
        };
        assert_eq!(candidates("/a/b"), [Some(20), Some(30)]);
        assert_eq!(candidates("/c"), [Some(40)]);
    }
}
