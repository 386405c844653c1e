//! The switch to another protocol on a client's connection (RFC 9110 section 7.8).
//!
//! A request that asks for a switch is sent on with the protocols that it asks for, and a 101 is
//! passed on if the target chose among them. The bytes that follow are copied as they are.

use std::rc::Rc;

use crate::message::{FieldName, Fields, Version, list};
use crate::net::Input;
use crate::tunnel::{Owner, StreamEnd, TargetEnd};
use crate::upstream::{Connection, Http2Place, Http2Socket, Switched};

/// The protocols of an `Upgrade` field; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upgrade(Box<[u8]>);

/// Protocols that are not passed on: requests in them would bypass the rules.
const WITHHELD: [&str; 5] = ["h2", "h2c", "h3", "http", "tls"];

impl Upgrade {
    /// The protocols that a request asks to switch to. `None` if the request cannot switch: in
    /// HTTP/1.0, which has no upgrades; without the connection option; with a body, which would
    /// stand between the head and the first byte of the new protocol; if it asks for withheld
    /// protocols alone.
    pub(super) fn asked(version: Version, fields: &Fields, has_body: bool) -> Option<Self> {
        let is_asked = fields.contains(FieldName::Upgrade)
            && version == Version::Http11
            && !has_body
            && fields.has_token(FieldName::Connection, "upgrade");
        if !is_asked {
            return None;
        }
        Self::of(fields.members(FieldName::Upgrade).filter(|protocol| {
            let name = protocol.split(|byte| *byte == b'/').next();
            let name = name.unwrap_or_default();
            !WITHHELD
                .iter()
                .any(|withheld| is(name, withheld.as_bytes()))
        }))
    }

    /// The protocols that a target has switched to.
    pub(super) fn chosen(fields: &Fields) -> Option<Self> {
        Self::of(fields.members(FieldName::Upgrade))
    }

    fn of<'a>(protocols: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let is_visible = |protocol: &&[u8]| protocol.iter().all(u8::is_ascii_graphic);
        let protocols: Vec<&[u8]> = protocols.filter(is_visible).collect();
        (!protocols.is_empty()).then(|| Self(protocols.join(&b", "[..]).into()))
    }

    /// Whether a target may choose these protocols: all of them were asked for.
    pub(super) fn allows(&self, chosen: &Self) -> bool {
        let mut chosen = list(&chosen.0);
        chosen.all(|protocol| list(&self.0).any(|asked| is(asked, protocol)))
    }

    /// Whether it is the WebSocket protocol (RFC 6455), and nothing on top of it.
    pub(super) fn is_websocket(&self) -> bool {
        is(&self.0, b"websocket")
    }

    /// The value of the `Upgrade` field.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The target's end of a tunnel, and what came of it already. `None` if its target has not switched.
pub(super) fn target_end(connection: Connection) -> Option<(TargetEnd, Input)> {
    Some(match connection.into_switched()? {
        Switched::Connection {
            stream,
            early,
            descriptor,
        } => (TargetEnd::Connection(stream, descriptor), early),
        Switched::Stream(Http2Socket {
            received,
            sender,
            place,
        }) => {
            let end = StreamEnd::new(received, sender, Rc::new(Held(place)));
            (TargetEnd::Stream(end), Input::default())
        }
    })
}

/// The place of a stream on its connection, which is held as long as the stream.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "held for its end")] Http2Place);

impl Owner for Held {
    fn moved(&self, _: usize) {}
}

/// Names of protocols are compared without regard to case.
fn is(protocol: &[u8], name: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Fields {
        let mut all = Fields::new();
        for (name, value) in fields {
            all.append(name, value.as_bytes()).unwrap();
        }
        all
    }

    fn asked(sent: &[(&str, &str)]) -> Option<String> {
        let upgrade = Upgrade::asked(Version::Http11, &fields(sent), false)?;
        Some(String::from_utf8(upgrade.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn an_upgrade_is_asked_for_in_both_fields_and_without_a_body() {
        let upgrade = ("upgrade", "websocket");
        let connection = ("connection", "upgrade");
        let asks: [&[_]; 3] = [
            &[upgrade, connection],
            &[upgrade, ("connection", "keep-alive, Upgrade")],
            &[upgrade, ("connection", "x"), ("connection", "UPGRADE")],
        ];
        for sent in asks {
            assert_eq!(asked(sent).as_deref(), Some("websocket"), "{sent:?}");
        }
        let others: [&[_]; 4] = [
            &[upgrade],
            &[connection],
            &[connection, ("upgrade", " , ")],
            &[upgrade, ("connection", "upgrades")],
        ];
        for sent in others {
            assert_eq!(asked(sent), None, "{sent:?}");
        }
        let fields = fields(&[upgrade, connection]);
        assert!(Upgrade::asked(Version::Http10, &fields, false).is_none());
        assert!(Upgrade::asked(Version::Http11, &fields, true).is_none());
    }

    #[test]
    fn other_versions_of_http_are_not_asked_for() {
        let asked = |protocols| asked(&[("connection", "upgrade"), ("upgrade", protocols)]);
        for protocols in ["h2c", "H2C", "HTTP/2.0", "TLS/1.3, http/1.1", "h3"] {
            assert_eq!(asked(protocols), None, "{protocols}");
        }
        assert_eq!(asked("h2c, websocket").as_deref(), Some("websocket"));
        assert_eq!(asked("a/1, h2c,b").as_deref(), Some("a/1, b"));
        assert_eq!(asked("a b, c").as_deref(), Some("c"), "no protocol");
    }

    #[test]
    fn a_target_may_choose_among_what_was_asked_for() {
        let sent = fields(&[("connection", "upgrade"), ("upgrade", "a/1, WebSocket")]);
        let upgrade = Upgrade::asked(Version::Http11, &sent, false).unwrap();
        let allows = |chosen| {
            let chosen = Upgrade::chosen(&fields(&[("upgrade", chosen)]));
            chosen.is_some_and(|chosen| upgrade.allows(&chosen))
        };
        for chosen in ["websocket", "WEBSOCKET", "a/1", "a/1, websocket"] {
            assert!(allows(chosen), "{chosen}");
        }
        for chosen in ["", "a", "a/2", "websocket, h2c", "b"] {
            assert!(!allows(chosen), "{chosen}");
        }
        assert_eq!(Upgrade::chosen(&Fields::new()), None);
    }

    #[test]
    fn websockets_are_known_if_nothing_is_on_top_of_them() {
        let is_websocket = |chosen| {
            let chosen = Upgrade::chosen(&fields(&[("upgrade", chosen)]));
            chosen.unwrap().is_websocket()
        };
        assert!(is_websocket("websocket") && is_websocket("WebSocket"));
        assert!(!is_websocket("websocket, a") && !is_websocket("websocket/13"));
    }
}
