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
use crate::config::types::{HealthCheck, HttpProbe, Probe};
use crate::config::units::display_duration;
use crate::config::{defaults, keys};
use crate::model::{Protocol, Thresholds};

/// Statuses that a check may accept, ALB's.
const STATUSES: RangeInclusive<u16> = 200..=499;

/// Keys of an HTTP check alone.
const HTTP_KEYS: [&str; 5] = ["path", "host", "method", "matcher", "body"];

/// Returns `Some(None)` for a group without checks, and `None` if something is wrong.
#[allow(clippy::option_option)] // off, wrong and a check are three cases
pub(super) fn read(group: &Section<'_>, protocol: Protocol) -> Option<Option<HealthCheck>> {
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
        None if section.get("path").is_some() => Some(ProbeKind::Http),
        None => Some(default_kind(protocol)),
    };
    let probe = match kind {
        Some(ProbeKind::Http) => http(&section).map(Probe::Http),
        Some(ProbeKind::Tcp) => {
            warn_about_http_keys(&section);
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
fn default_kind(protocol: Protocol) -> ProbeKind {
    match protocol {
        Protocol::Http1 => ProbeKind::Http,
        Protocol::Tcp => ProbeKind::Tcp,
    }
}

/// The check of a group without `health`.
fn unconfigured(group: &Section<'_>, protocol: Protocol) -> HealthCheck {
    let http = HttpProbe {
        method: Method::GET,
        path: keys::HEALTH.text("path").to_owned(),
        host: None,
        matcher: vec![defaults::HEALTH_MATCHER],
        body: None,
        proxy_protocol: group.word("proxy_protocol"),
    };
    HealthCheck {
        probe: match default_kind(protocol) {
            ProbeKind::Http => Probe::Http(http),
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

fn warn_about_http_keys(section: &Section<'_>) {
    for node in section.given(&HTTP_KEYS) {
        let message = format!("`{}` does nothing in a check of type \"tcp\"", node.name());
        node.warn(
            Code::NoEffect,
            message,
            "a \"tcp\" check opens a connection and asks nothing; \"http\" asks",
        );
    }
}

fn http(section: &Section<'_>) -> Option<HttpProbe> {
    let method = match section.get("method") {
        Some(node) => node.word().map(|ProbeMethod(method)| method),
        None => Some(Method::GET),
    };
    let path = section.text("path", path);
    let host = section.optional("host", host);
    let body = section.optional("body", Node::text);
    let matcher = match section.get("matcher") {
        Some(node) => matcher(&node),
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
        method,
        path: path?,
        host: host?,
        matcher: matcher?,
        body,
        proxy_protocol: None,
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
fn matcher(node: &Node<'_>) -> Option<Vec<(u16, u16)>> {
    let ranges = node.items_of(|node| {
        if matches!(node.value, DeValue::Integer(_)) {
            let status = node.count_within(&(200..=499))?;
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
            .map(|part| statuses(node, part.trim()))
            .collect()
    })?;
    Some(ranges.concat())
}

fn statuses(node: &Node<'_>, text: &str) -> Option<(u16, u16)> {
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
    if !STATUSES.contains(&low) || !STATUSES.contains(&high) {
        let message = format!("`{text}` is not within 200-499");
        let help = "a 1xx is no answer, and a 5xx is how a target says that it is sick";
        return node.refuse(Code::OutOfRange, message, help);
    }
    Some((low, high))
}
