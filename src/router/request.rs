//! The parts of a request that rules and redirects look at.

use std::borrow::Cow;

use memchr::memchr;

use crate::message::{FieldName, Fields, Form, RequestHead};
use crate::model::{ClientAddress, NormalizePath, normalize_path};

/// The parts of a request that conditions and redirects look at.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// As sent.
    pub method: &'a [u8],
    /// In lower case, without a port and without the final dot of an absolute name;
    /// empty if the request names none. An IPv6 literal keeps its brackets.
    pub host: Cow<'a, str>,
    /// Without the query, in the spelling that conditions compare.
    pub path: Cow<'a, str>,
    /// As sent, without the query.
    pub sent_path: &'a str,
    /// As sent, without the question mark.
    pub query: Option<&'a str>,
    /// Those that the target will see.
    pub fields: &'a Fields,
    /// The client, as trusted proxies report it.
    pub client: ClientAddress,
}

impl<'a> RequestView<'a> {
    /// A view of a request. Allocates only for a host with upper-case letters, and for a path that
    /// is compared in another spelling than it was sent in.
    pub fn new(head: &'a RequestHead, client: ClientAddress, spelling: NormalizePath) -> Self {
        let target = text(head.target());
        let (sent_path, query) = match memchr(b'?', target.as_bytes()) {
            Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
            None => (target, None),
        };
        Self {
            method: head.method_name(),
            host: canonical_host(authority(head)),
            path: match spelling {
                NormalizePath::Match | NormalizePath::Forward => normalize_path(sent_path),
                NormalizePath::Off => Cow::Borrowed(sent_path),
            },
            sent_path,
            query,
            fields: &head.fields,
            client,
        }
    }
}

/// Targets and hosts consist of ASCII.
fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

/// The host that is asked for and perhaps a port; empty for HTTP/1.0 without Host.
fn authority(head: &RequestHead) -> &str {
    text(match head.form() {
        Form::Authority => head.target(),
        Form::Origin | Form::Absolute | Form::Asterisk => {
            head.fields.get(FieldName::Host).unwrap_or_default()
        }
    })
}

/// The name in `host[:port]` or `[v6][:port]`, in the one spelling rules are kept in.
fn canonical_host(authority: &str) -> Cow<'_, str> {
    let bytes = authority.as_bytes();
    let end = match bytes.first() {
        Some(b'[') => memchr(b']', bytes).map(|bracket| bracket + 1),
        _ => memchr(b':', bytes),
    };
    let host = &authority[..end.unwrap_or(bytes.len())];
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

    fn head(target: &str, host: Option<&str>) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_target(target.as_bytes()).unwrap();
        if let Some(host) = host {
            head.set_host(host.as_bytes()).unwrap();
        }
        head
    }

    const CLIENT: ClientAddress = ClientAddress::Unix;

    #[test]
    fn a_host_has_one_spelling() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("[::1]:8080", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("", ""),
            (":80", ""),
        ];
        for (authority, expected) in cases {
            assert_eq!(canonical_host(authority), expected, "{authority}");
        }
        assert!(matches!(canonical_host("a.example:80"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_view_has_the_parts_of_the_head() {
        let mut head = head("/a?b=c", Some("Target.example:81"));
        head.set_method(b"PURGE").unwrap();
        let view = RequestView::new(&head, CLIENT, NormalizePath::Match);
        assert_eq!(view.method, b"PURGE");
        assert_eq!(view.host, "target.example");
        assert_eq!((&*view.path, view.query), ("/a", Some("b=c")));
        assert_eq!(
            RequestView::new(&RequestHead::new(), CLIENT, NormalizePath::Off).host,
            ""
        );
    }

    #[test]
    fn the_authority_of_connect_is_its_host() {
        let mut head = RequestHead::new();
        head.set_method(b"CONNECT").unwrap();
        head.set_target(b"a.example:443").unwrap();
        assert_eq!(
            RequestView::new(&head, CLIENT, NormalizePath::Match).host,
            "a.example"
        );
    }

    #[test]
    fn a_path_is_compared_in_its_normal_spelling_and_kept_as_sent() {
        let head = head("/x/../%61?%61", None);
        let compared = [
            (NormalizePath::Match, "/a"),
            (NormalizePath::Forward, "/a"),
            (NormalizePath::Off, "/x/../%61"),
        ];
        for (spelling, expected) in compared {
            let view = RequestView::new(&head, CLIENT, spelling);
            assert_eq!(view.path, expected);
            assert_eq!((view.sent_path, view.query), ("/x/../%61", Some("%61")));
        }
    }
}
