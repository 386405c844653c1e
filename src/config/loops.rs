//! Redirects that lead a client round in circles.
//!
//! A sufficient test, not a complete one: what it reports is certain for some request. It knows
//! redirects within a listener by their rules, and from listener to listener by the listeners'
//! own actions; hosts that lead elsewhere are not known here.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::context::{Context, Notes};
use super::problem::{Code, Severity};
use super::read::Placed;
use super::span::Mark;
use crate::model::{Action, Condition, Redirect, RedirectPart, TargetGroupId};

/// Most hops that are followed: browsers give up at about twenty.
const MAX_HOPS: usize = 10;

const HELP: &str =
    "the client would come back for ever; let one of them forward, or lead somewhere else";

/// A part of the location of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As in the request.
    Kept,
    /// Always this.
    Fixed(String),
    /// Put together.
    Mixed,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    protocol: Part,
    host: Part,
    port: Part,
    path: Part,
}

impl Jump {
    /// Takes a location apart again: it is always protocol, host, port, path and query.
    pub(super) fn of(redirect: &Redirect) -> Self {
        let text: String = redirect.location.iter().map(piece).collect();
        let (protocol, rest) = text.split_once("://").unwrap_or(("", &text));
        let path_at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let host_end = authority.rfind(']').map_or(0, |at| at + 1);
        let colon = authority[host_end..].find(':').map(|at| host_end + at);
        let (host, port) = match colon {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (authority, ""),
        };
        let path = path.split('?').next().unwrap_or_default();
        Self {
            protocol: part(protocol, "#{protocol}"),
            host: part(host, "#{host}"),
            port: part(port, "#{port}"),
            path: part(path, "/#{path}"),
        }
    }

    /// The port that the client comes to, if it came to `from`.
    fn port(&self, from: u16) -> Option<u16> {
        match (&self.port, &self.protocol) {
            // What ends TLS in front of it may be on another port.
            (Part::Kept, Part::Fixed(protocol)) if protocol == "https" => None,
            (Part::Kept, _) => Some(from),
            (Part::Fixed(port), _) if !port.is_empty() => port.parse().ok(),
            (Part::Fixed(_), Part::Fixed(protocol)) if protocol == "https" => Some(443),
            (Part::Fixed(_), Part::Fixed(_)) => Some(80),
            (Part::Fixed(_), Part::Kept | Part::Mixed) | (Part::Mixed, _) => None,
        }
    }

    /// Whether it stays on the listener of that port, which speaks plain HTTP.
    fn stays(&self, port: u16) -> bool {
        let plain = match &self.protocol {
            Part::Kept => true,
            Part::Fixed(protocol) => protocol == "http",
            Part::Mixed => false,
        };
        plain && self.port(port) == Some(port)
    }
}

fn piece(part: &RedirectPart) -> String {
    match part {
        RedirectPart::Literal(text) => text.clone(),
        RedirectPart::Protocol => "#{protocol}".to_owned(),
        RedirectPart::Host => "#{host}".to_owned(),
        RedirectPart::Port => "#{port}".to_owned(),
        RedirectPart::Path => "#{path}".to_owned(),
        RedirectPart::Query => "#{query}".to_owned(),
    }
}

fn part(text: &str, own: &str) -> Part {
    if text == own {
        Part::Kept
    } else if text.contains("#{") {
        Part::Mixed
    } else {
        Part::Fixed(text.to_owned())
    }
}

/// A request on its way, compared with the one that came first.
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
/// order; `own` is the listener's redirect.
pub(super) fn within(
    rules: &[Placed<'_>],
    bind: SocketAddr,
    own: Option<&Mark<Jump>>,
    cx: &Context<'_>,
) {
    let jumps: Vec<_> = rules
        .iter()
        .map(|placed| jump_of(&placed.rule.action))
        .collect();
    for (n, jump) in jumps.iter().enumerate() {
        let Some(jump) = jump.as_ref().filter(|jump| jump.stays(bind.port())) else {
            continue;
        };
        // Another host may lead to another machine, unless the rule itself is for such hosts.
        let for_hosts = |condition: &Condition| matches!(condition, Condition::Host(_));
        if jump.host != Part::Kept && !rules[n].rule.conditions.iter().any(for_hosts) {
            continue;
        }
        if comes_back(rules, &jumps, n, jump, bind.port()) {
            let number = rules[n].rule.priority.0;
            let message = format!("the redirect of rule {number} leads to this rule again");
            rules[n].action.warn(Code::Loop, message, HELP);
        }
    }
    if let Some(own) = own.filter(|own| own.value.stays(bind.port())) {
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
            // Those above did not take the first request; of those below nothing is known.
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

/// Warns about listeners whose own redirects lead from one to the other and back.
pub(super) fn between(cx: &Context<'_>, notes: &Notes) {
    let by_port: HashMap<u16, &Mark<(SocketAddr, Jump)>> = notes
        .redirects
        .iter()
        .map(|at| (at.value.0.port(), at))
        .collect();
    for at in &notes.redirects {
        let (bind, jump) = &at.value;
        // Another path or host may be taken by a rule, or be somewhere else.
        let keeps = |jump: &Jump| (&jump.host, &jump.path) == (&Part::Kept, &Part::Kept);
        if jump.stays(bind.port()) || !keeps(jump) {
            continue;
        }
        let next = |port: u16, jump: &Jump| {
            let port = jump.port(port)?;
            by_port.get(&port).filter(|at| keeps(&at.value.1))
        };
        let mut here = next(bind.port(), jump);
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
            here = next(found.value.0.port(), &found.value.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn a_location_is_taken_apart_again() {
        use RedirectPart as P;
        let redirect = |location| Redirect {
            status: StatusCode::FOUND,
            location,
        };
        let literal = |text: &str| P::Literal(text.to_owned());
        let kept = redirect(vec![
            P::Protocol,
            literal("://"),
            P::Host,
            literal(":"),
            P::Port,
            literal("/"),
            P::Path,
            literal("?"),
            P::Query,
        ]);
        let jump = Jump::of(&kept);
        assert!(jump.stays(8080) && jump.path == Part::Kept && jump.host == Part::Kept);
        let fixed = redirect(vec![literal("https://[::1]:8443/a/"), P::Path]);
        let jump = Jump::of(&fixed);
        assert_eq!(jump.host, Part::Fixed("[::1]".to_owned()));
        assert_eq!((jump.port(80), jump.path), (Some(8443), Part::Mixed));
    }
}
