//! The parts of a request that rules and redirects look at.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Method};

/// The parts of a request that conditions and redirects look at.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// As sent.
    pub method: &'a Method,
    /// In lower case, without a port and without the final dot of an absolute name;
    /// empty if the request names none. An IPv6 literal keeps its brackets.
    pub host: Cow<'a, str>,
    /// As sent, without the query.
    pub path: &'a str,
    /// As sent, without the question mark.
    pub query: Option<&'a str>,
    /// As sent.
    pub headers: &'a HeaderMap,
    /// The address of the client, as trusted proxies report it.
    pub client: IpAddr,
}

impl<'a> RequestView<'a> {
    /// A view of a request that was parsed and accepted.
    ///
    /// The host is that of an absolute request target, else that of `Host` (RFC 9112
    /// section 3.2.2). Allocates only for a host with upper-case letters.
    pub fn new(parts: &'a Parts, client: IpAddr) -> Self {
        let authority = match parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => parts
                .headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
        };
        Self {
            method: &parts.method,
            host: canonical_host(authority),
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            client,
        }
    }
}

/// The name in `host[:port]` or `[v6][:port]`, in the one spelling rules are kept in.
fn canonical_host(authority: &str) -> Cow<'_, str> {
    // RFC 9110 section 4.2.4: user information in a request target is not the host.
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let end = match host.find(']') {
        Some(bracket) if host.starts_with('[') => bracket + 1,
        _ => host.find(':').unwrap_or(host.len()),
    };
    let host = &host[..end];
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("user:secret@example.com:1", "example.com"),
            ("", ""),
            (":80", ""),
        ];
        for (authority, expected) in cases {
            assert_eq!(canonical_host(authority), expected, "{authority}");
        }
        assert!(matches!(canonical_host("a.example:80"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_absolute_target_overrides_the_host_header() {
        let request = http::Request::get("http://Target.example/a?b=c")
            .header("host", "other.example")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let view = RequestView::new(&parts, [192, 0, 2, 1].into());
        assert_eq!(view.host, "target.example");
        assert_eq!((view.path, view.query), ("/a", Some("b=c")));
    }
}
