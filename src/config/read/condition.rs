//! `when`: the conditions of a rule.

use std::net::IpAddr;

use http::{HeaderName, Method};
use ipnet::IpNet;
use toml::de::DeValue;

use super::field;
use super::pattern::{self, Spelling};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::model::{Condition, HostPattern, Pattern, QueryMatch};

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
];

/// All conditions of a rule; at least one. `spelling` is that of the paths which they match.
pub(super) fn read(node: &Node<'_>, spelling: Spelling) -> Option<Vec<Condition>> {
    let section = node.section(&keys::WHEN)?;
    let get = |key| section.get(key);
    let mut read = Vec::new();
    read.extend(get("host").map(|node| node.items_of(host).map(Condition::Host)));
    let path = |node: &Node<'_>| pattern::path(node, spelling);
    let regex = |node: &Node<'_>| pattern::path_regex(node, spelling);
    read.extend(get("path").map(|node| node.items_of(path).map(Condition::Path)));
    read.extend(get("path_regex").map(|node| node.items_of(regex).map(Condition::Path)));
    read.extend(get("method").map(|node| node.items_of(method).map(Condition::Method)));
    read.extend(get("header").iter().flat_map(headers));
    read.extend(get("query").iter().flat_map(queries));
    read.extend(get("source_ip").map(|node| node.items_of(network).map(Condition::SourceIp)));
    if read.is_empty() {
        let message = "a rule without a condition takes every request";
        let help = "name a condition, or make this the listener's own action";
        return node.refuse(Code::MissingKey, message, help);
    }
    read.into_iter().collect()
}

fn host(node: &Node<'_>) -> Option<HostPattern> {
    let text = node.text()?;
    if let Some((reason, help)) = other_spelling(&text) {
        let message = format!("no host matches `{text}`: {reason}");
        return node.refuse(Code::NeverMatches, message, help);
    }
    if let Ok(host) = HostPattern::new(&text) {
        return Some(host);
    }
    let rest = text
        .split_once("://")
        .map_or(text.as_str(), |(_, rest)| rest);
    let help = if text.contains([' ', ',']) {
        let hosts: Vec<_> = text
            .split([' ', ','])
            .filter(|host| !host.is_empty())
            .collect();
        format!("write a list: [\"{}\"]", hosts.join("\", \""))
    } else if rest.starts_with(|c: char| c.is_alphanumeric() || c == '*') {
        let host = rest.split(['/', ':', ' ']).next().unwrap_or_default();
        format!("a rule sees the host alone, without scheme, port and path: \"{host}\"")
    } else {
        "write a name like \"example.com\" or \"*.example.com\"".to_owned()
    };
    node.refuse(
        Code::NeverMatches,
        format!("`{text}` is not a host name"),
        help,
    )
}

/// Why no request has a host in this spelling, and what to write.
fn other_spelling(host: &str) -> Option<(String, String)> {
    if let Some(c) = host.chars().find(|c| !c.is_ascii() && !c.is_whitespace()) {
        let reason = format!("clients send `{c}` in the ASCII form of the name");
        let help = "write that form, which begins with `xn--`".to_owned();
        return Some((reason, help));
    }
    if let Some(c) = host.chars().find(|c| "\"<>\\^`{|}".contains(*c)) {
        let reason = format!("`{c}` cannot be in one");
        return Some((reason, "`*` is any number of characters".to_owned()));
    }
    if let Some(name) = host.strip_suffix('.').filter(|name| !name.is_empty()) {
        let reason = "rules match names without their final dot".to_owned();
        return Some((reason, format!("write \"{name}\"")));
    }
    None
}

fn method(node: &Node<'_>) -> Option<Method> {
    let text = node.text()?;
    let upper = text.to_ascii_uppercase();
    if METHODS.contains(&upper.as_str()) && text != upper {
        let message = format!("no request has the method `{text}`: methods are case-sensitive");
        return node.refuse(Code::NeverMatches, message, format!("write \"{upper}\""));
    }
    let Ok(method) = Method::from_bytes(text.as_bytes()) else {
        let message = format!("`{text}` is not a method");
        return node.refuse(
            Code::NeverMatches,
            message,
            format!("write one of {}", METHODS.join(", ")),
        );
    };
    if !METHODS.contains(&text.as_str())
        && let Some(known) = nearest(&upper, METHODS)
    {
        let message = format!("`{text}` is not a common method");
        node.warn(
            Code::Suspicious,
            message,
            format!("did you mean \"{known}\"?"),
        );
    }
    Some(method)
}

/// One condition for each header: all of them must hold.
fn headers(node: &Node<'_>) -> Vec<Option<Condition>> {
    const EXAMPLE: &str = "write header = { \"X-Version\" = [\"v2*\"] }";
    if !matches!(node.value, DeValue::Table(_)) {
        node.error(
            Code::WrongType,
            "`header` must be a table of names and values",
            EXAMPLE,
        );
        return vec![None];
    }
    let names = Section::names(node);
    if names.is_empty() {
        node.error(Code::InvalidValue, "`header` names no header", EXAMPLE);
        return vec![None];
    }
    names
        .iter()
        .map(|(name, span, values)| {
            let at = Node {
                span: *span,
                ..values.clone()
            };
            let name = header_name(name, &at);
            let values = values.items_of(header_value);
            let (name, values) = (name?, values?);
            Some(Condition::Header { name, values })
        })
        .collect()
}

