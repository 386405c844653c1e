//! `[[listener]]` and `[[listener.rule]]`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use toml::de::DeValue;

use super::{action, bind, check_name, condition, overload};
use crate::config::loops::{self, Jump};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::span::Mark;
use crate::config::types::{ClientLimits, Forwarded, ForwardedMode, Listener};
use crate::config::{bounds, defaults, shadow};
use crate::model::{Action, ListenerId, Priority, Rule, TargetGroupId};

const MODES: [(&str, ForwardedMode); 3] = [
    ("append", ForwardedMode::Append),
    ("preserve", ForwardedMode::Preserve),
    ("remove", ForwardedMode::Remove),
];

/// A rule and where it is.
pub(in crate::config) struct Placed<'a> {
    pub(in crate::config) rule: Rule<TargetGroupId>,
    pub(in crate::config) node: Node<'a>,
    /// What it does.
    pub(in crate::config) action: Node<'a>,
}

pub(super) fn read(node: &Node<'_>) -> Option<Listener> {
    let section = node.section(Place::Listener)?;
    let bind = section
        .require("bind", "write where it listens: bind = \"0.0.0.0:8080\"")
        .and_then(|node| Some((bind(&node)?, node)));
    if let Some((address, at)) = &bind {
        node.cx.note(|notes| notes.binds.push(at.mark(*address)));
        if address.port() == 443 {
            let message = "Weir does not speak TLS yet, which clients of port 443 do";
            let help =
                "let something in front of it end TLS, and listen for plain HTTP on another port";
            at.warn(Code::Suspicious, message, help);
        }
    }
    let bind = bind.map(|(address, _)| address);
    let name = name(&section, node, bind);
    let default = action::read(&section, bind, &[]);
    let own = own_redirect(&section, bind, default.as_ref());
    let rules = rules(&section, bind, own.as_ref());
    let max_connections = section.integer(
        "max_connections",
        bounds::CONNECTIONS,
        defaults::MAX_CONNECTIONS,
    );
    let rate_limit = overload::rate_limit(&section);
    let client = section
        .get("client")
        .and_then(|node| node.section(Place::Client));
    Some(Listener {
        client: client.map_or(defaults::CLIENT, |section| client_limits(&section)),
        forwarded: forwarded(&section)?,
        id: name?,
        bind: bind?,
        max_connections,
        rate_limit,
        rules: rules?,
        default: default?,
    })
}

fn name(section: &Section<'_>, node: &Node<'_>, bind: Option<SocketAddr>) -> Option<ListenerId> {
    let Some(at) = section.get("name") else {
        let name = bind?.to_string();
        // Two of the same address are reported as that, but port 0 may be there often.
        if bind.is_some_and(|bind| bind.port() == 0) {
            node.cx
                .note(|notes| notes.listeners.push(node.mark(name.clone())));
        }
        return Some(ListenerId::from(name.as_str()));
    };
    let name = at.string()?;
    check_name(&name, &at);
    let id = ListenerId::from(name.as_str());
    node.cx.note(|notes| notes.listeners.push(at.mark(name)));
    Some(id)
}

fn client_limits(section: &Section<'_>) -> ClientLimits {
    let default = defaults::CLIENT;
    let timeout = |key, default| section.duration(key, &bounds::TIMEOUT, default);
    let max_head = section.size("max_head", &bounds::HEAD, default.max_head as u64);
    ClientLimits {
        head_timeout: timeout("head_timeout", default.head_timeout),
        idle_timeout: timeout("idle_timeout", default.idle_timeout),
        body_timeout: timeout("body_timeout", default.body_timeout),
        max_head: usize::try_from(max_head).unwrap_or(default.max_head),
        max_fields: section.integer("max_fields", bounds::FIELDS, default.max_fields),
        max_body: section
            .get("max_body")
            .and_then(|node| node.size(&bounds::BODY)),
        max_requests: section
            .get("max_requests")
            .and_then(|node| node.integer(bounds::REQUESTS))
            .and_then(NonZeroU32::new),
    }
}

fn forwarded(section: &Section<'_>) -> Option<Forwarded> {
    let default = Forwarded {
        mode: defaults::FORWARDED_MODE,
        trusted_proxies: Vec::new(),
    };
    let Some(node) = section.get("forwarded") else {
        return Some(default);
    };
    let section = node.section(Place::Forwarded)?;
    let mode = section.get("mode").and_then(|node| node.word(&MODES));
    let proxies = section.get("trusted_proxies").map(|node| {
        let networks: Vec<_> = node.items().iter().map(condition::network).collect();
        networks.into_iter().collect::<Option<Vec<_>>>()
    });
    Some(Forwarded {
        mode: mode.unwrap_or(default.mode),
        trusted_proxies: proxies.unwrap_or(Some(Vec::new()))?,
    })
}

