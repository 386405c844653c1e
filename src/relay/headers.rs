//! What changes in a head between one hop and the next (RFC 9110 section 7.6).

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, request, response};

use super::upgrade::Upgrade;
use crate::model::ForwardedMode;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const FORWARDED: [HeaderName; 4] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_PORT,
    X_FORWARDED_HOST,
];
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Values of the fields that tell a target about the client's connection.
#[derive(Clone, Debug)]
pub struct ForwardedFields {
    /// The peer's address, for `X-Forwarded-For`.
    pub peer: HeaderValue,
    /// `http` or `https`.
    pub proto: HeaderValue,
    /// The port the client connected to.
    pub port: HeaderValue,
}

/// What [`prepare_request`] writes into a request head.
#[derive(Debug)]
pub struct RequestFields<'a> {
    /// Values of the client's connection.
    pub forwarded: &'a ForwardedFields,
    /// What is done with `X-Forwarded-*` fields that the request has already.
    pub mode: ForwardedMode,
    /// Whether the peer is a trusted proxy, so that its `X-Forwarded-*` fields are kept.
    pub trusted: bool,
    /// The host that the client asked for.
    pub host: &'a HeaderValue,
    /// The host, if the head does not have it in its `Host` field already.
    pub new_host: Option<HeaderValue>,
    /// For `X-Request-Id`.
    pub request_id: HeaderValue,
}

/// Rewrites a request head for the target: HTTP/1.1, origin-form, no hop-by-hop
/// fields, `Host` as the client sent it, `X-Forwarded-*`, a request id. Returns the
/// protocols the request asks to switch to.
pub fn prepare_request(parts: &mut request::Parts, fields: RequestFields<'_>) -> Option<Upgrade> {
    let version = std::mem::replace(&mut parts.version, Version::HTTP_11);
    if parts.uri.authority().is_some() {
        parts.uri = origin_form(&parts.uri);
    }
    let headers = &mut parts.headers;
    let found = Found::in_head(headers);
    let trailers = found.has(Hop::Te) && headers.get_all(TE).iter().any(accepts_trailers);
    let upgrade = if found.has(Hop::Upgrade) {
        Upgrade::asked(version, headers)
    } else {
        None
    };
    found.remove_from(headers);
    if let Some(upgrade) = &upgrade {
        upgrade.put_into(headers);
    }
    if found.has(Hop::TransferEncoding) {
        // Without the field hyper would send a GET of unknown length without its body.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match fields.mode {
        ForwardedMode::Append => append_forwarded(headers, found, &fields),
        ForwardedMode::Preserve => {}
        ForwardedMode::Remove => {
            for name in FORWARDED {
                headers.remove(name);
            }
        }
    }
    if let Some(host) = fields.new_host {
        headers.insert(HOST, host);
    }
    headers.insert(X_REQUEST_ID, fields.request_id);
    upgrade
}

/// Rewrites a response head for the client: no hop-by-hop fields, the request's id, and the
/// version HTTP/1.1 (RFC 9110 section 2.5), which decides how the body is framed.
pub(super) fn prepare_response(parts: &mut response::Parts, request_id: Option<HeaderValue>) {
    parts.version = Version::HTTP_11;
    let found = Found::in_head(&parts.headers);
    let upgrade = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        parts.headers.remove(CONTENT_LENGTH); // RFC 9110 section 8.6: it has none
        Upgrade::chosen(&parts.headers)
    } else {
        None
    };
    found.remove_from(&mut parts.headers);
    if let Some(upgrade) = &upgrade {
        upgrade.put_into(&mut parts.headers);
    }
    if found.has(Hop::TransferEncoding) {
        // It overrides a length (RFC 9112 section 6.3), which must not become valid by the
        // removal.
        parts.headers.remove(CONTENT_LENGTH);
    }
    if let Some(id) = request_id {
        parts.headers.insert(X_REQUEST_ID, id);
    }
}

