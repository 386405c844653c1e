//! `health`: how the targets of a group are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;
use http::uri::{Authority, PathAndQuery};
use toml::de::DeValue;

use crate::config::keys::{ProbeKind, ProbeMethod};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{GrpcProbe, HealthCheck, HttpProbe, Probe};
use crate::config::units::display_duration;
use crate::config::{defaults, keys};
use crate::model::{TargetProtocol, Thresholds};

/// Statuses that a check may accept, ALB's.
const STATUSES: RangeInclusive<u16> = 200..=499;

/// Statuses of gRPC that a check may accept, ALB's.
const GRPC_STATUSES: RangeInclusive<u16> = 0..=99;

/// Keys of checks that ask something.
const ASKING_KEYS: [&str; 6] = ["path", "host", "method", "matcher", "body", "service"];

/// Keys of an HTTP check alone, and of one by gRPC.
const HTTP_KEYS: [&str; 2] = ["method", "body"];
const GRPC_KEYS: [&str; 1] = ["service"];

/// Returns `Some(None)` for a group without checks, and `None` if something is wrong.
#[allow(clippy::option_option)] // off, wrong and a check are three cases
pub(super) fn read(group: &Section<'_>, protocol: TargetProtocol) -> Option<Option<HealthCheck>> {
    let Some(node) = group.get("health") else {
        return Some(Some(unconfigured(group, protocol)));
    };
    match node.value {
        DeValue::Boolean(false) => return Some(None),
        DeValue::Boolean(true) => return Some(Some(unconfigured(group, protocol))),
        _ => {}
    }
    let section = node.section(&keys::HEALTH)?;
    let kind = match section.get("type") {
        Some(node) => node.word(),
        // A path is there to be asked for.
        None if protocol == TargetProtocol::Tcp && section.get("path").is_some() => {
            Some(ProbeKind::Http)
        }
        None => Some(default_kind(protocol)),
    };
    let probe = match kind {
        Some(ProbeKind::Http) => {
            warn_about(&section, &GRPC_KEYS, "http");
            http(&section, protocol).map(Probe::Http)
        }
        Some(ProbeKind::Grpc) => {
            warn_about(&section, &HTTP_KEYS, "grpc");
            grpc(&section).map(Probe::Grpc)
        }
        Some(ProbeKind::Tcp) => {
            warn_about(&section, &ASKING_KEYS, "tcp");
            Some(Probe::Tcp)
        }
        None => None,
    };
    let port = section.get("port").and_then(|node| node.count());
    let probe = probe.map(|probe| match probe {
        // Another port is another server.
        Probe::Http(http) if port.is_none() => Probe::Http(HttpProbe {
            proxy_protocol: group.word("proxy_protocol"),
            ..http
        }),
        probe => probe,
    });
    let (interval, timeout) = times(&section);
    let thresholds = Thresholds {
        healthy: section.count("healthy"),
        unhealthy: section.count("unhealthy"),
    };
    Some(Some(HealthCheck {
        probe: probe?,
        port,
        interval,
        timeout,
        thresholds,
    }))
}

/// What is checked without `type`.
fn default_kind(protocol: TargetProtocol) -> ProbeKind {
    match protocol {
        TargetProtocol::Http1 | TargetProtocol::Http2 => ProbeKind::Http,
        TargetProtocol::Grpc => ProbeKind::Grpc,
        TargetProtocol::Tcp => ProbeKind::Tcp,
    }
}

/// The check of a group without `health`.
fn unconfigured(group: &Section<'_>, protocol: TargetProtocol) -> HealthCheck {
    let http = HttpProbe {
        is_http2: protocol.is_http2(),
        method: Method::GET,
        path: keys::HEALTH.text("path").to_owned(),
        host: None,
        matcher: vec![defaults::HEALTH_MATCHER],
        body: None,
        proxy_protocol: group.word("proxy_protocol"),
        tls: None,
    };
    HealthCheck {
        probe: match default_kind(protocol) {
            ProbeKind::Http => Probe::Http(http),
            ProbeKind::Grpc => Probe::Grpc(GrpcProbe {
                tls: None,
                method: None,
                service: String::new(),
                host: None,
                matcher: vec![(0, 0)],
            }),
            ProbeKind::Tcp => Probe::Tcp,
        },
        port: None,
        interval: keys::HEALTH.duration("interval"),
        timeout: keys::HEALTH.duration("timeout"),
        thresholds: Thresholds {
            healthy: keys::HEALTH.count("healthy") as u32,
            unhealthy: keys::HEALTH.count("unhealthy") as u32,
        },
    }
}

fn times(section: &Section<'_>) -> (Duration, Duration) {
    let given = section.get("interval");
    let interval = section.duration("interval");
    let timeout = section.duration_or(
        "timeout",
        keys::HEALTH.duration("timeout").min(interval / 2),
    );
    if timeout >= interval
        && let Some(node) = section.get("timeout")
    {
        let source = if given.is_some() { "" } else { ", the default" };
        let (long, short) = (display_duration(timeout), display_duration(interval));
        let message = format!("`timeout` ({long}) is not below `interval` ({short}{source})");
        let example = display_duration(below(interval));
        let help = format!(
            "a check must end before the next one starts: write \"{example}\", or a longer interval"
        );
        node.error(Code::TimeoutNotBelowInterval, message, help);
    }
    (interval, timeout)
}

