//! Redirects that lead a client back to where it was.
//!
//! A sufficient test, not a complete one: what it reports is certain for some request. It knows
//! redirects within a listener by their rules, and from listener to listener by the listeners'
//! own actions; it does not know where other hosts lead.

use std::collections::HashMap;

use super::context::{Context, Notes};
use super::jump::{Jump, Part};
use super::placed::Placed;
use super::problem::{Code, Severity};
use super::span::Mark;
use crate::model::{Action, Condition, TargetGroupId};

/// Most hops that are followed: browsers give up at about twenty.
const MAX_HOPS: usize = 10;

const HELP: &str =
    "the client would come back for ever; let one of them forward, or lead somewhere else";

/// A redirected request, compared with the first one.
struct Request<'r> {
    host: &'r Part,
    path: &'r Part,
}

/// Whether a request meets a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    No,
    Perhaps,
}

impl Request<'_> {
    /// Whether it meets the conditions that the first request met (`true`) or may have met.
    fn meets(&self, conditions: &[Condition], met_before: Option<bool>) -> Met {
        let unchanged = |condition: &Condition| match condition {
            Condition::Host(_) => *self.host == Part::Kept,
            Condition::Path(_) => *self.path == Part::Kept,
            Condition::Method(_) | Condition::Header { .. } | Condition::SourceIp(_) => true,
            Condition::Query(_) => false,
        };
        if met_before == Some(false) && conditions.iter().all(unchanged) {
            return Met::No;
        }
        let mut met = Met::Yes;
        for condition in conditions {
            let one = match (condition, self.host, self.path) {
                (Condition::Host(hosts), Part::Fixed(host), _) => {
                    let host = host.to_ascii_lowercase();
                    Some(hosts.iter().any(|pattern| pattern.matches(&host)))
                }
                (Condition::Path(paths), _, Part::Fixed(path)) => {
                    Some(paths.iter().any(|pattern| pattern.matches(path)))
                }
                (condition, _, _) => {
                    (unchanged(condition) && met_before == Some(true)).then_some(true)
                }
            };
            match one {
                Some(true) => {}
                Some(false) => return Met::No,
                None => met = Met::Perhaps,
            }
        }
        met
    }
}

/// Warns about rules and the listener's own redirect that lead back to themselves. `rules` are in
/// order; `own` is the listener's redirect, and `port` is the one that its clients come by.
pub(super) fn within(rules: &[Placed<'_>], port: u16, own: Option<&Mark<Jump>>, cx: &Context<'_>) {
    let jumps: Vec<_> = rules
        .iter()
        .map(|placed| jump_of(&placed.rule.action))
        .collect();
    for (n, jump) in jumps.iter().enumerate() {
        let Some(jump) = jump.as_ref().filter(|jump| jump.stays(port)) else {
            continue;
        };
        // Another host may lead to another machine, unless the rule itself is for such hosts.
        let for_hosts = |condition: &Condition| matches!(condition, Condition::Host(_));
        if jump.host != Part::Kept && !rules[n].rule.conditions.iter().any(for_hosts) {
            continue;
        }
        if comes_back(rules, &jumps, n, jump, port) {
            let number = rules[n].rule.priority.0;
            let message = format!("the redirect of rule {number} leads to this rule again");
            rules[n].action.warn(Code::Loop, message, HELP);
        }
    }
    if let Some(own) = own.filter(|own| own.value.stays(port)) {
        let request = Request {
            host: &own.value.host,
            path: &own.value.path,
        };
        let taken =
            |placed: &Placed<'_>| request.meets(&placed.rule.conditions, Some(false)) != Met::No;
        let known = own.value.host == Part::Kept && own.value.path != Part::Mixed;
        if known && !rules.iter().any(taken) {
            let place = (Severity::Warning, Code::Loop, Some(own.span));
            cx.report_with(place, &own.key, || {
                let message = "the listener's redirect leads to itself again".to_owned();
                (message, HELP.to_owned())
            });
        }
    }
}

/// Whether a request that met rule `first` and follows its redirect meets it once more. Other
/// rules on the way may redirect it further.
fn comes_back(
    rules: &[Placed<'_>],
    jumps: &[Option<Jump>],
    first: usize,
    jump: &Jump,
    port: u16,
) -> bool {
    let (mut host, mut path) = (jump.host.clone(), jump.path.clone());
    for _ in 0..MAX_HOPS {
        let request = Request {
            host: &host,
            path: &path,
        };
        let met = rules.iter().enumerate().find_map(|(n, placed)| {
            // Rules above did not match the first request; of rules below nothing is known.
            let before = match n.cmp(&first) {
                std::cmp::Ordering::Less => Some(false),
                std::cmp::Ordering::Equal => Some(true),
                std::cmp::Ordering::Greater => None,
            };
            let met = request.meets(&placed.rule.conditions, before);
            (met != Met::No).then_some((n, met))
        });
        let Some((n, Met::Yes)) = met else {
            return false;
        };
        if n == first {
            return true;
        }
        let Some(next) = jumps[n].as_ref().filter(|jump| jump.stays(port)) else {
            return false;
        };
        for (part, next) in [(&mut host, &next.host), (&mut path, &next.path)] {
            if *next != Part::Kept {
                part.clone_from(next);
            }
        }
        if [&host, &path].contains(&&Part::Mixed) {
            return false;
        }
    }
    false
}

fn jump_of(action: &Action<TargetGroupId>) -> Option<Jump> {
    match action {
        Action::Redirect(redirect) => Some(Jump::of(redirect)),
        Action::Forward(_) | Action::FixedResponse(_) => None,
    }
}

/// Warns about redirects of listeners that lead from one listener to the other and back.
pub(super) fn between(cx: &Context<'_>, notes: &Notes) {
    let by_port: HashMap<u16, &Mark<(u16, Jump)>> =
        notes.redirects.iter().map(|at| (at.value.0, at)).collect();
    for at in &notes.redirects {
        let (port, jump) = &at.value;
        // Another path or host may be taken by a rule, or be somewhere else.
        let keeps = |jump: &Jump| (&jump.host, &jump.path) == (&Part::Kept, &Part::Kept);
        if jump.stays(*port) || !keeps(jump) {
            continue;
        }
        let next = |port: u16, jump: &Jump| {
            let port = jump.port(port)?;
            by_port.get(&port).filter(|at| keeps(&at.value.1))
        };
        let mut here = next(*port, jump);
        let mut via = None;
        for _ in 0..MAX_HOPS {
            let Some(found) = here else { break };
            if found.span == at.span {
                let line = via.map(|span| cx.line(span));
                let message = match line {
                    Some(line) => {
                        format!("this redirect and the one in line {line} lead to each other")
                    }
                    None => "this redirect leads to its own listener again".to_owned(),
                };
                let place = (Severity::Warning, Code::Loop, Some(at.span));
                cx.report_with(place, &at.key, || (message, HELP.to_owned()));
                break;
            }
            via.get_or_insert(found.span);
            here = next(found.value.0, &found.value.1);
        }
    }
}
