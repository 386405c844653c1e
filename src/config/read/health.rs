//! `health`: how the targets of a group are checked.

use std::time::Duration;

use http::Method;
use http::uri::{Authority, PathAndQuery};
use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::types::{HealthCheck, HttpProbe, Probe};
use crate::config::units::display_duration;
use crate::config::{bounds, defaults};
use crate::model::Thresholds;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
}

const KINDS: [(&str, Kind); 2] = [("http", Kind::Http), ("tcp", Kind::Tcp)];

/// What only an HTTP check asks.
const HTTP_KEYS: [&str; 5] = ["path", "host", "method", "matcher", "body"];

/// `Some(None)`: not checked. `None`: something is wrong.
#[allow(clippy::option_option)] // off, wrong and a check are three cases
pub(super) fn read(group: &Section<'_>) -> Option<Option<HealthCheck>> {
    let Some(node) = group.get("health") else {
        return Some(Some(unconfigured()));
    };
    match node.value {
        DeValue::Boolean(false) => return Some(None),
        DeValue::Boolean(true) => return Some(Some(unconfigured())),
        _ => {}
    }
    let section = node.section(Place::Health)?;
    let kind = match section.get("type") {
        Some(node) => node.word(&KINDS),
        None => Some(Kind::Http),
    };
    let probe = match kind {
        Some(Kind::Http) => http(&section).map(Probe::Http),
        Some(Kind::Tcp) => {
            warn_about_http_keys(&section);
            Some(Probe::Tcp)
        }
        None => None,
    };
    let port = section.get("port").map(|node| node.integer(bounds::PORT));
    let (interval, timeout) = times(&section);
    let default = defaults::HEALTH_THRESHOLDS;
    let thresholds = Thresholds {
        healthy: section.integer("healthy", bounds::THRESHOLD, default.healthy),
        unhealthy: section.integer("unhealthy", bounds::THRESHOLD, default.unhealthy),
    };
    Some(Some(HealthCheck {
        probe: probe?,
        port: port.flatten(),
        interval,
        timeout,
        thresholds,
    }))
}

/// The check of a group that says nothing about it.
fn unconfigured() -> HealthCheck {
    HealthCheck {
        probe: Probe::Http(HttpProbe {
            method: Method::GET,
            path: defaults::HEALTH_PATH.to_owned(),
            host: None,
            matcher: vec![defaults::HEALTH_MATCHER],
            body: None,
        }),
        port: None,
        interval: defaults::HEALTH_INTERVAL,
        timeout: defaults::HEALTH_TIMEOUT,
        thresholds: defaults::HEALTH_THRESHOLDS,
    }
}

fn times(section: &Section<'_>) -> (Duration, Duration) {
    let given = section.get("interval");
    let interval = section.duration("interval", &bounds::INTERVAL, defaults::HEALTH_INTERVAL);
    let default = defaults::HEALTH_TIMEOUT.min(interval / 2);
    let timeout = section.duration("timeout", &bounds::TIMEOUT, default);
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
    for node in HTTP_KEYS.iter().filter_map(|key| section.get(key)) {
        let message = format!("`{}` does nothing in a check of type \"tcp\"", node.name());
        node.warn(
            Code::NoEffect,
            message,
            "a \"tcp\" check opens a connection and asks nothing; \"http\" asks",
        );
    }
}

fn http(section: &Section<'_>) -> Option<HttpProbe> {
    let or = |key, default, read: fn(&Node<'_>) -> Option<String>| match section.get(key) {
        Some(node) => read(&node).map(Some),
        None => Some(default),
    };
    let method = match section.get("method") {
        Some(node) => method(&node),
        None => Some(Method::GET),
    };
    let path = or("path", Some(defaults::HEALTH_PATH.to_owned()), path);
    let host = or("host", None, host);
    let body = or("body", None, body);
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
        node.error(Code::Conflict, message, "write method = \"GET\"");
        return None;
    }
    Some(HttpProbe {
        method,
        path: path??,
        host: host?,
        matcher: matcher?,
        body,
    })
}

fn body(node: &Node<'_>) -> Option<String> {
    node.text()
}

fn method(node: &Node<'_>) -> Option<Method> {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];
    let names: Vec<_> = methods
        .iter()
        .enumerate()
        .map(|(n, method)| (method.as_str(), n))
        .collect();
    node.word(&names).map(|n| methods[n].clone())
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
        node.error(Code::InvalidValue, message, format!("write \"/{path}\""));
        return None;
    }
    let legal = text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if !legal || text.parse::<PathAndQuery>().is_err() {
        let message = format!("`{text}` is not a path");
        node.error(
            Code::InvalidValue,
            message,
            "write it percent-encoded, without a `#`",
        );
        return None;
    }
    Some(text)
}

fn host(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if text.contains('@') || text.parse::<Authority>().is_err() {
        let message = format!("`{text}` is not a host");
        node.error(
            Code::InvalidValue,
            message,
            "write a name like \"todo.internal\", if need be with a port",
        );
        return None;
    }
    Some(text)
}

/// `200`, `"200,204-299"`, or a list of these.
fn matcher(node: &Node<'_>) -> Option<Vec<(u16, u16)>> {
    let ranges = node.items_of(|node| {
        if matches!(node.value, DeValue::Integer(_)) {
            let status = node.integer(bounds::MATCHER)?;
            return Some(vec![(status, status)]);
        }
        if !matches!(node.value, DeValue::String(_)) {
            node.wrong_type(
                "a status or a range",
                "write \"200\", \"200-299\" or \"200,204\"",
            );
            return None;
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
        node.error(
            Code::InvalidValue,
            format!("`{text}` is neither a status nor a range"),
            help,
        );
        return None;
    };
    if low > high {
        let message = format!("the range `{text}` is empty: it starts above its end");
        node.error(
            Code::InvalidValue,
            message,
            format!("write \"{high}-{low}\""),
        );
        return None;
    }
    if !bounds::MATCHER.contains(&low) || !bounds::MATCHER.contains(&high) {
        let message = format!("`{text}` is not within 200-499");
        let help = "a 1xx is no answer, and a 5xx is how a target says that it is sick";
        node.error(Code::OutOfRange, message, help);
        return None;
    }
    Some((low, high))
}