/// All `X-Forwarded-For` fields of a request, first to last.
pub fn forwarded_for(headers: &HeaderMap) -> http::header::GetAll<'_, HeaderValue> {
    headers.get_all(X_FORWARDED_FOR)
}

/// The `X-Request-Id` of a request, if it has one.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(X_REQUEST_ID)
}

/// Fields that are meant for this hop alone (RFC 9110 section 7.6.1).
///
/// `Trailer` is not among them: it announces fields of the message, and hyper sends no
/// trailers without it. `Transfer-Encoding` is: hyper frames each hop anew. So is
/// `Expect`: hyper sends the client its 100 as soon as Weir reads the body.
#[derive(Clone, Copy, Debug)]
enum Hop {
    Connection,
    Expect,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    TransferEncoding,
    Upgrade,
}

impl Hop {
    const ALL: [(Self, HeaderName); 9] = [
        (Self::Connection, CONNECTION),
        (Self::Expect, EXPECT),
        (Self::KeepAlive, KEEP_ALIVE),
        (Self::ProxyAuthenticate, PROXY_AUTHENTICATE),
        (Self::ProxyAuthorization, PROXY_AUTHORIZATION),
        (Self::ProxyConnection, PROXY_CONNECTION),
        (Self::Te, TE),
        (Self::TransferEncoding, TRANSFER_ENCODING),
        (Self::Upgrade, UPGRADE),
    ];
}

/// Which of the names in question a head has, found in one pass over its names: cheaper than
/// asking the map for each of them, because most heads have hardly any.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    hops: u16,
    forwarded: bool,
}

impl Found {
    fn in_head(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            // The names in question have these lengths; others are not compared.
            if matches!(name.as_str().len(), 2 | 6 | 7 | 10 | 15..=19) {
                found.note_hop(name);
                found.forwarded |= FORWARDED.contains(name);
            }
        }
        found
    }

    fn note_hop(&mut self, name: &HeaderName) {
        if let Some((hop, _)) = Hop::ALL.iter().find(|(_, hop)| hop == name) {
            self.hops |= 1 << *hop as u16;
        }
    }

    fn has(self, hop: Hop) -> bool {
        self.hops & (1 << hop as u16) != 0
    }

    /// Removes the fields of this hop, and those that `Connection` names.
    fn remove_from(self, headers: &mut HeaderMap) {
        if self.hops == 0 {
            return;
        }
        if self.has(Hop::Connection) {
            remove_connection_listed(headers);
        }
        for (hop, name) in Hop::ALL {
            if self.has(hop) {
                headers.remove(name);
            }
        }
    }
}

fn append_forwarded(headers: &mut HeaderMap, found: Found, fields: &RequestFields<'_>) {
    let ours = fields.forwarded;
    let chain = if found.forwarded && headers.contains_key(X_FORWARDED_FOR) {
        joined(headers, &ours.peer)
    } else {
        ours.peer.clone()
    };
    headers.insert(X_FORWARDED_FOR, chain);
    let keep = found.forwarded && fields.trusted;
    let others = [
        (X_FORWARDED_PROTO, &ours.proto),
        (X_FORWARDED_PORT, &ours.port),
        (X_FORWARDED_HOST, fields.host),
    ];
    for (name, value) in others {
        if !(keep && headers.contains_key(&name)) {
            headers.insert(name, value.clone());
        }
    }
}

/// Joins every address of the chain so far and the peer's in one field.
fn joined(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in forwarded_for(headers).iter().chain([peer]) {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(value.as_bytes());
    }
    // Cannot fail: legal values joined by a comma are a legal value.
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
}

