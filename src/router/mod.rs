//! Which action of a listener applies to a request.
//!
//! A [`RuleTable`] is built from a listener's rules when a snapshot is compiled and
//! never changes. Routing allocates nothing (a query parameter with escapes in it
//! is decoded for the comparison) and cannot fail: there is always a default. Paths may be
//! compared in one normal spelling, so that no other spelling evades a rule.
//!
//! A request is compared only with rules that may hold for it: an index finds each rule by
//! the condition that sets it apart, so a route costs about the same among ten rules and
//! among ten thousand. The result is the same as trying every rule in order of priority.

mod candidates;
mod condition;
mod forward;
mod index;
mod positions;
mod prefixes;
mod redirect;
mod request;
mod shape;
mod text_map;
mod values;

use std::collections::HashMap;

use crate::message::RequestHead;
use crate::model::{
    Action, ClientAddress, Condition, GroupIndex, NormalizePath, Pattern, Priority, Regex, Rule,
};
use index::Index;

pub use candidates::{Candidate, PassedOver};
pub use condition::hold;
pub use forward::{choose, choose_again};
pub use redirect::location;
pub use request::RequestView;

/// Regular expressions of one table that are compiled when it is built. A compiled one takes
/// 10 to 60 KB, so of a larger number the rest waits until a request needs it.
const COMPILED_AT_ONCE: usize = 1000;

/// The rules of one listener, and what happens when none applies.
#[derive(Debug)]
pub struct RuleTable {
    /// In order of priority.
    rules: Box<[Rule<GroupIndex>]>,
    default: Action<GroupIndex>,
    index: Index,
    has_hosts: bool,
}

impl RuleTable {
    /// A table of these rules, in whatever order they come.
    pub fn new(mut rules: Vec<Rule<GroupIndex>>, default: Action<GroupIndex>) -> Self {
        rules.sort_by_key(|rule| rule.priority);
        share_expressions(&mut rules);
        let mut conditions = rules.iter().flat_map(|rule| &rule.conditions);
        Self {
            has_hosts: conditions.any(|condition| matches!(condition, Condition::Host(_))),
            index: Index::new(&rules),
            rules: rules.into(),
            default,
        }
    }

    /// Whether a rule is about the host.
    pub fn has_hosts(&self) -> bool {
        self.has_hosts
    }

    /// The same as [`Self::route`] for a connection of which no request is read, but perhaps the host
    /// that it is for.
    pub fn route_connection(
        &self,
        host: Option<&str>,
        client: ClientAddress,
    ) -> (&Action<GroupIndex>, Option<Priority>) {
        let head = connection_head(host);
        self.route(&RequestView::new(&head, client, NormalizePath::Off))
    }

    /// The action and the priority of the first rule, by priority, of which all conditions
    /// hold. If there is none, the default action, without a priority.
    pub fn route(&self, request: &RequestView<'_>) -> (&Action<GroupIndex>, Option<Priority>) {
        let mut first: Option<&Rule<GroupIndex>> = None;
        self.index.visit(request, |positions| {
            for rule in positions
                .iter()
                .map(|&position| &self.rules[position as usize])
            {
                if first.is_some_and(|first| first.priority <= rule.priority) {
                    return;
                }
                if hold(&rule.conditions, request) {
                    first = Some(rule);
                    return;
                }
            }
        });
        match first {
            Some(rule) => (&rule.action, Some(rule.priority)),
            None => (&self.default, None),
        }
    }
}

/// What stands for the head of a connection of which no request is read, but perhaps the host that
/// it is for.
pub fn connection_head(host: Option<&str>) -> RequestHead {
    let mut head = RequestHead::new();
    // A host that is none is no host of a rule.
    let _ = host.map(|host| head.set_host(host.as_bytes()));
    head
}

/// Lets equal expressions share one compiled form, and compiles the first of them.
fn share_expressions(rules: &mut [Rule<GroupIndex>]) {
    let mut known: HashMap<String, Regex> = HashMap::new();
    let conditions = rules.iter_mut().flat_map(|rule| &mut rule.conditions);
    for pattern in conditions.flat_map(patterns) {
        let Pattern::Regex(regex) = pattern else {
            continue;
        };
        if let Some(same) = known.get(regex.as_str()) {
            *regex = same.clone();
            continue;
        }
        if known.len() < COMPILED_AT_ONCE {
            regex.compile();
        }
        known.insert(regex.as_str().to_owned(), regex.clone());
    }
}

/// The patterns of a condition that may be regular expressions.
fn patterns(condition: &mut Condition) -> Vec<&mut Pattern> {
    match condition {
        Condition::Path(patterns)
        | Condition::Header {
            values: patterns, ..
        } => patterns.iter_mut().collect(),
        Condition::Query(accepted) => accepted.iter_mut().map(|one| &mut one.value).collect(),
        Condition::Host(_) | Condition::Method(_) | Condition::SourceIp(_) => Vec::new(),
    }
}