/// Where the listener's own redirect leads, if it has one.
fn own_redirect(
    section: &Section<'_>,
    bind: Option<SocketAddr>,
    action: Option<&Action<TargetGroupId>>,
) -> Option<Mark<Jump>> {
    let (Some(bind), Some(Action::Redirect(redirect))) = (bind, action) else {
        return None;
    };
    let node = section.get("redirect")?;
    let jump = Jump::of(redirect);
    let at = node.mark((bind, jump.clone()));
    section.cx.note(|notes| notes.redirects.push(at));
    Some(node.mark(jump))
}

/// The rules, lowest priority first. `own` is the listener's own redirect.
fn rules(
    section: &Section<'_>,
    bind: Option<SocketAddr>,
    own: Option<&Mark<Jump>>,
) -> Option<Vec<Rule<TargetGroupId>>> {
    let Some(node) = section.get("rule") else {
        if let Some(bind) = bind {
            loops::within(&[], bind, own, section.cx);
        }
        return Some(Vec::new());
    };
    let DeValue::Array(_) = node.value else {
        let help = "write [[listener.rule]] with two brackets";
        node.error(Code::WrongType, "a rule is an entry of a list", help);
        if matches!(node.value, DeValue::Table(_)) {
            let _ = rule(&node, bind, &mut Vec::new());
        }
        return None;
    };
    let items = node.items();
    let mut priorities = Vec::new();
    let rule = |node| rule(node, bind, &mut priorities);
    let read: Vec<_> = items.iter().map(rule).collect();
    let complete = read.iter().all(Option::is_some);
    let mut placed: Vec<Placed<'_>> = read.into_iter().flatten().collect();
    placed.sort_by_key(|placed| placed.rule.priority);
    unique_priorities(&mut priorities);
    shadow::check(&placed);
    if let Some(bind) = bind.filter(|_| complete) {
        loops::within(&placed, bind, own, section.cx);
    }
    complete.then(|| placed.into_iter().map(|placed| placed.rule).collect())
}

/// Notes the priority in `priorities`, also if the rest of the rule is broken.
fn rule<'a>(
    node: &Node<'a>,
    bind: Option<SocketAddr>,
    priorities: &mut Vec<(u32, Node<'a>)>,
) -> Option<Placed<'a>> {
    let section = node.section(Place::Rule)?;
    let priority = section
        .require(
            "priority",
            "give it a number: rules are tried from the lowest to the highest",
        )
        .and_then(|at| Some((at.integer(Priority::RANGE)?, at)));
    priorities.extend(priority.clone());
    let conditions = section
        .require(
            "when",
            "write when = { path = \"/api/*\" }; what else comes is the listener's own action",
        )
        .and_then(|node| condition::read(&node));
    let then = section.require("then", "write then = { forward = \"NAME\" }");
    let action = then
        .as_ref()
        .and_then(|node| node.section(Place::Then))
        .and_then(|then| action::read(&then, bind, conditions.as_deref().unwrap_or_default()));
    let (priority, at) = priority?;
    Some(Placed {
        rule: Rule {
            priority: Priority(priority),
            conditions: conditions?,
            action: action?,
        },
        node: at,
        action: then?,
    })
}

/// Reports each priority that a rule above has, and names a free one: each of them another.
fn unique_priorities(priorities: &mut [(u32, Node<'_>)]) {
    priorities.sort_by_key(|(number, _)| *number);
    let taken: HashSet<u32> = priorities.iter().map(|(number, _)| *number).collect();
    let mut free = 0;
    for pair in priorities.windows(2) {
        let [(first, above), (number, node)] = pair else {
            continue;
        };
        if first != number {
            continue;
        }
        free = free.max(number + 1);
        while taken.contains(&free) {
            free += 1;
        }
        let line = node.cx.line(above.span);
        let message = format!("priority {number} is there twice");
        let help = if Priority::RANGE.contains(&free) {
            format!("the other one is in line {line}; {free} is free")
        } else {
            format!("the other one is in line {line}")
        };
        node.error(Code::Duplicate, message, help);
        free += 1;
    }
}
