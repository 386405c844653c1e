//! Where a redirect leads, part by part.

use crate::model::{Redirect, RedirectPart};

/// A part of the location of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As in the request.
    Kept,
    /// Always this text.
    Fixed(String),
    /// Text with parts of the request in it.
    Mixed,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    protocol: Part,
    pub(super) host: Part,
    port: Part,
    pub(super) path: Part,
}

impl Jump {
    /// Splits a location: it always has protocol, host, port, path and query.
    pub(super) fn of(redirect: &Redirect) -> Self {
        let text: String = redirect.location.iter().map(piece).collect();
        let (protocol, rest) = text.split_once("://").unwrap_or(("", &text));
        let path_at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let host_end = authority.rfind(']').map_or(0, |at| at + 1);
        let colon = authority[host_end..].find(':').map(|at| host_end + at);
        let (host, port) = match colon {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (authority, ""),
        };
        let path = path.split('?').next().unwrap_or_default();
        Self {
            protocol: part(protocol, "#{protocol}"),
            host: part(host, "#{host}"),
            port: part(port, "#{port}"),
            path: part(path, "/#{path}"),
        }
    }

    /// The port that the client comes to, if it came to `from`.
    pub(super) fn port(&self, from: u16) -> Option<u16> {
        match (&self.port, &self.protocol) {
            // The proxy that ends TLS in front of it may be on another port.
            (Part::Kept, Part::Fixed(protocol)) if protocol == "https" => None,
            (Part::Kept, _) => Some(from),
            (Part::Fixed(port), _) if !port.is_empty() => port.parse().ok(),
            (Part::Fixed(_), Part::Fixed(protocol)) if protocol == "https" => Some(443),
            (Part::Fixed(_), Part::Fixed(_)) => Some(80),
            (Part::Fixed(_), Part::Kept | Part::Mixed) | (Part::Mixed, _) => None,
        }
    }

    /// Whether it stays on the listener of that port, which speaks plain HTTP.
    pub(super) fn stays(&self, port: u16) -> bool {
        let plain = match &self.protocol {
            Part::Kept => true,
            Part::Fixed(protocol) => protocol == "http",
            Part::Mixed => false,
        };
        plain && self.port(port) == Some(port)
    }
}

fn piece(part: &RedirectPart) -> String {
    match part {
        RedirectPart::Literal(text) => text.clone(),
        RedirectPart::Protocol => "#{protocol}".to_owned(),
        RedirectPart::Host => "#{host}".to_owned(),
        RedirectPart::Port => "#{port}".to_owned(),
        RedirectPart::Path => "#{path}".to_owned(),
        RedirectPart::Query => "#{query}".to_owned(),
    }
}

fn part(text: &str, own: &str) -> Part {
    if text == own {
        Part::Kept
    } else if text.contains("#{") {
        Part::Mixed
    } else {
        Part::Fixed(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn a_location_is_taken_apart_again() {
        use RedirectPart as P;
        let redirect = |location| Redirect {
            status: StatusCode::FOUND,
            location,
        };
        let literal = |text: &str| P::Literal(text.to_owned());
        let kept = redirect(vec![
            P::Protocol,
            literal("://"),
            P::Host,
            literal(":"),
            P::Port,
            literal("/"),
            P::Path,
            literal("?"),
            P::Query,
        ]);
        let jump = Jump::of(&kept);
        assert!(jump.stays(8080) && jump.path == Part::Kept && jump.host == Part::Kept);
        let fixed = redirect(vec![literal("https://[::1]:8443/a/"), P::Path]);
        let jump = Jump::of(&fixed);
        assert_eq!(jump.host, Part::Fixed("[::1]".to_owned()));
        assert_eq!((jump.port(80), jump.path), (Some(8443), Part::Mixed));
    }
}
