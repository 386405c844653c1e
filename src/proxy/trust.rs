//! What trusted proxies say about the client: its address, and how it came.

use std::net::{IpAddr, SocketAddr};

use super::forwarded_list;
use crate::message::{FieldName, Fields};
use crate::model::{ClientAddress, Forwarded};

/// Whether a peer is a trusted proxy.
pub(super) fn is_trusted(settings: &Forwarded, peer: ClientAddress) -> bool {
    match peer {
        ClientAddress::Ip(address) => is_in_networks(settings, address),
        ClientAddress::Unix => settings.trusts_unix,
    }
}

fn is_in_networks(settings: &Forwarded, peer: IpAddr) -> bool {
    let networks = &settings.trusted_proxies;
    if networks.is_empty() {
        return false;
    }
    // An IPv4 address may come over IPv6.
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}

/// The client behind a trusted peer: the last address of the chain that is not a trusted proxy
/// itself. That address may have invented those before it, so the first address of the chain
/// means nothing.
///
/// The chain is `X-Forwarded-For`. Where there is none and the listener sends `Forwarded`, that is
/// the chain.
pub(super) fn client_behind(
    settings: &Forwarded,
    peer: ClientAddress,
    fields: &Fields,
) -> ClientAddress {
    let is_listed = fields.contains(FieldName::XForwardedFor);
    if !is_listed && settings.send.has_forwarded() {
        return last_untrusted(settings, peer, forwarded_list::values(fields, "for"));
    }
    let chain = fields.members(FieldName::XForwardedFor);
    last_untrusted(settings, peer, chain)
}

/// What would be found from the end of the chain, in one pass from its beginning.
fn last_untrusted<'f>(
    settings: &Forwarded,
    peer: ClientAddress,
    chain: impl Iterator<Item = &'f [u8]>,
) -> ClientAddress {
    let mut client = None;
    for member in chain {
        client = match parse_address(member) {
            // What stands before something illegible is not to be believed.
            None => None,
            Some(address) if is_in_networks(settings, address) => client.or(Some(address)),
            untrusted => untrusted,
        };
    }
    client.map_or(peer, ClientAddress::Ip)
}

/// Whether the client's own connection is encrypted, as a trusted peer reports it; `None` if it
/// reports nothing.
pub(super) fn is_reported_secure(settings: &Forwarded, fields: &Fields) -> Option<bool> {
    // With several proxies in a row the first value is from the one next to the client.
    let mut protos = fields.members(FieldName::XForwardedProto);
    let proto = protos.next().or_else(|| {
        let is_listed = settings.send.has_forwarded();
        let mut protos = forwarded_list::values(fields, "proto");
        protos.next().filter(|proto| is_listed && !proto.is_empty())
    });
    Some(proto?.eq_ignore_ascii_case(b"https"))
}

/// Parses an address of a chain: bare, with a port, or in brackets.
pub(super) fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|addr| addr.ip()))
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ForwardedFormat, ForwardedMode};

    fn settings(send: ForwardedFormat, trusted: &[&str]) -> Forwarded {
        Forwarded {
            mode: ForwardedMode::Append,
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            trusts_unix: false,
            identity_headers: Vec::new(),
            send,
        }
    }

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in all {
            fields.append(name, value.as_bytes()).unwrap();
        }
        fields
    }

    /// The client behind 10.0.0.9.
    fn client(format: ForwardedFormat, sent: &[(&str, &str)]) -> String {
        let settings = settings(format, &["10.0.0.0/8"]);
        let peer = IpAddr::from([10, 0, 0, 9]).into();
        client_behind(&settings, peer, &fields(sent)).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        let cases: [(&[&str], &str); 10] = [
            (&[], "10.0.0.9"),
            (&["1.1.1.1"], "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1, 10.0.0.7"], "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1:99"], "1.1.1.1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:99"], "2001:db8::1"),
            (&["::ffff:1.1.1.1"], "1.1.1.1"),
            (&["nonsense"], "10.0.0.9"),
            (&["1.1.1.1, nonsense, 10.0.0.8, 10.0.0.7"], "10.0.0.8"),
            (&["10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        ];
        for (chain, expected) in cases {
            let chain: Vec<_> = chain.iter().map(|one| ("x-forwarded-for", *one)).collect();
            let found = client(ForwardedFormat::XForwarded, &chain);
            assert_eq!(found, expected, "{chain:?}");
        }
    }

    #[test]
    fn forwarded_is_a_chain_where_it_is_sent_and_there_is_no_other() {
        let both = ForwardedFormat::Both;
        let chain = (
            "forwarded",
            "for=6.6.6.6, for=\"[2001:db8::1]:99\", for=10.0.0.7",
        );
        assert_eq!(client(both, &[chain]), "2001:db8::1");
        let other = ("x-forwarded-for", "1.1.1.1");
        assert_eq!(client(both, &[chain, other]), "1.1.1.1");
        assert_eq!(client(ForwardedFormat::XForwarded, &[chain]), "10.0.0.9");
        for hidden in ["for=1.1.1.1, for=unknown", "for=1.1.1.1, proto=http"] {
            assert_eq!(client(both, &[("forwarded", hidden)]), "10.0.0.9");
        }
    }

    #[test]
    fn peers_are_trusted_by_their_network() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (peer, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("11.0.0.1", false),
            ("fe80::1", false),
        ] {
            let peer = ClientAddress::Ip(peer.parse().unwrap());
            let settings = settings(ForwardedFormat::XForwarded, &trusted);
            assert_eq!(is_trusted(&settings, peer), expected, "{peer}");
        }
        let none = settings(ForwardedFormat::XForwarded, &[]);
        assert!(!is_trusted(&none, IpAddr::from([10, 1, 2, 3]).into()));
    }

    #[test]
    fn peers_without_an_address_are_trusted_by_their_word_alone() {
        let mut settings = settings(ForwardedFormat::XForwarded, &["0.0.0.0/0", "::/0"]);
        assert!(!is_trusted(&settings, ClientAddress::Unix));
        settings.trusts_unix = true;
        assert!(is_trusted(&settings, ClientAddress::Unix));
        settings.trusted_proxies.clear();
        let client = |sent: &[_]| client_behind(&settings, ClientAddress::Unix, &fields(sent));
        assert_eq!(client(&[]), ClientAddress::Unix);
        let given = client(&[("x-forwarded-for", "6.6.6.6, 1.1.1.1")]);
        assert_eq!(given.to_string(), "1.1.1.1");
    }

    #[test]
    fn the_proxy_next_to_the_client_knows_whether_it_is_encrypted() {
        let both = settings(ForwardedFormat::Both, &[]);
        let proto = |value| ("x-forwarded-proto", value);
        let list = |value| ("forwarded", value);
        let cases: [(&[_], _); 7] = [
            (&[], None),
            (&[proto("https")], Some(true)),
            (&[proto("HTTPS, http")], Some(true)),
            (&[proto("http, https")], Some(false)),
            (&[list("for=a;proto=https, for=b")], Some(true)),
            (&[list("for=a, proto=https")], None),
            (&[list("proto=https"), proto("http")], Some(false)),
        ];
        for (sent, expected) in cases {
            let reported = is_reported_secure(&both, &fields(sent));
            assert_eq!(reported, expected, "{sent:?}");
        }
        let x_forwarded = settings(ForwardedFormat::XForwarded, &[]);
        let sent = fields(&[list("proto=https")]);
        assert_eq!(is_reported_secure(&x_forwarded, &sent), None);
    }
}