/// The name of a header that a rule or a hash may look at.
pub(super) fn header_name(name: &str, at: &Node<'_>) -> Option<HeaderName> {
    let header = field::name(name, at)?;
    if header == http::header::HOST {
        let help = "use the condition `host`, which knows about ports and case";
        at.warn(
            Code::Suspicious,
            "the host is matched as a plain header",
            help,
        );
    }
    Some(header)
}

fn header_value(node: &Node<'_>) -> Option<Pattern> {
    let text = node.text()?;
    if text.chars().any(char::is_control) {
        let message = "no header value contains control characters";
        return node.refuse(Code::NeverMatches, message, "");
    }
    pattern::compiled(node, Pattern::glob(&text)).map(Pattern::lowercase)
}

/// A list is one condition, any entry of which may match. A table is a condition
/// for each key, as with headers.
fn queries(node: &Node<'_>) -> Vec<Option<Condition>> {
    const EXAMPLE: &str =
        "write query = [\"version=2\", \"*debug*\"] or query = { version = \"2\" }";
    if !matches!(node.value, DeValue::Table(_)) {
        return vec![node.items_of(query).map(Condition::Query)];
    }
    let names = Section::names(node);
    if names.is_empty() {
        node.error(Code::InvalidValue, "`query` names no parameter", EXAMPLE);
        return vec![None];
    }
    names
        .iter()
        .map(|(key, _, values)| {
            let matches = values.items_of(|node| {
                let value = pattern::compiled(node, Pattern::glob(&node.text()?))?.lowercase();
                Some(QueryMatch {
                    key: Some(key.to_lowercase()),
                    value,
                })
            });
            matches.map(Condition::Query)
        })
        .collect()
}

/// `key=value`, or a value that any key may have.
fn query(node: &Node<'_>) -> Option<QueryMatch> {
    let text = node.text()?;
    let text = match text.strip_prefix('?') {
        Some(rest) if rest.contains('=') => {
            let message = "a query string is matched without its `?`";
            return node.refuse(Code::NeverMatches, message, format!("write \"{rest}\""));
        }
        _ => text.as_str(),
    };
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (Some(key), value),
        None => (None, text),
    };
    if key.is_some_and(str::is_empty) || value.is_empty() {
        let message = format!("`{text}` lacks a name or a value");
        let help = "write \"name=value\", or \"value\" for any name; `*` is any value";
        return node.refuse(Code::InvalidValue, message, help);
    }
    if value.contains('&') {
        let help = "write a list: [\"a=1\", \"b=2\"] for either, { a = \"1\", b = \"2\" } for both";
        return node.refuse(
            Code::NeverMatches,
            "`&` separates parameters; this is one of them",
            help,
        );
    }
    Some(QueryMatch {
        key: key.map(str::to_lowercase),
        value: pattern::compiled(node, Pattern::glob(value))?.lowercase(),
    })
}

/// A network in CIDR notation, or one address.
pub(super) fn network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.text()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(IpNet::from(ip));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        let help = match text.split_once('/') {
            Some((ip, _)) if ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) => {
                "the number after the slash is 0 to 32"
            }
            Some((ip, _)) if ip.parse::<IpAddr>().is_ok() => {
                "the number after the slash is 0 to 128"
            }
            _ => "write \"10.0.0.0/8\", \"fd00::/8\" or one address",
        };
        let written = network_of_others(&text);
        let help = written.unwrap_or_else(|| help.to_owned());
        return node.refuse(
            Code::InvalidValue,
            format!("`{text}` is not a network"),
            help,
        );
    };
    if network.addr() != network.network() {
        let message = format!("`{text}` names an address, not a network");
        let one = network.addr();
        let help = format!(
            "it means \"{}\"; for one address write \"{one}\"",
            network.trunc()
        );
        node.warn(Code::Suspicious, message, help);
    }
    Some(network.trunc())
}

/// What to write for a mask, a star, a range and a list in one string.
fn network_of_others(text: &str) -> Option<String> {
    let octets = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u8>().ok())
            .collect::<Vec<_>>()
    };
    if let Some((ip, mask)) = text.split_once('/')
        && let (Ok(ip), Ok(mask)) = (ip.parse::<IpAddr>(), mask.parse::<IpAddr>())
        && let Ok(network) = IpNet::with_netmask(ip, mask)
    {
        return Some(format!("write \"{}\"", network.trunc()));
    }
    if let Some(start) = text.strip_suffix('*') {
        let known: Vec<_> = octets(start.trim_end_matches(['*', '.']))
            .into_iter()
            .flatten()
            .collect();
        let (count, mut ip) = (known.len(), [0; 4]);
        if (1..=3).contains(&count) {
            ip[..count].copy_from_slice(&known);
            return Some(format!(
                "write \"{}/{}\"",
                std::net::Ipv4Addr::from(ip),
                count * 8
            ));
        }
    }
    if text.contains([' ', ',']) {
        let parts: Vec<_> = text
            .split([' ', ','])
            .filter(|part| !part.is_empty())
            .collect();
        return Some(format!("write a list: [\"{}\"]", parts.join("\", \"")));
    }
    let (first, last) = text.split_once('-')?;
    let both = first.trim().parse::<IpAddr>().is_ok() && last.trim().parse::<IpAddr>().is_ok();
    both.then(|| {
        "a range is written as networks: \"10.0.0.0/30\" is 10.0.0.0 to 10.0.0.3".to_owned()
    })
}
