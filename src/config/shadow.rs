//! Rules that never get a request, because an earlier one takes them all.
//!
//! A sufficient test, not a complete one: what it reports is certain; it does not
//! compare regular expressions, and not unions of several rules.

use std::collections::HashMap;

use super::placed::Placed;
use super::problem::Code;
use crate::model::{Condition, HostPattern, Pattern, QueryMatch};

/// Most comparisons of conditions for one listener. Rules for exact hosts and paths are found by an
/// index, so that this is enough for any number of them.
const MAX_COMPARISONS: usize = 2_000_000;

/// Warns about each rule behind one that covers it. `rules` are in order.
pub(super) fn check(rules: &[Placed<'_>]) {
    let mut budget = MAX_COMPARISONS;
    let mut index = Index::default();
    for (n, later) in rules.iter().enumerate() {
        let conditions = &later.rule.conditions;
        let covering = index.candidates(conditions).find(|earlier| {
            let earlier = &rules[*earlier].rule;
            // Equal priorities are an error of their own.
            earlier.priority != later.rule.priority
                && spend(&mut budget, &earlier.conditions, conditions)
                && covers(&earlier.conditions, conditions)
        });
        match covering {
            // What this rule covers, the earlier one does too.
            Some(earlier) => report(&rules[earlier], later),
            None => index.add(n, conditions),
        }
        if budget == 0 {
            break;
        }
    }
}

fn report(earlier: &Placed<'_>, later: &Placed<'_>) {
    let (number, before) = (later.rule.priority.0, earlier.rule.priority.0);
    let line = later.node.cx.line(earlier.node.span);
    let message = format!("rule {number} never gets a request: rule {before} takes them all");
    let help = format!(
        "rules are tried from the lowest priority number; give this one a number\n\
         below {before} (line {line}), or take it out"
    );
    later.node.warn(Code::Shadowed, message, help);
}

/// Takes the cost of comparing two rules from the budget; returns `false` if that is not enough.
fn spend(budget: &mut usize, earlier: &[Condition], later: &[Condition]) -> bool {
    let values = |conditions: &[Condition]| conditions.iter().map(values).sum::<usize>();
    let cost = values(earlier) * values(later);
    let enough = *budget >= cost;
    *budget = budget.saturating_sub(cost);
    enough
}

/// How many values a condition has.
fn values(condition: &Condition) -> usize {
    match condition {
        Condition::Host(values) => values.len(),
        Condition::Path(values) | Condition::Header { values, .. } => values.len(),
        Condition::Method(values) => values.len(),
        Condition::Query(values) => values.len(),
        Condition::SourceIp(values) => values.len(),
    }
}

/// Earlier rules, by what a rule must have in common with them to be covered.
#[derive(Default)]
struct Index {
    /// Rules with exact hosts only, by each of them.
    hosts: HashMap<String, Vec<usize>>,
    /// Of the others, those with exact paths only, by each of them.
    paths: HashMap<String, Vec<usize>>,
    /// All others.
    rest: Vec<usize>,
}

impl Index {
    /// The rules that may cover one with these conditions.
    fn candidates(&self, conditions: &[Condition]) -> impl Iterator<Item = usize> {
        let by = |map: &'_ HashMap<String, Vec<usize>>, key: Option<String>| {
            let found = key.and_then(|key| map.get(&key).cloned());
            found.unwrap_or_default()
        };
        // A rule is covered only if each of its values is: the first tells.
        let host = exact_hosts(conditions).and_then(|hosts| hosts.into_iter().next());
        let path = exact_paths(conditions).and_then(|paths| paths.into_iter().next());
        let mut found = by(&self.hosts, host);
        found.extend(by(&self.paths, path));
        found.extend(&self.rest);
        found.sort_unstable();
        found.into_iter()
    }

    fn add(&mut self, rule: usize, conditions: &[Condition]) {
        let (map, keys) = if let Some(hosts) = exact_hosts(conditions) {
            (&mut self.hosts, hosts)
        } else if let Some(paths) = exact_paths(conditions) {
            (&mut self.paths, paths)
        } else {
            self.rest.push(rule);
            return;
        };
        for key in keys {
            map.entry(key).or_default().push(rule);
        }
    }
}

/// The hosts of a rule that names exact ones only.
fn exact_hosts(conditions: &[Condition]) -> Option<Vec<String>> {
    conditions.iter().find_map(|condition| match condition {
        Condition::Host(hosts) => {
            let exact = hosts.iter().map(|host| host.exact().map(str::to_owned));
            exact.collect::<Option<Vec<_>>>()
        }
        _ => None,
    })
}

/// The paths of a rule that names exact ones only.
fn exact_paths(conditions: &[Condition]) -> Option<Vec<String>> {
    conditions.iter().find_map(|condition| match condition {
        Condition::Path(paths) => {
            let exact = paths.iter().map(|path| match path {
                Pattern::Exact(path) => Some(path.clone()),
                Pattern::Glob(_) | Pattern::Regex(_) => None,
            });
            exact.collect::<Option<Vec<_>>>()
        }
        _ => None,
    })
}

