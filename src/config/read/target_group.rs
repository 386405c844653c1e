//! `[target_group.NAME]`: its targets and how they are used.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use toml::de::DeValue;

use super::group_port::GroupPort;
use super::{discovered, hash, health, overload, retry, scaling, sticky, tcp, tls};
use crate::config::address::{self, Host};
use crate::config::defaults;
use crate::config::keys::{self, Words, names};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::span::Span;
use crate::config::types::{
    FailOpen, HealthCheck, MinHealthy, Probe, Replicas, TargetAddress, TargetGroup, TargetSpec,
    UpstreamLimits,
};
use crate::config::units::display_duration;
use crate::model::{Algorithm, TargetGroupId, TargetProtocol};
use crate::tls::Client;

/// Words of other products for an algorithm that does the same. They are refused with the right
/// word, because few of them mean exactly this.
#[rustfmt::skip] // a table reads by rows
const OTHERS: [(&str, &str); 6] = [
    ("least_connections", "leastconn least_request least_requests least_outstanding lor least_active"),
    ("consistent_hash", "ip_hash iphash source source_ip ring_hash maglev hash uri sticky client_ip_hash uri_hash consistent"),
    ("round_robin", "roundrobin rr wrr static_rr weighted_round_robin weighted_roundrobin"),
    ("peak_ewma", "ewma least_latency"),
    ("least_time", "least_response_time fastest"),
    ("power_of_two_choices", "random_two random_choose p2c_least_conn"),
];

/// A target and its place.
struct Placed<'a> {
    spec: TargetSpec,
    node: Node<'a>,
}

pub(super) fn read(name: &str, node: &Node<'_>) -> Option<TargetGroup> {
    let section = node.section(&keys::TARGET_GROUP)?;
    let protocol: TargetProtocol = section.word("protocol");
    note_protocol(node, name, protocol);
    let port = section.get("port").map(|node| node.count());
    let algorithm = algorithm(&section);
    let hash = hash::read(&section, algorithm);
    let mut health = health::read(&section, protocol);
    let tls = section.optional("tls", |node| tls::of_group(node, protocol));
    let fail_open = fail_open(&section);
    let upstream = UpstreamLimits {
        protocol,
        proxy_protocol: section.word("proxy_protocol"),
        ..upstream(&section)
    };
    check_proxy_protocol(&section, &upstream);
    let (retry, outlier) = (retry::retry(&section), retry::outlier(&section));
    let slow_start = slow_start(&section);
    let deregistration_delay = section.duration("deregistration_delay");
    let mut scaling = scaling::read(&section, port, protocol);
    let tls = tls?;
    share_tls(tls.as_ref(), health.as_mut(), scaling.replicas.as_mut());
    if protocol == TargetProtocol::Tcp {
        tcp::check_group(&section, &scaling);
    }
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
        protocol,
        port: port.flatten(),
        targets: targets?.into_iter().map(|target| target.spec).collect(),
        algorithm,
        hash: hash?,
        health: health?,
        fail_open,
        upstream,
        tls,
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

/// A header says which client a connection is for, and one of HTTP/2 carries the requests of many.
fn check_proxy_protocol(section: &Section<'_>, upstream: &UpstreamLimits) {
    if upstream.protocol.is_http2()
        && upstream.proxy_protocol.is_some()
        && let Some(node) = section.get("proxy_protocol")
    {
        let word = upstream.protocol.name();
        let message = format!(
            "`proxy_protocol` names one client, and a connection of protocol \"{word}\" is for many"
        );
        let help = "take it out: targets find the client in X-Forwarded-For; or write protocol = \"http1\"";
        node.error(Code::Conflict, message, help);
    }
}

/// For the listeners that forward to the group.
fn note_protocol(node: &Node<'_>, name: &str, protocol: TargetProtocol) {
    let group = TargetGroupId::from(name);
    node.cx
        .note(|notes| notes.protocols.extend([(group, protocol)]));
}

/// Whatever asks something of a target speaks to it as requests do.
fn share_tls(
    tls: Option<&Client>,
    health: Option<&mut Option<HealthCheck>>,
    replicas: Option<&mut Replicas>,
) {
    match health
        .and_then(Option::as_mut)
        .map(|check| &mut check.probe)
    {
        Some(Probe::Http(probe)) => probe.tls = tls.cloned(),
        Some(Probe::Grpc(probe)) => probe.tls = tls.cloned(),
        Some(Probe::Tcp) | None => {}
    }
    if let Some(requests) = replicas.and_then(|replicas| replicas.warm_up.as_mut()) {
        requests.tls = tls.cloned();
    }
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
    let (read, least) = (section.duration("slow_start"), keys::LEAST_SLOW_START);
    if let Some(node) = section.get("slow_start")
        && let keys::Kind::Duration(bounds) = &node.spec.kind
        && !read.is_zero()
        && read < least
    {
        let (low, high) = (display_duration(least), display_duration(*bounds.end()));
        let message = format!("`slow_start` must be \"0s\" or from {low} to {high}");
        node.error(Code::OutOfRange, message, "\"0s\" turns it off");
    }
    read
}

fn algorithm(section: &Section<'_>) -> Algorithm {
    if let Some(node) = section.get("algorithm")
        && let DeValue::String(text) = node.value
        && Algorithm::of(text).is_none()
    {
        let word = text.to_ascii_lowercase().replace(['-', ' '], "_");
        let known = names::<Algorithm>().into_iter().find(|name| *name == word);
        let other = OTHERS
            .iter()
            .find(|(_, words)| words.split(' ').any(|other| other == word));
        if let Some(meant) = known.or(other.map(|(name, _)| *name)) {
            let message = format!("`{text}` is not a value of `algorithm`");
            let help = format!("write algorithm = \"{meant}\"");
            node.error(Code::InvalidValue, message, help);
            return section.default_word("algorithm");
        }
    }
    section.word("algorithm")
}

fn targets<'a>(section: &Section<'a>, port: GroupPort) -> Option<Vec<Placed<'a>>> {
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
            if let TargetAddress::Socket(endpoint) = &target.spec.address {
                let at = target.node.mark(endpoint.clone());
                section.cx.note(|notes| notes.targets.push(at));
            }
            list.push(target);
        }
    }
    complete.then_some(list)
}

