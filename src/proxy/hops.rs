//! What changes in a head between one hop and the next (RFC 9110 section 7.6).
//!
//! What concerns the connection that a message came on is taken out of its head; what is to be said
//! on the next one is returned, for the codec to write. Framing is the codec's.

use super::upgrade::Upgrade;
use crate::http1::strip_hop_by_hop;
use crate::message::{FieldName, Fields, Method, NameSet, RequestHead, ResponseHead, Version};
use crate::model::Protocol;

/// What a request says about the connection to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHop {
    /// The protocols that it asks to switch to.
    pub(super) upgrade: Option<Upgrade>,
    /// Whether the client takes trailers (RFC 9110 section 10.1.4).
    pub(super) te_trailers: bool,
}

/// What becomes of a request that may have a limit of hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HopLimit {
    /// It goes on, with one hop less if it has a limit.
    Forward,
    /// This is its last hop: it is to be answered here.
    Answer,
}

/// Credentials for a forward proxy. Weir is none, and its targets are not to see them (RFC 9110
/// section 11.7).
const OF_REQUESTS: NameSet = NameSet::of(&[FieldName::ProxyAuthorization]);

/// What only a forward proxy says to its clients (RFC 9110 section 11.7).
const OF_RESPONSES: NameSet = NameSet::of(&[
    FieldName::ProxyAuthenticate,
    FieldName::ProxyAuthenticationInfo,
]);

/// Takes out of a request what concerns the client's connection. To be called before the request
/// is routed, so that rules see what the target will see.
pub(super) fn strip_request(head: &mut RequestHead, has_body: bool) -> RequestHop {
    let version = head.version();
    let fields = &mut head.fields;
    let upgrade = Upgrade::asked(version, fields, has_body);
    let te_trailers = strip_hop_by_hop(fields).te_trailers;
    fields.remove_all(OF_REQUESTS);
    if version == Version::Http10 {
        // RFC 9110 section 10.1.1: such an expectation is to be ignored, and the target would
        // read it in an HTTP/1.1 request.
        fields.remove(FieldName::Expect);
    }
    RequestHop {
        upgrade,
        te_trailers,
    }
}

/// Takes out of a response what concerns the connection of its target. Returns the protocols that
/// the target has switched to, if it has.
pub(super) fn strip_response(head: &mut ResponseHead) -> Option<Upgrade> {
    let is_switch = head.status() == 101;
    let upgrade = is_switch.then(|| Upgrade::chosen(&head.fields)).flatten();
    strip_hop_by_hop(&mut head.fields);
    head.fields.remove_all(OF_RESPONSES);
    upgrade
}

/// Counts a hop of a request (RFC 9110 section 7.6.2). Only TRACE and OPTIONS have a limit; one
/// that is no number is passed on.
pub(super) fn count_hop(head: &mut RequestHead) -> HopLimit {
    if !matches!(head.method(), Method::Trace | Method::Options) {
        return HopLimit::Forward;
    }
    let left = head.fields.get(FieldName::MaxForwards).and_then(number);
    match left {
        None => HopLimit::Forward,
        Some(0) => HopLimit::Answer,
        Some(left) => {
            let text = (left - 1).to_string();
            let set = head.fields.set(FieldName::MaxForwards, text.as_bytes());
            set.expect("digits may stand in a value");
            HopLimit::Forward
        }
    }
}

/// `1*DIGIT`. A number that does not fit is as good as the largest one.
fn number(text: &[u8]) -> Option<u32> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
    Some(text.parse().unwrap_or(u32::MAX))
}

/// The version of a message for its `Via` field.
pub(super) fn via_version(protocol: Protocol, version: Version) -> &'static str {
    match (protocol, version) {
        (Protocol::Http2, _) => "2.0",
        (Protocol::Http1 | Protocol::Tcp, Version::Http10) => "1.0",
        (Protocol::Http1 | Protocol::Tcp, Version::Http11) => "1.1",
    }
}

