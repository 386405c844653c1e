//! Which action of a listener a request gets.
//!
//! A [`RuleTable`] is built from a listener's rules when a snapshot is compiled and
//! never changes. Routing allocates nothing (a query parameter with escapes in it
//! is decoded for the comparison) and cannot fail: there is always a default.
//!
//! Rules that name exact hosts stand in an index by host, so a request is compared
//! with the rules of its own host and with those for any host or a pattern of hosts,
//! however many other hosts there are. The result is the same as trying every rule
//! in order of priority.

mod condition;
mod forward;
mod redirect;
mod request;

use std::collections::HashMap;

use crate::model::{Action, Condition, GroupIndex, HostPattern, Priority, Rule};

pub use condition::hold;
pub use forward::{choose, choose_again};
pub use redirect::location;
pub use request::RequestView;

/// The rules of one listener, and what happens when none applies.
#[derive(Debug)]
pub struct RuleTable {
    /// In order of priority.
    rules: Box<[Rule<GroupIndex>]>,
    default: Action<GroupIndex>,
    /// Positions, in order, of rules that can only hold for this host.
    by_host: HashMap<Box<str>, Vec<usize>>,
    /// Positions, in order, of all other rules.
    any_host: Vec<usize>,
}

impl RuleTable {
    /// A table of these rules, in whatever order they come.
    pub fn new(mut rules: Vec<Rule<GroupIndex>>, default: Action<GroupIndex>) -> Self {
        rules.sort_by_key(|rule| rule.priority);
        let mut by_host: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut any_host = Vec::new();
        for (position, rule) in rules.iter().enumerate() {
            let Some(hosts) = exact_hosts(rule) else {
                any_host.push(position);
                continue;
            };
            for host in hosts {
                let positions = by_host.entry(host.into()).or_default();
                // A host may be listed twice in one condition.
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        Self {
            rules: rules.into(),
            default,
            by_host,
            any_host,
        }
    }

    /// The action of the first rule, by priority, whose conditions all hold, and that
    /// rule's priority; the default action, without one, if there is none.
    pub fn route(&self, request: &RequestView<'_>) -> (&Action<GroupIndex>, Option<Priority>) {
        let of_host = self.by_host.get(request.host.as_ref());
        let mut of_host = of_host.map_or(&[][..], Vec::as_slice);
        let mut any_host = self.any_host.as_slice();
        while let Some(position) = next_position(&mut of_host, &mut any_host) {
            let rule = &self.rules[position];
            if hold(&rule.conditions, request) {
                return (&rule.action, Some(rule.priority));
            }
        }
        (&self.default, None)
    }
}

/// The hosts outside of which a rule cannot hold, if all of them are exact.
fn exact_hosts(rule: &Rule<GroupIndex>) -> Option<Vec<&str>> {
    rule.conditions
        .iter()
        .find_map(|condition| match condition {
            Condition::Host(hosts) => hosts.iter().map(HostPattern::exact).collect(),
            Condition::Path(_)
            | Condition::Method(_)
            | Condition::Header { .. }
            | Condition::Query(_)
            | Condition::SourceIp(_) => None,
        })
}

/// Takes the smaller of two heads: merges two sorted lists, one step at a time.
fn next_position<'a, 'p>(one: &'a mut &'p [usize], other: &'a mut &'p [usize]) -> Option<usize> {
    let list = match (one.first(), other.first()) {
        (Some(a), Some(b)) if a < b => one,
        (Some(_), None) => one,
        (_, Some(_)) => other,
        (None, None) => return None,
    };
    let (position, rest) = list.split_first()?;
    *list = rest;
    Some(*position)
}
