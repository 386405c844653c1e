//! The host a request asks for (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderValue, Version, request};

use super::client::Client;
use crate::model::Failure;

/// The host a request asks for.
#[derive(Debug)]
pub(super) struct Host {
    /// Valid, and unchanged.
    pub(super) value: HeaderValue,
    /// Whether the `Host` field has to be set to `value`.
    pub(super) is_new: bool,
}

impl Host {
    /// The authority of an absolute target, else the one `Host` field. Missing, repeated
    /// and malformed hosts are refused, except that HTTP/1.0 has no `Host`: the host of such a
    /// request is the address that the client connected to.
    pub(super) fn of(parts: &request::Parts, client: &Client) -> Result<Self, Failure> {
        let mut fields = parts.headers.get_all(HOST).iter();
        let (field, more) = (fields.next(), fields.next());
        let required = parts.version == Version::HTTP_11;
        if more.is_some() || (field.is_none() && required) {
            return Err(Failure::BadHost);
        }
        let value = match (parts.uri.authority(), field) {
            (Some(authority), _) => HeaderValue::try_from(authority.as_str()),
            (None, Some(field)) => Ok(field.clone()),
            (None, None) => HeaderValue::try_from(client.local.to_string()),
        };
        let is_new = parts.uri.authority().is_some() || field.is_none();
        value
            .ok()
            .filter(|value| value.to_str().is_ok_and(is_host))
            .map(|value| Self { value, is_new })
            .ok_or(Failure::BadHost)
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 3986 section 3.2.2). User information
/// is refused, and so is an empty name, which no rule could match.
fn is_host(text: &str) -> bool {
    let literal = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (named, rest) = if let Some((address, rest)) = literal {
        (address.parse::<Ipv6Addr>().is_ok(), rest)
    } else {
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (!name.is_empty() && name.bytes().all(is_name_byte), port)
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |port: &str| port.is_empty() || digits(port) && port.parse::<u16>().is_ok();
    named && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// `reg-name`: unreserved, percent-encoded or sub-delims.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_hosts_and_nothing_else_is() {
        let hosts = [
            "Example.COM",
            "example.com:8080",
            "example.com:",
            "127.0.0.1:80",
            "[::1]:80",
            "[2001:DB8::1]",
        ];
        let others = [
            "",
            ":80",
            "a b",
            "user@example.com",
            "example.com/path",
            "example.com:http",
            "example.com:99999",
            "example.com:+80",
            "[::1",
            "[::1]80",
            "[nonsense]",
            "::1",
        ];
        for text in hosts {
            assert!(is_host(text), "{text}");
        }
        for text in others {
            assert!(!is_host(text), "{text}");
        }
    }
}