/// Adds the hop to the `Via` field of a message that was received in this version (RFC 9110 section
/// 7.6.3). `name` is a pseudonym or a host, perhaps with a port.
pub(super) fn add_via(fields: &mut Fields, version: &str, name: &str) {
    let hop = format!("{version} {name}");
    // A name that is none was refused with the configuration.
    let _ = fields.append_known(FieldName::Via, hop.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new();
        for (name, value) in fields {
            head.fields.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
        let mut response = ResponseHead::with_status(status);
        response.fields = head(fields).fields;
        response
    }

    fn value(fields: &Fields, name: &str) -> Option<String> {
        let value = fields.get_by_name(name)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn hop_by_hop_and_connection_listed_fields_are_removed() {
        let mut head = head(&[
            ("Connection", "close, X-Private"),
            ("Connection", "host, content-length, cookie"),
            ("X-Private", "1"),
            ("Content-Length", "3"),
            ("Cookie", "a=b"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic YQ=="),
            ("Upgrade", "websocket"),
            ("HTTP2-Settings", "AAMAAABk"),
            ("TE", "gzip, trailers"),
            ("Trailer", "x-sum"),
            ("Expect", "100-continue"),
            ("Accept", "*/*"),
        ]);
        head.set_host(b"shop.example").unwrap();
        let hop = strip_request(&mut head, true);
        assert_eq!(hop.upgrade, None);
        assert!(hop.te_trailers);
        let left: Vec<&[u8]> = head.fields.iter().map(|field| field.name).collect();
        let expected = [
            &b"Content-Length"[..],
            b"Cookie",
            b"Trailer",
            b"Expect",
            b"Accept",
            b"Host",
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn te_is_for_trailers_alone() {
        let hop = strip_request(&mut head(&[("TE", "gzip;q=0.5")]), false);
        assert!(!hop.te_trailers);
        assert_eq!(strip_request(&mut head(&[]), false), RequestHop::default());
    }

    #[test]
    fn an_upgrade_is_kept_for_the_next_hop() {
        let sent = [("Upgrade", "h2c, WebSocket"), ("Connection", "Upgrade")];
        let mut head = head(&sent);
        let upgrade = strip_request(&mut head, false).upgrade.unwrap();
        assert_eq!(upgrade.as_bytes(), b"WebSocket");
        assert!(head.fields.is_empty());

        let sent = [("Upgrade", "websocket"), ("Connection", "upgrade")];
        let chosen = strip_response(&mut response(101, &sent)).unwrap();
        assert!(upgrade.allows(&chosen) && chosen.is_websocket());
        let mut refusal = response(426, &sent);
        assert_eq!(strip_response(&mut refusal), None);
        assert!(refusal.fields.is_empty());
    }

    #[test]
    fn an_expectation_in_http_1_0_is_ignored() {
        let mut head = head(&[("Expect", "100-continue")]);
        head.set_version(Version::Http10);
        strip_request(&mut head, true);
        assert!(head.fields.is_empty());
    }

    #[test]
    fn a_response_loses_what_its_connection_and_proxies_are_told() {
        let mut response = response(
            407,
            &[
                ("Connection", "close, X-Hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authenticate", "Basic"),
                ("Proxy-Authentication-Info", "a=b"),
                ("WWW-Authenticate", "Basic"),
                ("Trailer", "x-sum"),
            ],
        );
        assert_eq!(strip_response(&mut response), None);
        let left: Vec<&[u8]> = response.fields.iter().map(|field| field.name).collect();
        assert_eq!(left, [&b"WWW-Authenticate"[..], b"Trailer"]);
    }

    #[test]
    fn hops_are_counted_for_trace_and_options_alone() {
        let cases = [
            ("OPTIONS", Some("0"), HopLimit::Answer, Some("0")),
            ("OPTIONS", Some("000"), HopLimit::Answer, Some("000")),
            ("TRACE", Some("0"), HopLimit::Answer, Some("0")),
            ("OPTIONS", Some("1"), HopLimit::Forward, Some("0")),
            ("TRACE", Some("010"), HopLimit::Forward, Some("9")),
            (
                "OPTIONS",
                Some("99999999999999999999"),
                HopLimit::Forward,
                Some("4294967294"),
            ),
            ("OPTIONS", Some("-1"), HopLimit::Forward, Some("-1")),
            ("OPTIONS", Some("+1"), HopLimit::Forward, Some("+1")),
            ("OPTIONS", Some(""), HopLimit::Forward, Some("")),
            ("OPTIONS", None, HopLimit::Forward, None),
            ("GET", Some("0"), HopLimit::Forward, Some("0")),
        ];
        for (method, sent, expected, left) in cases {
            let mut head = match sent {
                Some(sent) => head(&[("Max-Forwards", sent)]),
                None => head(&[]),
            };
            head.set_method(method.as_bytes()).unwrap();
            assert_eq!(count_hop(&mut head), expected, "{method} {sent:?}");
            let found = value(&head.fields, "max-forwards");
            assert_eq!(found.as_deref(), left, "{method} {sent:?}");
        }
    }

    #[test]
    fn each_hop_is_behind_the_earlier_ones_in_via() {
        let mut fields = head(&[("Via", "1.0 fred, 1.1 p.example")]).fields;
        add_via(&mut fields, "1.1", "weir:8080");
        add_via(&mut fields, "1.0", "weir");
        let hops: Vec<&[u8]> = fields.members(FieldName::Via).collect();
        let expected = [
            &b"1.0 fred"[..],
            b"1.1 p.example",
            b"1.1 weir:8080",
            b"1.0 weir",
        ];
        assert_eq!(hops, expected);
    }
}
