//! `[target_group.NAME]`: its targets and how they are used.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::{discovered, hash, health, overload, retry, scaling, sticky};
use crate::config::address::{self, Host};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::span::Span;
use crate::config::types::{
    FailOpen, MinHealthy, TargetAddress, TargetGroup, TargetSpec, Upstream,
};
use crate::config::units::display_duration;
use crate::config::{bounds, defaults};
use crate::model::{Algorithm, TargetGroupId};

/// Names of algorithms beyond [`Algorithm::name`]: ALB's, and what other proxies say.
const ALIASES: [(&str, Algorithm); 3] = [
    ("least_outstanding_requests", Algorithm::LeastConnections),
    ("least_conn", Algorithm::LeastConnections),
    ("p2c", Algorithm::PowerOfTwoChoices),
];

/// What other products call an algorithm, and the one that does the same.
const OTHERS: [(&str, &[&str]); 6] = [
    (
        "least_connections",
        &[
            "leastconn",
            "least_request",
            "least_requests",
            "least_outstanding",
            "lor",
            "least_active",
        ],
    ),
    (
        "consistent_hash",
        &[
            "ip_hash",
            "iphash",
            "source",
            "source_ip",
            "ring_hash",
            "maglev",
            "hash",
            "uri",
            "sticky",
            "client_ip_hash",
            "uri_hash",
            "consistent",
        ],
    ),
    (
        "round_robin",
        &[
            "roundrobin",
            "rr",
            "wrr",
            "static_rr",
            "weighted_round_robin",
            "weighted_roundrobin",
        ],
    ),
    ("peak_ewma", &["ewma", "least_latency"]),
    ("least_time", &["least_response_time", "fastest"]),
    (
        "power_of_two_choices",
        &["random_two", "random_choose", "p2c_least_conn"],
    ),
];

/// A target and where the file names it.
struct Placed<'a> {
    spec: TargetSpec,
    node: Node<'a>,
}

pub(super) fn read(name: &str, node: &Node<'_>) -> Option<TargetGroup> {
    let section = node.section(Place::TargetGroup)?;
    let port = section.get("port").map(|node| node.integer(bounds::PORT));
    let algorithm = algorithm(&section);
    let hash = hash::read(&section, algorithm);
    let health = health::read(&section);
    let fail_open = fail_open(&section);
    let upstream = section
        .get("upstream")
        .and_then(|node| node.section(Place::Upstream))
        .map_or(defaults::UPSTREAM, |section| upstream_limits(&section));
    let (retry, outlier) = (retry::retry(&section), retry::outlier(&section));
    let slow_start = slow_start(&section);
    let deregistration_delay = section.duration(
        "deregistration_delay",
        &bounds::DEREGISTRATION_DELAY,
        defaults::DEREGISTRATION_DELAY,
    );
    let scaling = scaling::read(&section, port);
    let overload = overload::read(&section, algorithm, scaling.may_be_zero());
    let sticky = sticky::read(&section, algorithm, &overload);
    let targets = targets(&section, port);
    if let Some(targets) = &targets {
        check_weights(targets, algorithm);
    }
    if section.get("targets").is_none() && section.get("replicas").is_none() {
        miss_targets(&section);
        return None;
    }
    let known = targets.as_ref().map_or(0, Vec::len) + scaling.most();
    check_min_healthy(&section, fail_open, targets.as_deref(), known);
    if scaling.is_broken {
        return None;
    }
    Some(TargetGroup {
        id: TargetGroupId::from(name),
        port: port.flatten(),
        targets: targets?.into_iter().map(|target| target.spec).collect(),
        algorithm,
        hash: hash?,
        health: health?,
        fail_open,
        upstream,
        retry,
        outlier,
        overload,
        slow_start,
        deregistration_delay,
        sticky,
        replicas: scaling.replicas,
        autoscaling: scaling.autoscaling,
    })
}

fn miss_targets(section: &Section<'_>) {
    if section.is_meant("targets") || section.is_meant("replicas") {
        return;
    }
    let message = format!("{} has neither `targets` nor `replicas`", section.heading());
    let help = "write targets = [\"10.0.0.1:6400\"], or replicas = { command = [...] } to let Weir run them";
    section.error(Code::MissingKey, "targets", message, help);
}

/// Zero, or within ALB's range: a shorter one would be over before it is noticed.
fn slow_start(section: &Section<'_>) -> Duration {
    let (low, high) = (*bounds::SLOW_START.start(), *bounds::SLOW_START.end());
    let read = section.duration("slow_start", &(Duration::ZERO..=high), defaults::SLOW_START);
    if let Some(node) = section.get("slow_start")
        && !read.is_zero()
        && read < low
    {
        let range = format!("{} to {}", display_duration(low), display_duration(high));
        let message = format!("`slow_start` must be \"0s\" or from {range}");
        node.error(Code::OutOfRange, message, "\"0s\" turns it off");
    }
    read
}