/// Whether every request that meets `later` meets `earlier` too.
fn covers(earlier: &[Condition], later: &[Condition]) -> bool {
    earlier
        .iter()
        .all(|wide| later.iter().any(|narrow| implies(narrow, wide)))
}

/// Whether every request that meets `narrow` meets `wide`.
fn implies(narrow: &Condition, wide: &Condition) -> bool {
    match (narrow, wide) {
        (Condition::Host(narrow), Condition::Host(wide)) => all_in(narrow, wide, host_within),
        (Condition::Path(narrow), Condition::Path(wide)) => all_in(narrow, wide, pattern_within),
        (Condition::Method(narrow), Condition::Method(wide)) => {
            all_in(narrow, wide, |narrow, wide| narrow == wide)
        }
        (
            Condition::Header { name, values },
            Condition::Header {
                name: wide_name,
                values: wide,
            },
        ) => name == wide_name && all_in(values, wide, pattern_within),
        (Condition::Query(narrow), Condition::Query(wide)) => all_in(narrow, wide, query_within),
        (Condition::SourceIp(narrow), Condition::SourceIp(wide)) => {
            all_in(narrow, wide, |narrow, wide| wide.contains(narrow))
        }
        (
            Condition::Host(_)
            | Condition::Path(_)
            | Condition::Method(_)
            | Condition::Header { .. }
            | Condition::Query(_)
            | Condition::SourceIp(_),
            _,
        ) => false,
    }
}

fn all_in<T>(narrow: &[T], wide: &[T], within: impl Fn(&T, &T) -> bool) -> bool {
    narrow
        .iter()
        .all(|narrow| wide.iter().any(|wide| within(narrow, wide)))
}

/// Exact hosts cost one comparison: a thousand rules for as many hosts are common.
fn host_within(narrow: &HostPattern, wide: &HostPattern) -> bool {
    match wide.exact() {
        Some(name) => narrow.exact() == Some(name),
        None => glob_covers(&wide.to_string(), &narrow.to_string()),
    }
}

fn query_within(narrow: &QueryMatch, wide: &QueryMatch) -> bool {
    let key = wide.key.is_none() || wide.key == narrow.key;
    key && pattern_within(&narrow.value, &wide.value)
}

fn pattern_within(narrow: &Pattern, wide: &Pattern) -> bool {
    match (narrow, wide) {
        (Pattern::Regex(narrow), Pattern::Regex(wide)) => narrow.as_str() == wide.as_str(),
        (Pattern::Exact(text), Pattern::Regex(wide)) => wide.is_match(text),
        (Pattern::Glob(_), Pattern::Regex(_)) | (Pattern::Regex(_), Pattern::Exact(_)) => false,
        // Only a pattern for every path covers a regular expression.
        (Pattern::Regex(_), Pattern::Glob(wide)) => matches!(wide.as_str(), "*" | "/*"),
        (
            Pattern::Exact(narrow) | Pattern::Glob(narrow),
            Pattern::Exact(wide) | Pattern::Glob(wide),
        ) => glob_covers(wide, narrow),
    }
}

/// Whether the glob `wide` matches everything that the glob `narrow` does.
///
/// `narrow` is matched as a text in which only a `*` can stand for a `*`, and only `?` or `*` for
/// a `?`: whatever they become, `wide` matches it in the same way.
fn glob_covers(wide: &str, narrow: &str) -> bool {
    let (wide, narrow): (Vec<char>, Vec<char>) = (wide.chars().collect(), narrow.chars().collect());
    let (mut w, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < narrow.len() {
        match wide.get(w) {
            Some('*') => {
                star = Some((w + 1, n));
                w += 1;
            }
            Some('?') if narrow[n] != '*' => (w, n) = (w + 1, n + 1),
            Some(c) if *c == narrow[n] => (w, n) = (w + 1, n + 1),
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                (w, n) = (after, from + 1);
            }
        }
    }
    wide[w..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wider_glob_covers_a_narrower_one() {
        let cases = [
            ("/api/*", "/api/v1/*", true),
            ("/api/*", "/api/*", true),
            ("/api/*", "/api/x", true),
            ("*", "/?", true),
            ("/?", "/*", false),
            ("/a?", "/ab", true),
            ("/a?", "/a?", true),
            ("/ab", "/a?", false),
            ("/api/v1/*", "/api/*", false),
            ("*.example.com", "example.com", false),
        ];
        for (wide, narrow, expected) in cases {
            assert_eq!(glob_covers(wide, narrow), expected, "{wide} over {narrow}");
        }
    }

    proptest! {
        /// No false alarm: what a covered glob matches, the covering one matches.
        #[test]
        fn a_reported_cover_is_one(wide in "[ab*?]{1,5}", narrow in "[ab*?]{1,5}", text in "[ab]{0,6}") {
            let matches = |glob: &str| Pattern::glob(glob).unwrap().matches(&text);
            if glob_covers(&wide, &narrow) && matches(&narrow) {
                prop_assert!(matches(&wide));
            }
        }
    }
}
