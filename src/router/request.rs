//! The parts of a request that rules and redirects look at.

use std::borrow::Cow;
use std::cell::OnceCell;

use memchr::memchr;

use crate::message::{FieldName, Fields, Form, RequestHead};
use crate::model::{ClientAddress, NormalizePath, normalize_path};

/// The parts of a request that conditions and redirects look at. Each is found when it is asked for:
/// most listeners have rules about one or two of them, or none.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    head: &'a RequestHead,
    client: ClientAddress,
    spelling: NormalizePath,
    host: OnceCell<Cow<'a, str>>,
    path: OnceCell<Cow<'a, str>>,
}

impl<'a> RequestView<'a> {
    /// A view of a request from `client`, as trusted proxies report it. `spelling` is that of
    /// [`Self::path`].
    pub fn new(head: &'a RequestHead, client: ClientAddress, spelling: NormalizePath) -> Self {
        Self {
            head,
            client,
            spelling,
            host: OnceCell::new(),
            path: OnceCell::new(),
        }
    }

    /// As sent.
    pub fn method(&self) -> &'a [u8] {
        self.head.method_name()
    }

    /// Those that the target will see.
    pub fn fields(&self) -> &'a Fields {
        &self.head.fields
    }

    /// The client, as trusted proxies report it.
    pub fn client(&self) -> ClientAddress {
        self.client
    }

    /// Whether the request names a host, so that [`Self::host`] is not empty.
    pub fn has_host(&self) -> bool {
        !matches!(
            authority(self.head),
            [] | [b':', ..] | [b'.'] | [b'.', b':', ..]
        )
    }

    /// In lower case, without a port and without the final dot of an absolute name;
    /// empty if the request names none. An IPv6 literal keeps its brackets. Allocates only for a
    /// host with upper-case letters.
    pub fn host(&self) -> &str {
        let host = || canonical_host(text(authority(self.head)));
        self.host.get_or_init(host)
    }

    /// Without the query, in the spelling that conditions compare. Allocates only if that is not
    /// the one it was sent in.
    pub fn path(&self) -> &str {
        self.path.get_or_init(|| match self.spelling {
            NormalizePath::Match | NormalizePath::Forward => normalize_path(self.sent_path()),
            NormalizePath::Off => Cow::Borrowed(self.sent_path()),
        })
    }

    /// As sent, without the query.
    pub fn sent_path(&self) -> &'a str {
        text(self.head.path())
    }

    /// As sent, without the question mark.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query().map(text)
    }
}

/// Targets and hosts consist of ASCII.
fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

/// The host that is asked for and perhaps a port; empty for HTTP/1.0 without Host.
fn authority(head: &RequestHead) -> &[u8] {
    match head.form() {
        Form::Authority => head.target(),
        Form::Origin | Form::Absolute | Form::Asterisk => {
            head.fields.get(FieldName::Host).unwrap_or_default()
        }
    }
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
    fn a_host_is_there_if_it_is_not_empty() {
        for authority in ["a", "A.example.:80", "[::1]", "a.", "", ":80", ":"] {
            let mut head = head("/", None);
            head.fields.append("Host", authority.as_bytes()).unwrap();
            let view = RequestView::new(&head, CLIENT, NormalizePath::Off);
            assert_eq!(view.has_host(), !view.host().is_empty(), "{authority}");
        }
        let without = head("/", None);
        let view = RequestView::new(&without, CLIENT, NormalizePath::Off);
        assert!(!view.has_host() && view.host().is_empty());
        for root in [".", ".:80"] {
            let mut head = head("/", None);
            head.fields.append("Host", root.as_bytes()).unwrap();
            assert!(!RequestView::new(&head, CLIENT, NormalizePath::Off).has_host());
        }
    }

    #[test]
    fn a_view_has_the_parts_of_the_head() {
        let mut head = head("/a?b=c", Some("Target.example:81"));
        head.set_method(b"PURGE").unwrap();
        let view = RequestView::new(&head, CLIENT, NormalizePath::Match);
        assert_eq!(view.method(), b"PURGE");
        assert_eq!(view.host(), "target.example");
        assert_eq!((view.path(), view.query()), ("/a", Some("b=c")));
    }

    #[test]
    fn the_authority_of_connect_is_its_host() {
        let mut head = RequestHead::new();
        head.set_method(b"CONNECT").unwrap();
        head.set_target(b"a.example:443").unwrap();
        let view = RequestView::new(&head, CLIENT, NormalizePath::Match);
        assert_eq!(view.host(), "a.example");
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
            assert_eq!(view.path(), expected);
            assert_eq!(view.sent_path(), "/x/../%61");
            assert_eq!(view.query(), Some("%61"));
        }
    }
}