fn algorithm(section: &Section<'_>) -> Algorithm {
    let names = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let read = section.get("algorithm").and_then(|node| {
        // Aliases are understood, not advertised: one word for one thing.
        let alias = match node.value {
            DeValue::String(text) => ALIASES.iter().find(|(alias, _)| alias == text),
            _ => None,
        };
        if let Some((_, algorithm)) = alias {
            return Some(*algorithm);
        }
        if let DeValue::String(text) = node.value {
            let word = text.to_ascii_lowercase().replace(['-', ' '], "_");
            let known = names
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(name, _)| *name);
            let other = OTHERS.iter().find(|(_, words)| words.contains(&&*word));
            let meant = known.or(other.map(|(name, _)| *name));
            if let Some(meant) = meant.filter(|meant| meant != text) {
                let message = format!("`{text}` is not a value of `algorithm`");
                node.error(
                    Code::InvalidValue,
                    message,
                    format!("write algorithm = \"{meant}\""),
                );
                return None;
            }
        }
        node.word(&names)
    });
    read.unwrap_or(defaults::ALGORITHM)
}

/// `port` is `Some(None)` when it is there and wrong: targets rely on it all the same.
#[allow(clippy::option_option)] // absent, wrong and right are three cases
fn targets<'a>(section: &Section<'a>, port: Option<Option<u16>>) -> Option<Vec<Placed<'a>>> {
    let Some(node) = section.get("targets") else {
        return Some(Vec::new());
    };
    let items = node.items();
    if items.is_empty() {
        let message = format!("{} has no targets", section.heading());
        node.warn(Code::Empty, message, "its requests are answered with 503");
    }
    let mut list: Vec<Placed<'a>> = Vec::new();
    let mut seen: HashMap<TargetAddress, Span> = HashMap::new();
    let mut complete = true;
    for item in items {
        let Some(read) = target(&item, port) else {
            complete = false;
            continue;
        };
        for target in read {
            let (address, span) = (target.spec.address.clone(), target.node.span);
            if let Some(twin) = seen.get(&address) {
                let line = section.cx.line(*twin);
                let message = "this target is there twice";
                let help =
                    format!("the other one is in line {line}; for more requests give it a weight");
                target.node.error(Code::Duplicate, message, help);
            } else {
                seen.insert(address, span);
            }
            if let TargetAddress::Socket(address) = target.spec.address {
                section
                    .cx
                    .note(|notes| notes.targets.push(target.node.mark(address)));
            }
            list.push(target);
        }
    }
    complete.then_some(list)
}

/// The targets of one entry. A string may hold several, separated by commas: an
/// environment variable can hold no list.
#[allow(clippy::option_option)] // as above
fn target<'a>(node: &Node<'a>, port: Option<Option<u16>>) -> Option<Vec<Placed<'a>>> {
    let (text, weight, at) = if matches!(node.value, DeValue::Table(_)) {
        let section = node.section(Place::Target)?;
        let weight = section.integer("weight", bounds::WEIGHT, defaults::WEIGHT);
        if let Some(read) = discovered::read(&section, port) {
            let (address, node) = read?;
            let spec = TargetSpec { address, weight };
            return Some(vec![Placed { spec, node }]);
        }
        let at = section.require(
            "address",
            "write { address = \"10.0.0.1:6400\", weight = 1 }",
        )?;
        (at.text()?, weight, at)
    } else if matches!(node.value, DeValue::String(_)) {
        (node.text()?, defaults::WEIGHT, node.clone())
    } else {
        let help = "write \"10.0.0.1:6400\" or { address = \"10.0.0.1:6400\", weight = 2 }";
        node.wrong_type("an address", help);
        return None;
    };
    let addresses = text.split(',').map(str::trim);
    let read: Vec<_> = addresses
        .map(|text| target_address(text, port, &at))
        .collect();
    let placed = |address| Placed {
        spec: TargetSpec { address, weight },
        node: at.clone(),
    };
    read.into_iter()
        .map(|address| address.map(placed))
        .collect()
}

#[allow(clippy::option_option)] // as above
fn target_address(text: &str, port: Option<Option<u16>>, at: &Node<'_>) -> Option<TargetAddress> {
    let written = match address::target(text) {
        Ok(written) => written,
        Err(error) => {
            at.error(Code::InvalidValue, error.message, error.help);
            return None;
        }
    };
    let port = match (written.port, port) {
        (Some(port), _) | (None, Some(Some(port))) => port,
        // The group's port is wrong; that has been said.
        (None, Some(None)) => return None,
        (None, None) => {
            let message = format!("target `{text}` has no port, and neither has its group");
            let with_port = match &written.host {
                Host::Ip(ip) => SocketAddr::new(*ip, 6400).to_string(),
                Host::Name(name) => format!("{name}:6400"),
            };
            let help = format!("write \"{with_port}\", or port = 6400 in the group");
            at.error(Code::MissingKey, message, help);
            return None;
        }
    };
    Some(match written.host {
        Host::Ip(ip) => TargetAddress::Socket(SocketAddr::new(ip, port)),
        Host::Name(name) => {
            // What `weir import` writes for targets that it does not know. RFC 6761 6.4: such
            // names do not exist.
            if name.ends_with(".invalid") {
                let message = format!("`{name}` is a placeholder: it never has an address");
                at.warn(
                    Code::Suspicious,
                    message,
                    "write the addresses of the targets, or set the variable that is named here",
                );
            }
            TargetAddress::Host { name, port }
        }
    })
}

