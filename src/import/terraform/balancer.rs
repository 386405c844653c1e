//! `aws_lb`, its listeners and their rules.

use std::collections::HashMap;

use super::action;
use super::condition;
use super::files::{Files, Resource};
use super::ingress::Ingress;
use super::plan::{Access, Action, Conditions, Group, Listener, Rule};
use super::section::Section;

/// The last of all priorities, ALB's as Weir's.
const LAST_PRIORITY: u32 = 50_000;

/// What a listener has from its load balancer.
#[derive(Default)]
struct Balancer {
    security_groups: Vec<String>,
    /// Seconds.
    idle_timeout: Option<u32>,
    /// Whether it speaks anything but HTTP.
    other: bool,
}

/// All listeners with their rules. Groups learn the timeouts of what stands before them.
pub(super) fn read(files: &Files<'_>, groups: &mut [Group]) -> Vec<Listener> {
    let ingress = Ingress::read(files);
    let balancers = balancers(files);
    let mut listeners: Vec<Listener> = Vec::new();
    for found in files.all("aws_lb_listener") {
        listeners.extend(listener(found, &balancers, &ingress, groups));
    }
    for found in files.each("aws_lb_listener_rule") {
        rule(found, &mut listeners, groups);
    }
    for listener in &mut listeners {
        listener.rules.sort_by_key(|rule| rule.priority);
        hand_down_timeouts(listener, groups);
        restrict(listener);
    }
    listeners
}

fn balancers(files: &Files<'_>) -> HashMap<String, Balancer> {
    let mut balancers = HashMap::new();
    for found in files.all("aws_lb") {
        let section = found.section;
        let kind = section.text("load_balancer_type");
        let other = kind.as_deref().is_some_and(|kind| kind != "application");
        let balancer = Balancer {
            security_groups: section.references("security_groups", "aws_security_group"),
            idle_timeout: section.count("idle_timeout"),
            other,
        };
        balancers.insert(found.name.to_owned(), balancer);
        if other {
            section.drop_whole("not an application load balancer: Weir forwards HTTP alone");
            continue;
        }
        if section.boolean("internal") == Some(true) {
            let message =
                "`internal`: bind its listeners to an address that only this network reaches";
            section.not_mapped("internal", message);
        }
        section.finish(&[
            "enable_cross_zone_load_balancing",
            "enable_deletion_protection",
            "ip_address_type",
            "subnet_mapping",
            "subnets",
        ]);
    }
    balancers
}

fn listener(
    found: Resource<'_>,
    balancers: &HashMap<String, Balancer>,
    ingress: &Ingress,
    groups: &[Group],
) -> Option<Listener> {
    let (origin, name) = (found.origin(), found.name.to_owned());
    let section = found.section;
    let protocol = section
        .text("protocol")
        .unwrap_or_else(|| "HTTP".to_owned());
    if protocol == "HTTPS" {
        section.drop_whole("HTTPS: Weir does not terminate TLS yet");
        return None;
    }
    let balancer = section.reference("load_balancer_arn", "aws_lb");
    let balancer = balancer.and_then(|name| balancers.get(&name));
    if protocol != "HTTP" || balancer.is_some_and(|balancer| balancer.other) {
        section.drop_whole(format!("{protocol}: Weir forwards HTTP alone"));
        return None;
    }
    let Some(port) = section.port("port") else {
        section.drop_whole("a listener without a port");
        return None;
    };
    let default = action::read(&section, "default_action", groups).unwrap_or_else(|| {
        let message =
            "its default action is not taken over; what no rule takes is answered with 503";
        section.not_mapped("default_action", message);
        Action::FixedResponse {
            status: 503,
            content_type: None,
            body: None,
        }
    });
    let none = Balancer::default();
    let balancer = balancer.unwrap_or(&none);
    let (access, v6) = ingress.access(&balancer.security_groups, port);
    if access == Access::Unknown {
        let message =
            format!("these files do not say who may reach port {port}: it listens on 127.0.0.1");
        section.not_mapped("port", message);
    }
    if v6 && !access.is_v6() {
        let message = "a listener is for IPv4 or for IPv6: add one on [::] for clients of IPv6";
        section.not_mapped("load_balancer_arn", message);
    }
    section.finish(&[]);
    Some(Listener {
        origin,
        name,
        port,
        access,
        idle_timeout: balancer.idle_timeout,
        default,
        rules: Vec::new(),
    })
}

fn rule(found: Resource<'_>, listeners: &mut [Listener], groups: &[Group]) {
    let origin = found.origin();
    let section = found.section;
    let name = section.reference("listener_arn", "aws_lb_listener");
    let Some(listener) = name.and_then(|name| listeners.iter_mut().find(|l| l.name == name)) else {
        section.drop_whole("a rule of a listener that is not taken over");
        return;
    };
    let priority = section.count("priority");
    let (when, action) = (
        conditions(&section),
        action::read(&section, "action", groups),
    );
    let Some(priority) = priority.filter(|priority| (1..LAST_PRIORITY + 1).contains(priority))
    else {
        section.drop_whole("a rule without a priority from 1 to 50000");
        return;
    };
    let (Some(when), Some(action)) = (when, action) else {
        // Half of its conditions would take requests that are not its own.
        section.drop_whole("a rule that is only partly understood is left out");
        return;
    };
    if listener.rules.iter().any(|rule| rule.priority == priority) {
        section.drop_whole(format!("priority {priority} is there twice"));
        return;
    }
    section.finish(&[]);
    listener.rules.push(Rule {
        origin,
        priority,
        when,
        action,
    });
}

fn conditions(section: &Section<'_>) -> Option<Conditions> {
    let mut when = Conditions::default();
    let mut complete = true;
    let blocks = section.blocks("condition");
    if blocks.is_empty() {
        section.not_mapped("condition", "a rule without a condition");
        return None;
    }
    for block in blocks {
        complete &= condition::read(&block, &mut when);
        complete &= block.finish(&[]);
    }
    complete.then_some(when)
}

/// ALB's idle timeout holds on both sides.
fn hand_down_timeouts(listener: &Listener, groups: &mut [Group]) {
    let rules = listener.rules.iter().map(|rule| &rule.action);
    for action in rules.chain([&listener.default]) {
        let Action::Forward { groups: names, .. } = action else {
            continue;
        };
        for group in groups.iter_mut() {
            if names.iter().any(|(name, _)| *name == group.name) {
                group.idle_timeout = group.idle_timeout.max(listener.idle_timeout);
            }
        }
    }
}

/// Weir has no list of clients that may connect: the others are answered with 403, by rules
/// that hold for the allowed networks and a default that holds for the rest.
fn restrict(listener: &mut Listener) {
    let Access::Only(networks) = &listener.access else {
        return;
    };
    listener.rules.retain_mut(|rule| {
        rule.when.source_ip = match rule.when.source_ip.as_slice() {
            [] => networks.clone(),
            own => condition::common(own, networks),
        };
        // A rule for clients that cannot connect.
        !rule.when.source_ip.is_empty()
    });
    let refuse = Action::FixedResponse {
        status: 403,
        content_type: None,
        body: None,
    };
    let taken = |number: &u32| listener.rules.iter().any(|rule| rule.priority == *number);
    let last = (1..=LAST_PRIORITY).rev().find(|number| !taken(number));
    let rule = Rule {
        origin: format!("{}: its default action", listener.origin),
        priority: last.unwrap_or(LAST_PRIORITY),
        when: Conditions {
            source_ip: networks.clone(),
            ..Conditions::default()
        },
        action: std::mem::replace(&mut listener.default, refuse),
    };
    listener.rules.push(rule);
}
