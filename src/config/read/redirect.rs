//! `redirect`: a location with parts of the request in it.
//!
//! ALB's keys and placeholders. One difference: a new `protocol` without a new
//! `port` means that protocol's own port. ALB keeps the listener's there, which
//! makes `https://example.com:80/`.

use http::StatusCode;
use toml::de::DeValue;

use super::template::{self, Piece};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::{defaults, keys};
use crate::model::{Condition, Redirect, RedirectPart};

const PLACEHOLDERS: [(&str, RedirectPart); 5] = [
    ("protocol", RedirectPart::Protocol),
    ("host", RedirectPart::Host),
    ("port", RedirectPart::Port),
    ("path", RedirectPart::Path),
    ("query", RedirectPart::Query),
];

/// The parts of a location; `None` keeps the request's.
struct Parts {
    protocol: Option<Vec<RedirectPart>>,
    host: Option<Vec<RedirectPart>>,
    port: Option<Vec<RedirectPart>>,
    path: Option<Vec<RedirectPart>>,
    query: Option<Vec<RedirectPart>>,
}

pub(super) fn read(
    node: &Node<'_>,
    port: Option<u16>,
    conditions: &[Condition],
) -> Option<Redirect> {
    let section = node.section(&keys::REDIRECT)?;
    let status = section.optional("status", status);
    let protocol = section.optional("protocol", protocol);
    let host = section.optional("host", host);
    let own_port = section.optional("port", self::port);
    let path = section.optional("path", path);
    let query = section.optional("query", query);
    let parts = Parts {
        protocol: protocol?,
        host: host?,
        port: own_port?,
        path: path?,
        query: query?,
    };
    // An unknown key was meant to change something.
    if section.unknown_keys().next().is_some() {
        return None;
    }
    if parts.keep_everything(port, conditions) {
        let message = "this redirect changes nothing: the client would come back for ever";
        let help = "change at least one of protocol, host, port, path and query";
        return node.refuse(Code::Loop, message, help);
    }
    Some(Redirect {
        status: status?.unwrap_or(defaults::REDIRECT_STATUS),
        location: parts.location(),
    })
}

fn status(node: &Node<'_>) -> Option<StatusCode> {
    const CODES: [u16; 5] = [301, 302, 303, 307, 308];
    let code = node.count_within(&(0..=65_535))?;
    if !CODES.contains(&code) {
        let message = format!("{code} is not the status of a redirect");
        let help =
            "301 and 308 are permanent, 302, 303 and 307 temporary; 307 and 308 keep the method";
        return node.refuse(Code::OutOfRange, message, help);
    }
    StatusCode::from_u16(code).ok()
}

fn protocol(node: &Node<'_>) -> Option<Vec<RedirectPart>> {
    let parts = template(node, &node.text()?)?;
    let lower = match parts.as_slice() {
        [RedirectPart::Protocol] => return Some(parts),
        [RedirectPart::Literal(text)] => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    if !matches!(lower.as_str(), "http" | "https") {
        let help = "write \"http\", \"https\" or \"#{protocol}\"";
        return node.refuse(Code::InvalidValue, "`protocol` is http or https", help);
    }
    Some(vec![RedirectPart::Literal(lower)])
}

fn host(node: &Node<'_>) -> Option<Vec<RedirectPart>> {
    let text = node.text()?;
    if let Some(c) = text.chars().find(|c| matches!(c, '/' | '?' | '@' | '*')) {
        let message = format!("`{text}` is not a host: there is a `{c}` in it");
        let help = "the location is put together from protocol, host, port, path and query";
        return node.refuse(Code::InvalidValue, message, help);
    }
    if text.contains(':') && !text.starts_with('[') {
        let message = format!("`{text}` is not a host: there is a port in it");
        return node.refuse(
            Code::InvalidValue,
            message,
            "write the port under its own key `port`",
        );
    }
    template(node, &text)
}

fn port(node: &Node<'_>) -> Option<Vec<RedirectPart>> {
    if let DeValue::String(_) = node.value {
        let text = node.text()?;
        let parts = template(node, &text)?;
        if parts == [RedirectPart::Port] || text.parse::<u16>().is_ok_and(|port| port > 0) {
            return Some(parts);
        }
        let message = format!("`{text}` is not a port");
        return node.refuse(Code::InvalidValue, message, "write a number or \"#{port}\"");
    }
    let port: u16 = node.count_within(&(1..=65_535))?;
    Some(vec![RedirectPart::Literal(port.to_string())])
}

fn path(node: &Node<'_>) -> Option<Vec<RedirectPart>> {
    let text = node.text()?;
    if !text.starts_with('/') {
        let message = "the path of a redirect starts with `/`";
        return node.refuse(Code::InvalidValue, message, format!("write \"/{text}\""));
    }
    if text.contains(['?', '*']) {
        let help =
            "the query string has its own key `query`; \"#{path}\" stands for the request's path";
        return node.refuse(
            Code::InvalidValue,
            "neither `?` nor `*` can be in the path of a redirect",
            help,
        );
    }
    template(node, &text)
}

fn query(node: &Node<'_>) -> Option<Vec<RedirectPart>> {
    let text = node.string()?;
    if let Some(rest) = text.strip_prefix('?') {
        let message = "the `?` before a query string is Weir's to write";
        return node.refuse(Code::InvalidValue, message, format!("write \"{rest}\""));
    }
    template(node, &text)
}

/// Text with `#{...}` in it.
fn template(node: &Node<'_>, text: &str) -> Option<Vec<RedirectPart>> {
    let pieces = template::pieces(node, text, &PLACEHOLDERS)?;
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Literal(text) => literal(node, text),
        Piece::Placeholder(part) => Some(part),
    });
    parts.collect()
}