/// The targets of one entry. A string may hold several, separated by commas: an
/// environment variable can hold no list.
fn target<'a>(node: &Node<'a>, port: GroupPort) -> Option<Vec<Placed<'a>>> {
    let (text, weight, at) = if matches!(node.value, DeValue::Table(_)) {
        let section = node.section(&keys::TARGET)?;
        let weight = section.count("weight");
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
        return node.refuse_type("an address", help);
    };
    let addresses = text.split(',').map(str::trim);
    let read: Vec<_> = addresses
        .map(|text| target_address(text, port, &at))
        .collect();
    read.into_iter()
        .map(|address| {
            Some(Placed {
                spec: TargetSpec {
                    address: address?,
                    weight,
                },
                node: at.clone(),
            })
        })
        .collect()
}

fn target_address(text: &str, port: GroupPort, at: &Node<'_>) -> Option<TargetAddress> {
    match address::unix(text) {
        None => {}
        Some(Ok(endpoint)) => return Some(TargetAddress::Socket(endpoint)),
        Some(Err(error)) => return at.refuse(Code::InvalidValue, error.message, error.help),
    }
    let written = match address::target(text) {
        Ok(written) => written,
        Err(error) => {
            return at.refuse(Code::InvalidValue, error.message, error.help);
        }
    };
    let port = match (written.port, port) {
        (Some(port), _) | (None, Some(Some(port))) => port,
        // The group's port is wrong, which has been reported.
        (None, Some(None)) => return None,
        (None, None) => {
            let message = format!("target `{text}` has no port, and neither has its group");
            let with_port = match &written.host {
                Host::Ip(ip) => SocketAddr::new(*ip, 6400).to_string(),
                Host::Name(name) => format!("{name}:6400"),
            };
            let help = format!("write \"{with_port}\", or port = 6400 in the group");
            return at.refuse(Code::MissingKey, message, help);
        }
    };
    Some(match written.host {
        Host::Ip(ip) => TargetAddress::Socket((ip, port).into()),
        Host::Name(name) => {
            // `weir import` writes such names for targets that it does not know. RFC 6761 section
            // 6.4: they do not exist.
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
    let min_healthy = section
        .get("min_healthy")
        .and_then(|node| min_healthy(&node));
    FailOpen {
        min_healthy: min_healthy.unwrap_or(defaults::FAIL_OPEN.min_healthy),
        enabled: section.flag("fail_open"),
    }
}

/// A count, or a percentage as a string.
fn min_healthy(node: &Node<'_>) -> Option<MinHealthy> {
    if !matches!(node.value, DeValue::String(_)) {
        return node.count().map(MinHealthy::Count);
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
    node.refuse(Code::InvalidValue, message, help)
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

fn upstream(section: &Section<'_>) -> UpstreamLimits {
    let node = section.get("upstream");
    let limits = node.and_then(|node| node.section(&keys::UPSTREAM));
    limits.map_or(defaults::UPSTREAM, |limits| upstream_limits(&limits))
}

fn upstream_limits(section: &Section<'_>) -> UpstreamLimits {
    let optional = |key| section.get(key).and_then(|node| node.duration());
    UpstreamLimits {
        max_streams: NonZeroU32::new(section.count("max_streams"))
            .unwrap_or(defaults::UPSTREAM.max_streams),
        connect_timeout: section.duration("connect_timeout"),
        response_timeout: section.duration("response_timeout"),
        body_timeout: section.duration("body_timeout"),
        request_timeout: optional("request_timeout"),
        tunnel_timeout: section.duration("tunnel_timeout"),
        idle_timeout: optional("idle_timeout"),
        max_idle: section.count("max_idle"),
        max_head: section.size("max_head"),
        max_fields: section.count("max_fields"),
        body_min_rate: NonZeroU32::new(section.count("body_min_rate")),
        ..defaults::UPSTREAM
    }
}