fn check_weights(targets: &[Placed<'_>], algorithm: Algorithm) {
    if let [first, ..] = targets
        && targets.iter().all(|target| target.spec.weight == 0)
    {
        let message = "every target of this group has weight 0: none gets a request";
        first.node.warn(
            Code::NoWeight,
            message,
            "give at least one target a weight above 0",
        );
        return;
    }
    let ignored = match algorithm {
        Algorithm::LeastConnections | Algorithm::First => {
            targets.iter().find(|target| target.spec.weight > 1)
        }
        Algorithm::RoundRobin
        | Algorithm::WeightedLeastConnections
        | Algorithm::ConsistentHash
        | Algorithm::Random
        | Algorithm::WeightedRandom
        | Algorithm::PowerOfTwoChoices
        | Algorithm::PeakEwma
        | Algorithm::LeastTime => None,
    };
    if let Some(target) = ignored {
        let message = format!("`{}` does not look at weights", algorithm.name());
        let help = "use algorithm = \"weighted_least_connections\"";
        target.node.warn(Code::NoEffect, message, help);
    }
}

fn fail_open(section: &Section<'_>) -> FailOpen {
    let default = defaults::FAIL_OPEN;
    let enabled = section.get("fail_open").and_then(|node| node.boolean());
    let min_healthy = section
        .get("min_healthy")
        .and_then(|node| min_healthy(&node));
    FailOpen {
        min_healthy: min_healthy.unwrap_or(default.min_healthy),
        enabled: enabled.unwrap_or(default.enabled),
    }
}

/// A count, or a percentage as a string.
fn min_healthy(node: &Node<'_>) -> Option<MinHealthy> {
    if !matches!(node.value, DeValue::String(_)) {
        return node.integer(bounds::MIN_HEALTHY).map(MinHealthy::Count);
    }
    let text = node.text()?;
    let percent = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<u8>().ok());
    if let Some(percent) = percent.filter(|percent| (1..=100).contains(percent)) {
        return Some(MinHealthy::Percent(percent));
    }
    let help = match text.parse::<u32>() {
        Ok(count) => format!("write {count} for a count of targets, \"{count}%\" for a share"),
        Err(_) => "write a count like 2, or a share from \"1%\" to \"100%\"".to_owned(),
    };
    let message = format!("`{text}` is neither a count nor a share of targets");
    node.error(Code::InvalidValue, message, help);
    None
}

fn check_min_healthy(
    section: &Section<'_>,
    fail_open: FailOpen,
    targets: Option<&[Placed<'_>]>,
    known: usize,
) {
    let Some(node) = section.get("min_healthy") else {
        return;
    };
    if !fail_open.enabled {
        let message = "`min_healthy` says when to fail open, and `fail_open` is false";
        node.warn(Code::NoEffect, message, "take one of the two out");
    }
    // A host name can stand for any number of targets.
    let fixed = targets.is_some_and(|targets| {
        targets
            .iter()
            .all(|target| matches!(target.spec.address, TargetAddress::Socket(_)))
    });
    if let MinHealthy::Count(least) = fail_open.min_healthy
        && fixed
        && least as usize > known
    {
        let plural = if known == 1 { "" } else { "s" };
        let message =
            format!("`min_healthy` is {least}, but there are only {known} target{plural}");
        node.warn(
            Code::Suspicious,
            message,
            "health checks would never be believed",
        );
    }
}

fn upstream_limits(section: &Section<'_>) -> Upstream {
    let default = defaults::UPSTREAM;
    let timeout = |key, default| section.duration(key, &bounds::TIMEOUT, default);
    Upstream {
        connect_timeout: timeout("connect_timeout", default.connect_timeout),
        response_timeout: timeout("response_timeout", default.response_timeout),
        body_timeout: timeout("body_timeout", default.body_timeout),
        request_timeout: section
            .get("request_timeout")
            .and_then(|node| node.duration(&bounds::TIMEOUT)),
        tunnel_timeout: timeout("tunnel_timeout", default.tunnel_timeout),
        idle_timeout: section
            .get("idle_timeout")
            .and_then(|node| node.duration(&bounds::TIMEOUT)),
        max_idle: section.integer("max_idle", bounds::MAX_IDLE, default.max_idle),
    }
}
