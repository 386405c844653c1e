//! `protocol = "tcp"`: what a listener or a group has no use for without HTTP.

use super::scaling::Scaling;
use crate::config::autoscaling::Metric;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::model::{Condition, Rule, TargetGroupId};

/// Keys of a listener that mean something without HTTP.
const LISTENER: [&str; 11] = [
    "name",
    "bind",
    "socket_mode",
    "protocol",
    "proxy_protocol",
    "forwarded",
    "tls",
    "forward",
    "rule",
    "max_connections",
    "client",
];

/// The same of its `client`.
const CLIENT: [&str; 2] = ["idle_timeout", "head_timeout"];

/// The same of the conditions of a rule: what is known of a connection.
const WHEN: [&str; 2] = ["host", "source_ip"];

/// The same of its actions.
const THEN: [&str; 1] = ["forward"];

/// The same of its `forwarded`.
const FORWARDED: [&str; 1] = ["trusted_proxies"];

/// Keys of a group that need HTTP, and what to do without them.
const GROUP: [(&str, &str); 2] = [
    (
        "sticky",
        "to keep clients on their targets write algorithm = \"consistent_hash\", which takes the client's address",
    ),
    (
        "retry",
        "take it out: a connection that cannot be opened always goes to another target, and no other does",
    ),
];

/// Keys of `upstream` that mean something without HTTP.
const UPSTREAM: [&str; 1] = ["connect_timeout"];

/// Keys of `hash` that mean something without HTTP.
const HASH: [&str; 2] = ["client_ip", "load_factor"];

/// Refuses what a listener has for requests.
pub(super) fn check_listener(section: &Section<'_>) {
    for node in section.given_but(&LISTENER) {
        let help = match node.name() {
            "redirect" | "fixed_response" => {
                "such a listener only forwards: write forward = \"NAME\", or protocol = \"http1\""
            }
            _ => "take it out, or write protocol = \"http1\"",
        };
        refuse(&node, "a listener", help);
    }
    let client = section.get("client").and_then(|node| node.table());
    for node in client.into_iter().flat_map(|c| c.given_but(&CLIENT)) {
        let help = "`idle_timeout` counts, the longest time without a byte in either direction, and \
                    `head_timeout`, the longest time until a connection has said where it is for";
        refuse(&node, "a listener", help);
    }
    let forwarded = section.get("forwarded").and_then(|node| node.table());
    for node in forwarded
        .into_iter()
        .flat_map(|table| table.given_but(&FORWARDED))
    {
        let help = "`trusted_proxies` alone counts, for `proxy_protocol`";
        refuse(&node, "a listener", help);
    }
}

/// Warns about a deadline for which nothing is waited: no rule is about hosts.
pub(super) fn check_head_timeout(section: &Section<'_>, rules: &[Rule<TargetGroupId>]) {
    let mut conditions = rules.iter().flat_map(|rule| &rule.conditions);
    let is_peeking = conditions.any(|condition| matches!(condition, Condition::Host(_)));
    if let Some(node) = section
        .child("client", "head_timeout")
        .filter(|_| !is_peeking)
    {
        let message = "`head_timeout` is for the TLS hello that rules with `host` look at, and there is no such rule";
        node.warn(Code::NoEffect, message, "take it out");
    }
}

/// Refuses what a rule has for requests.
pub(super) fn check_rule(rule: &Section<'_>) {
    let inside = |key| rule.get(key).and_then(|node| node.table());
    for node in inside("when")
        .into_iter()
        .flat_map(|table| table.given_but(&WHEN))
    {
        let help =
            "take it out: of a connection `host`, the name in its TLS, and `source_ip` are known";
        refuse(&node, "a rule", help);
    }
    for node in inside("then")
        .into_iter()
        .flat_map(|table| table.given_but(&THEN))
    {
        refuse(
            &node,
            "a rule",
            "such a rule only forwards: write then = { forward = \"NAME\" }",
        );
    }
}

/// Refuses what a group has for requests.
pub(super) fn check_group(section: &Section<'_>, scaling: &Scaling) {
    for (key, help) in GROUP {
        if let Some(node) = section.get(key) {
            refuse(&node, "a group", help);
        }
    }
    let inside = |key| section.get(key).and_then(|node| node.table());
    for node in inside("upstream")
        .into_iter()
        .flat_map(|table| table.given_but(&UPSTREAM))
    {
        let help = match node.name() {
            "tunnel_timeout" | "idle_timeout" | "body_timeout" => {
                "write client = { idle_timeout = \"1h\" } in the listener"
            }
            _ => "take it out: of `upstream`, `connect_timeout` alone counts",
        };
        refuse(&node, "a group", help);
    }
    for node in inside("hash")
        .into_iter()
        .flat_map(|table| table.given_but(&HASH))
    {
        refuse(
            &node,
            "a group",
            "take it out: the key is the client's address",
        );
    }
    if let Some(node) = section.child("replicas", "warm_up") {
        refuse(
            &node,
            "a group",
            "take it out: a replica is not asked anything",
        );
    }
    if scaling.follows(&Metric::LatencyP95)
        && let Some(node) = section.get("autoscaling")
    {
        let message = "`latency_p95` is the time of responses, and this group has protocol \"tcp\"";
        let help = "use \"in_flight_per_target\" (open connections) or \"requests_per_target\" (new connections per second)";
        node.error(Code::Conflict, message, help);
    }
}

fn refuse(node: &Node<'_>, of: &str, help: &str) {
    let message = format!(
        "`{}` needs HTTP, and does nothing in {of} of protocol \"tcp\"",
        node.name()
    );
    node.error(Code::Conflict, message, help);
}