/// A timeout to propose: half of the interval, in whole seconds where that is possible.
fn below(interval: Duration) -> Duration {
    match interval.as_secs() / 2 {
        0 => interval / 2,
        seconds => Duration::from_secs(seconds),
    }
}

fn warn_about(section: &Section<'_>, keys: &[&str], kind: &str) {
    for node in section.given(keys) {
        let message = format!(
            "`{}` does nothing in a check of type \"{kind}\"",
            node.name()
        );
        let help = match kind {
            "tcp" => {
                "a \"tcp\" check opens a connection and asks nothing; \"http\" and \"grpc\" ask"
            }
            "grpc" => "a \"grpc\" check calls a method; \"http\" sends a request",
            _ => "\"grpc\" asks for a service",
        };
        node.warn(Code::NoEffect, message, help);
    }
}

fn grpc(section: &Section<'_>) -> Option<GrpcProbe> {
    let method = section.optional("path", path);
    let host = section.optional("host", host);
    let service = section.optional("service", Node::text);
    let matcher = match section.get("matcher") {
        Some(node) => matcher(&node, &GRPC_STATUSES),
        None => Some(vec![(0, 0)]),
    };
    let (method, service) = (method?, service?);
    if method.is_some()
        && service.is_some()
        && let Some(node) = section.get("service")
    {
        let message =
            "`service` is asked for by /grpc.health.v1.Health/Check, which `path` replaces";
        return node.refuse(Code::Conflict, message, "take one of the two out");
    }
    Some(GrpcProbe {
        tls: None,
        method,
        service: service.unwrap_or_default(),
        host: host?,
        matcher: matcher?,
    })
}

fn http(section: &Section<'_>, protocol: TargetProtocol) -> Option<HttpProbe> {
    let method = match section.get("method") {
        Some(node) => node.word().map(|ProbeMethod(method)| method),
        None => Some(Method::GET),
    };
    let path = section.text("path", path);
    let host = section.optional("host", host);
    let body = section.optional("body", Node::text);
    let matcher = match section.get("matcher") {
        Some(node) => matcher(&node, &STATUSES),
        None => Some(vec![defaults::HEALTH_MATCHER]),
    };
    let (method, body) = (method?, body?);
    if method == Method::HEAD
        && body.is_some()
        && let Some(node) = section.get("body")
    {
        let message = "the answer to a HEAD request has no body to look into";
        return node.refuse(Code::Conflict, message, "write method = \"GET\"");
    }
    Some(HttpProbe {
        is_http2: protocol.is_http2(),
        method,
        path: path?,
        host: host?,
        matcher: matcher?,
        body,
        proxy_protocol: None,
        tls: None,
    })
}

/// A path and perhaps a query, as they stand in a request.
pub(super) fn path(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if !text.starts_with('/') {
        let message = format!("`{text}` is not a path: it does not start with `/`");
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map_or(text.as_str(), |(_, path)| path);
        return node.refuse(Code::InvalidValue, message, format!("write \"/{path}\""));
    }
    let legal = text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if !legal || text.parse::<PathAndQuery>().is_err() {
        let message = format!("`{text}` is not a path");
        return node.refuse(
            Code::InvalidValue,
            message,
            "write it percent-encoded, without a `#`",
        );
    }
    Some(text)
}

fn host(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if text.contains('@') || text.parse::<Authority>().is_err() {
        let message = format!("`{text}` is not a host");
        return node.refuse(
            Code::InvalidValue,
            message,
            "write a name like \"todo.internal\", if need be with a port",
        );
    }
    Some(text)
}

/// `200`, `"200,204-299"`, or a list of these.
fn matcher(node: &Node<'_>, within: &RangeInclusive<u16>) -> Option<Vec<(u16, u16)>> {
    let ranges = node.items_of(|node| {
        if matches!(node.value, DeValue::Integer(_)) {
            let status =
                node.count_within(&(i64::from(*within.start())..=i64::from(*within.end())))?;
            return Some(vec![(status, status)]);
        }
        if !matches!(node.value, DeValue::String(_)) {
            return node.refuse_type(
                "a status or a range",
                "write \"200\", \"200-299\" or \"200,204\"",
            );
        }
        let text = node.text()?;
        text.split(',')
            .map(|part| statuses(node, part.trim(), within))
            .collect()
    })?;
    Some(ranges.concat())
}

fn statuses(node: &Node<'_>, text: &str, within: &RangeInclusive<u16>) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse::<u16>().ok();
    let (Some(low), Some(high)) = (status(low), status(high)) else {
        let help = match text.strip_suffix("xx") {
            Some(class @ ("2" | "3" | "4")) => format!("write \"{class}00-{class}99\""),
            _ => "write \"200\", \"200-299\" or \"200,204\"".to_owned(),
        };
        return node.refuse(
            Code::InvalidValue,
            format!("`{text}` is neither a status nor a range"),
            help,
        );
    };
    if low > high {
        let message = format!("the range `{text}` is empty: it starts above its end");
        return node.refuse(
            Code::InvalidValue,
            message,
            format!("write \"{high}-{low}\""),
        );
    }
    if !within.contains(&low) || !within.contains(&high) {
        let (first, last) = (within.start(), within.end());
        let message = format!("`{text}` is not within {first}-{last}");
        let help = if *within == STATUSES {
            "a 1xx is no answer, and a 5xx is how a target says that it is sick"
        } else {
            "the statuses of gRPC are 0 to 16; 0 is OK, and 12 is a method that is not there"
        };
        return node.refuse(Code::OutOfRange, message, help);
    }
    Some((low, high))
}