fn remove_connection_listed(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        // The values of nearly every message; `Keep-Alive` is removed in any case.
        .filter(|value| !matches!(value.as_bytes(), b"keep-alive" | b"close"))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to remove fields that the next hop relies on.
        .filter(|name| !matches!(name, &HOST | &CONTENT_LENGTH))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn accepts_trailers(te: &HeaderValue) -> bool {
    let text = te.to_str().unwrap_or_default();
    let mut codings = text.split(',').map(str::trim);
    codings.any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// Path and query alone: the form an origin server expects (RFC 9112 section 3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .cloned()
        .map_or_else(|| Uri::from_static("/"), Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> request::Parts {
        let mut builder = http::Request::builder().uri("http://shop.example/a?b=c");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn prepared(fields: &[(&str, &str)], mode: ForwardedMode, trusted: bool) -> request::Parts {
        let mut parts = head(fields);
        let forwarded = ForwardedFields {
            peer: HeaderValue::from_static("10.0.0.9"),
            proto: HeaderValue::from_static("http"),
            port: HeaderValue::from_static("8080"),
        };
        let host = HeaderValue::from_static("shop.example");
        prepare_request(
            &mut parts,
            RequestFields {
                forwarded: &forwarded,
                mode,
                trusted,
                host: &host,
                new_host: Some(host.clone()),
                request_id: HeaderValue::from_static("id"),
            },
        );
        parts
    }

    fn value<'a>(parts: &'a request::Parts, name: &str) -> Option<&'a str> {
        parts.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn hop_by_hop_and_connection_listed_fields_are_removed() {
        let parts = prepared(
            &[
                ("connection", "close, X-Private"),
                ("connection", "host, content-length"),
                ("x-private", "1"),
                ("content-length", "3"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("upgrade", "websocket"),
                ("te", "gzip, trailers"),
                ("trailer", "x-sum"),
                ("expect", "100-continue"),
                ("accept", "*/*"),
            ],
            ForwardedMode::Append,
            false,
        );
        let left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        for gone in ["connection", "x-private", "keep-alive", "upgrade", "expect"] {
            assert!(!left.contains(&gone), "{gone} in {left:?}");
        }
        assert_eq!(value(&parts, "content-length"), Some("3"));
        assert_eq!(value(&parts, "te"), Some("trailers"));
        assert_eq!(value(&parts, "trailer"), Some("x-sum"));
        assert_eq!(value(&parts, "host"), Some("shop.example"));
        assert_eq!(parts.uri, "/a?b=c");
    }

    #[test]
    fn append_keeps_the_chain_and_the_other_fields_of_trusted_peers() {
        let sent = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
            ("x-forwarded-proto", "https"),
        ];
        let parts = prepared(&sent, ForwardedMode::Append, false);
        let chain = "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9";
        assert_eq!(value(&parts, "x-forwarded-for"), Some(chain));
        assert_eq!(value(&parts, "x-forwarded-proto"), Some("http"));
        assert_eq!(value(&parts, "x-forwarded-port"), Some("8080"));
        assert_eq!(value(&parts, "x-forwarded-host"), Some("shop.example"));

        let parts = prepared(&sent, ForwardedMode::Append, true);
        assert_eq!(value(&parts, "x-forwarded-proto"), Some("https"));
        let parts = prepared(&sent[2..], ForwardedMode::Append, true);
        assert_eq!(value(&parts, "x-forwarded-proto"), Some("https"));
        assert_eq!(value(&parts, "x-forwarded-for"), Some("10.0.0.9"));
    }

    #[test]
    fn preserve_leaves_the_fields_and_remove_removes_them() {
        let sent = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-port", "1")];
        let parts = prepared(&sent, ForwardedMode::Preserve, false);
        assert_eq!(value(&parts, "x-forwarded-for"), Some("1.1.1.1"));
        assert_eq!(value(&parts, "x-forwarded-host"), None);
        let parts = prepared(&sent, ForwardedMode::Remove, true);
        assert_eq!(value(&parts, "x-forwarded-for"), None);
        assert_eq!(value(&parts, "x-forwarded-port"), None);
    }
}
