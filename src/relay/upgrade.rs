//! The switch to another protocol on a client's connection (RFC 9110 section 7.8).
//!
//! A request that asks for a switch keeps its `Upgrade` field, and a 101 is passed on if the
//! target chose a protocol that the client asked for. The bytes that follow are copied as they
//! are: see [`super::tunnel`].

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Version};

/// The protocols of an `Upgrade` field; at least one.
#[derive(Clone, Debug)]
pub struct Upgrade(HeaderValue);

/// Protocols that are not passed on: requests in them would bypass the rules.
const WITHHELD: [&str; 5] = ["h2", "h2c", "h3", "http", "tls"];

impl Upgrade {
    /// The protocols that a request asks to switch to. `None` if the request cannot switch: in
    /// HTTP/1.0, which has no upgrades; without the connection option; with a body, which would
    /// stand between the head and the first byte of the new protocol; if it asks for withheld
    /// protocols alone.
    pub(super) fn asked(version: Version, headers: &HeaderMap) -> Option<Self> {
        let is_asked = version == Version::HTTP_11
            && listed(headers.get_all(CONNECTION)).any(|option| is(option, "upgrade"));
        if !is_asked || has_body(headers) {
            return None;
        }
        Self::of(listed(headers.get_all(UPGRADE)).filter(|protocol| {
            let name = protocol.split('/').next().unwrap_or_default();
            !WITHHELD.iter().any(|withheld| is(name, withheld))
        }))
    }

    /// The protocols that a target has switched to.
    pub(super) fn chosen(headers: &HeaderMap) -> Option<Self> {
        Self::of(listed(headers.get_all(UPGRADE)))
    }

    fn of<'a>(protocols: impl Iterator<Item = &'a str>) -> Option<Self> {
        let list = protocols.collect::<Vec<_>>().join(", ");
        // Cannot fail: parts of legal values joined by a comma are a legal value.
        let value = HeaderValue::try_from(list).ok();
        value.filter(|value| !value.is_empty()).map(Self)
    }

    /// Whether the head of a 101 names protocols that were asked for, and no other.
    pub(super) fn allows(&self, answer: &HeaderMap) -> bool {
        let Some(chosen) = Self::chosen(answer) else {
            return false;
        };
        let mut chosen = chosen.protocols();
        chosen.all(|protocol| self.protocols().any(|asked| is(asked, protocol)))
    }

    /// Whether it is the WebSocket protocol (RFC 6455), and nothing on top of it.
    pub(super) fn is_websocket(&self) -> bool {
        is(self.protocols().collect::<String>().as_str(), "websocket")
    }

    pub(super) fn put_into(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.0.clone());
    }

    fn protocols(&self) -> impl Iterator<Item = &str> {
        list(&self.0)
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// Names of protocols and connection options are compared without regard to case.
fn is(token: &str, name: &str) -> bool {
    token.eq_ignore_ascii_case(name)
}

/// The members of a list, over all fields of the name.
fn listed(fields: http::header::GetAll<'_, HeaderValue>) -> impl Iterator<Item = &str> {
    fields.into_iter().flat_map(list)
}

fn list(field: &HeaderValue) -> impl Iterator<Item = &str> {
    let members = field.to_str().unwrap_or_default().split(',');
    members.map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn asked(fields: &[(&'static str, &str)]) -> Option<String> {
        let upgrade = Upgrade::asked(Version::HTTP_11, &headers(fields))?;
        Some(upgrade.0.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_upgrade_is_asked_for_in_both_fields_and_without_a_body() {
        let upgrade = ("upgrade", "websocket");
        let asks: [&[_]; 4] = [
            &[upgrade, ("connection", "upgrade")],
            &[upgrade, ("connection", "keep-alive, Upgrade")],
            &[upgrade, ("connection", "x"), ("connection", "UPGRADE")],
            &[upgrade, ("connection", "upgrade"), ("content-length", "0")],
        ];
        for fields in asks {
            assert_eq!(asked(fields).as_deref(), Some("websocket"), "{fields:?}");
        }
        let connection = ("connection", "upgrade");
        let others: [&[_]; 6] = [
            &[upgrade],
            &[connection],
            &[connection, ("upgrade", " , ")],
            &[upgrade, ("connection", "upgrades")],
            &[upgrade, connection, ("content-length", "1")],
            &[upgrade, connection, ("transfer-encoding", "chunked")],
        ];
        for fields in others {
            assert_eq!(asked(fields), None, "{fields:?}");
        }
        let fields = headers(&[upgrade, connection]);
        assert!(Upgrade::asked(Version::HTTP_10, &fields).is_none());
    }

    #[test]
    fn other_versions_of_http_are_not_asked_for() {
        let asked = |protocols| asked(&[("connection", "upgrade"), ("upgrade", protocols)]);
        for protocols in ["h2c", "H2C", "HTTP/2.0", "TLS/1.3, http/1.1", "h3"] {
            assert_eq!(asked(protocols), None, "{protocols}");
        }
        assert_eq!(asked("h2c, websocket").as_deref(), Some("websocket"));
        assert_eq!(asked("a/1, h2c,b").as_deref(), Some("a/1, b"));
    }

    #[test]
    fn a_target_may_choose_among_what_was_asked_for() {
        let fields = headers(&[("connection", "upgrade"), ("upgrade", "a/1, WebSocket")]);
        let upgrade = Upgrade::asked(Version::HTTP_11, &fields).unwrap();
        for chosen in ["websocket", "WEBSOCKET", "a/1", "a/1, websocket"] {
            assert!(upgrade.allows(&headers(&[("upgrade", chosen)])), "{chosen}");
        }
        for chosen in ["", "a", "a/2", "websocket, h2c", "b"] {
            let answer = headers(&[("upgrade", chosen)]);
            assert!(!upgrade.allows(&answer), "{chosen}");
        }
        assert!(!upgrade.allows(&HeaderMap::new()));
    }
}