fn literal(node: &Node<'_>, text: &str) -> Option<RedirectPart> {
    // Other characters would have to be encoded, or would split the header.
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        let message = format!("`{}` cannot be in a location", c.escape_default());
        return node.refuse(
            Code::InvalidValue,
            message,
            "write it percent-encoded, like %20",
        );
    }
    Some(RedirectPart::Literal(text.to_owned()))
}

impl Parts {
    /// Whether the location is always the request's own, as far as the file shows.
    fn keep_everything(&self, port: Option<u16>, conditions: &[Condition]) -> bool {
        use RedirectPart as P;
        let literal = |text: &str| vec![P::Literal(text.to_owned())];
        let keeps = |part: &Option<Vec<P>>, own: &[Vec<P>]| {
            part.as_ref().is_none_or(|part| own.contains(part))
        };
        // Listeners speak plain HTTP, so a redirect to "http" stays with the request's protocol.
        let mut ports = vec![vec![P::Port]];
        ports.extend(port.map(|port| literal(&port.to_string())));
        // A rule for one host, redirecting to that host.
        let mut hosts = vec![vec![P::Host]];
        hosts.extend(conditions.iter().find_map(|condition| match condition {
            Condition::Host(values) => match values.as_slice() {
                [only] => only.exact().map(literal),
                _ => None,
            },
            _ => None,
        }));
        let path = [vec![P::Literal("/".to_owned()), P::Path]];
        keeps(&self.protocol, &[vec![P::Protocol], literal("http")])
            && keeps(&self.host, &hosts)
            && (self.default_port().is_none()
                || self.port.is_some()
                || port.is_none_or(|port| port == 80))
            && keeps(&self.port, &ports)
            && keeps(&self.path, &path)
            && keeps(&self.query, &[vec![P::Query]])
    }

    /// The default port of a new protocol.
    fn default_port(&self) -> Option<&'static str> {
        match self.protocol.as_deref() {
            Some([RedirectPart::Literal(protocol)]) if protocol == "https" => Some("443"),
            Some([RedirectPart::Literal(_)]) => Some("80"),
            _ => None,
        }
    }

    fn location(self) -> Vec<RedirectPart> {
        use RedirectPart as P;
        let literal = |text: &str| P::Literal(text.to_owned());
        let default_port = self.default_port();
        let port = match (self.port, default_port) {
            (None, Some(_)) => None,
            (None, None) => Some(vec![P::Port]),
            (Some(port), Some(default)) if port == [literal(default)] => None,
            (Some(port), _) => Some(port),
        };
        let mut location = self.protocol.unwrap_or_else(|| vec![P::Protocol]);
        location.push(literal("://"));
        location.extend(self.host.unwrap_or_else(|| vec![P::Host]));
        if let Some(port) = port {
            location.push(literal(":"));
            location.extend(port);
        }
        location.extend(self.path.unwrap_or_else(|| vec![literal("/"), P::Path]));
        let query = self.query.unwrap_or_else(|| vec![P::Query]);
        if !query.is_empty() {
            location.push(literal("?"));
            location.extend(query);
        }
        merge_literals(location)
    }
}

/// Joins neighbouring literals: fewer parts to write per request.
fn merge_literals(parts: Vec<RedirectPart>) -> Vec<RedirectPart> {
    let mut merged: Vec<RedirectPart> = Vec::new();
    for part in parts {
        match (merged.last_mut(), part) {
            (Some(RedirectPart::Literal(last)), RedirectPart::Literal(next)) => {
                last.push_str(&next);
            }
            (_, part) => merged.push(part),
        }
    }
    merged
}
