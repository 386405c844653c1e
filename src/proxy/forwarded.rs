//! How a target learns about the client, and which of the client's own words reach it.
//!
//! Every client can send `X-Forwarded-For`; targets believe it. So what an untrusted peer says about
//! itself is removed before the request is routed, and what Weir knows is added before it is sent.
//! What a trusted proxy says is kept and extended.

use super::forwarded_list;
use super::trust::parse_address;
use crate::message::{FieldName, Fields, IdentityFields, NameSet, RequestHead};
use crate::model::{ClientAddress, ClientCertificate, Forwarded, ForwardedMode};

/// The fields that [`ForwardedMode`] is about.
const FORWARDED: NameSet = NameSet::of(&[
    FieldName::XForwardedFor,
    FieldName::XForwardedProto,
    FieldName::XForwardedPort,
    FieldName::XForwardedHost,
    FieldName::Forwarded,
]);

/// What a listener tells its targets, and what it believes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardedPolicy<'l> {
    /// As configured.
    pub(super) settings: &'l Forwarded,
    /// What no untrusted peer may send.
    pub(super) identity: &'l IdentityFields,
    /// Whether the listener itself asks clients for certificates, so that what any peer says of one
    /// is removed.
    pub(super) knows_clients: bool,
}

/// The fields that are the same for all requests of a connection, unless a trusted proxy has sent
/// one.
const OF_CONNECTION: NameSet = NameSet::of(&[
    FieldName::XForwardedFor,
    FieldName::XForwardedProto,
    FieldName::XForwardedPort,
]);

/// What the fields say about a client's connection. It holds for all of its requests.
#[derive(Clone, Debug)]
pub(super) struct ConnectionFacts {
    /// The peer, for `Forwarded`.
    node: Box<str>,
    /// `http` or `https`.
    pub(super) proto: &'static str,
    /// The fields of [`OF_CONNECTION`]: the peer's address, `proto`, and the port that the client
    /// connected to. One that has come by a Unix socket has neither address nor port.
    fields: Fields,
    /// What the client's certificate says, under the names that AWS's load balancers have for it;
    /// `None` without one.
    certificate: Option<Box<Fields>>,
}

impl ConnectionFacts {
    /// Of a connection of `peer` to a port, with `http` or `https`, and with a certificate.
    pub(super) fn new(
        peer: ClientAddress,
        port: Option<u16>,
        proto: &'static str,
        certificate: Option<&ClientCertificate>,
    ) -> Self {
        let address = peer.canonical_ip();
        let mut fields = Fields::new();
        if let Some(address) = address {
            fields.add(FieldName::XForwardedFor, address.to_string().as_bytes());
        }
        fields.add(FieldName::XForwardedProto, proto.as_bytes());
        if let Some(port) = port {
            fields.add(FieldName::XForwardedPort, port.to_string().as_bytes());
        }
        Self {
            node: forwarded_list::node(address).into(),
            proto,
            fields,
            certificate: certificate.map(|certificate| Box::new(certificate_fields(certificate))),
        }
    }
}

fn certificate_fields(certificate: &ClientCertificate) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in [
        ("X-Amzn-Mtls-Clientcert-Serial-Number", &certificate.serial),
        ("X-Amzn-Mtls-Clientcert-Issuer", &certificate.issuer),
        ("X-Amzn-Mtls-Clientcert-Subject", &certificate.subject),
        ("X-Amzn-Mtls-Clientcert-Validity", &certificate.validity),
        ("X-Amzn-Mtls-Clientcert-Leaf", &certificate.leaf),
    ] {
        // Each is legal, and shorter than what a handshake can bring.
        let _ = fields.append(name, value.as_bytes());
    }
    fields
}

impl ForwardedPolicy<'_> {
    /// Removes what a peer is not to say. To be called before the request is routed.
    ///
    /// An untrusted peer loses all identity fields, except that `preserve` lets the forwarding
    /// fields pass. `remove` takes the forwarding fields out, of trusted peers as well.
    pub(super) fn strip(&self, fields: &mut Fields, is_trusted: bool) {
        let kept = match self.settings.mode {
            ForwardedMode::Append => NameSet::of(&[]),
            ForwardedMode::Preserve => FORWARDED,
            ForwardedMode::Remove => {
                fields.remove_all(FORWARDED);
                NameSet::of(&[])
            }
        };
        if !is_trusted {
            self.identity.remove_from(fields, kept);
        }
        if self.knows_clients {
            IdentityFields::remove_certificate(fields);
        }
    }

    /// Adds what a target is told about the client. To be called once [`ForwardedPolicy::strip`] has
    /// left only what is to be believed, and before the host is rewritten.
    pub(super) fn describe(&self, head: &mut RequestHead, connection: &ConnectionFacts) {
        if let Some(certificate) = &connection.certificate {
            head.fields.add_all(certificate);
        }
        match self.settings.mode {
            ForwardedMode::Append => {}
            ForwardedMode::Preserve | ForwardedMode::Remove => return,
        }
        let (fields, send) = (&mut head.fields, self.settings.send);
        if send.has_forwarded() {
            // First: it reads X-Forwarded-For, to which the peer is added below.
            let list = forwarded_elements(fields, connection);
            fields.put(FieldName::Forwarded, &list);
        }
        if send.has_x_forwarded() {
            add_x_forwarded(fields, connection);
        }
    }
}

fn add_x_forwarded(fields: &mut Fields, connection: &ConnectionFacts) {
    if fields.may_contain(OF_CONNECTION) {
        extend_x_forwarded(fields, connection);
    } else {
        fields.add_all(&connection.fields);
    }
    if !fields.contains(FieldName::XForwardedHost) {
        fields.add_copy(FieldName::XForwardedHost, FieldName::Host);
    }
}

/// Adds what is missing, and the peer to the chain of clients.
fn extend_x_forwarded(fields: &mut Fields, connection: &ConnectionFacts) {
    for own in connection.fields.iter() {
        if own.id == FieldName::XForwardedFor && fields.contains(own.id) {
            let mut chain = joined(fields, own.id);
            chain.extend_from_slice(b", ");
            chain.extend_from_slice(own.value);
            fields.put(own.id, &chain);
        } else if !fields.contains(own.id) {
            fields.add(own.id, own.value);
        }
    }
}

/// The elements so far and one for this hop. If trusted proxies sent `X-Forwarded-*` alone, their
/// chain is put into the other form (RFC 7239 section 7.4).
fn forwarded_elements(fields: &Fields, connection: &ConnectionFacts) -> Vec<u8> {
    let mut list = joined(fields, FieldName::Forwarded);
    if list.is_empty() {
        let mut first_host = fields.get(FieldName::XForwardedHost);
        let mut first_proto = fields.get(FieldName::XForwardedProto);
        for member in fields.members(FieldName::XForwardedFor) {
            let client = forwarded_list::node(parse_address(member));
            let (host, proto) = (first_host.take(), first_proto.take());
            forwarded_list::push_element(&mut list, client.as_bytes(), host, proto);
        }
    }
    let proto = Some(connection.proto.as_bytes());
    let host = fields.get(FieldName::Host);
    forwarded_list::push_element(&mut list, connection.node.as_bytes(), host, proto);
    list
}

/// All fields of a name as one list.
fn joined(fields: &Fields, name: FieldName) -> Vec<u8> {
    let mut list = Vec::new();
    for value in fields.get_all(name).filter(|value| !value.is_empty()) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value);
    }
    list
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::super::trust::is_trusted;
    use super::*;
    use crate::model::ForwardedFormat;

    /// A policy that tests own.
    struct Owned {
        settings: Forwarded,
        identity: IdentityFields,
    }

    impl Owned {
        fn new(mode: ForwardedMode, send: ForwardedFormat, trusted: &[&str]) -> Self {
            let identity_headers = ["x-forwarded-ssl", "true-client-ip", "x-company-user"];
            Self {
                identity: IdentityFields::new(identity_headers),
                settings: Forwarded {
                    mode,
                    send,
                    trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
                    trusts_unix: false,
                    identity_headers: identity_headers.map(HeaderName::from_static).into(),
                },
            }
        }

        fn policy(&self) -> ForwardedPolicy<'_> {
            ForwardedPolicy {
                settings: &self.settings,
                identity: &self.identity,
                knows_clients: false,
            }
        }
    }

    fn appending(trusted: &[&str]) -> Owned {
        Owned::new(ForwardedMode::Append, ForwardedFormat::XForwarded, trusted)
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::new();
        head.set_host(b"shop.example").unwrap();
        for (name, value) in fields {
            head.fields.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    /// What the target gets of a request of 10.0.0.9.
    fn sent(policy: &Owned, fields: &[(&str, &str)]) -> RequestHead {
        let peer = ClientAddress::Ip([10, 0, 0, 9].into());
        sent_by(peer, Some(8080), policy, fields)
    }

    fn sent_by(
        peer: ClientAddress,
        port: Option<u16>,
        policy: &Owned,
        fields: &[(&str, &str)],
    ) -> RequestHead {
        let policy = policy.policy();
        let mut head = head(fields);
        policy.strip(&mut head.fields, is_trusted(policy.settings, peer));
        policy.describe(&mut head, &ConnectionFacts::new(peer, port, "http", None));
        head
    }

    #[test]
    fn a_peer_without_an_address_adds_none_to_the_chain() {
        let mut policy = Owned::new(ForwardedMode::Append, ForwardedFormat::Both, &[]);
        let chain = [("x-forwarded-for", "1.1.1.1")];
        let ours = "for=unknown;host=shop.example;proto=http";
        let head = sent_by(ClientAddress::Unix, None, &policy, &chain);
        assert_eq!(values(&head, "x-forwarded-for"), [""; 0]);
        assert_eq!(values(&head, "x-forwarded-port"), [""; 0]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "forwarded"), [ours]);
        policy.settings.trusts_unix = true;
        let head = sent_by(ClientAddress::Unix, None, &policy, &chain);
        assert_eq!(values(&head, "x-forwarded-for"), ["1.1.1.1"]);
        assert_eq!(values(&head, "forwarded"), [format!("for=1.1.1.1, {ours}")]);
    }

    fn values<'h>(head: &'h RequestHead, name: &str) -> Vec<&'h str> {
        let values = head.fields.get_all_by_name(name);
        values.map(|value| str::from_utf8(value).unwrap()).collect()
    }

    const TRUSTED: &[&str] = &["10.0.0.0/8"];

    #[test]
    fn a_target_is_told_about_a_client_that_says_nothing() {
        let head = sent(&appending(&[]), &[]);
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.9"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "x-forwarded-port"), ["8080"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["shop.example"]);
        assert_eq!(values(&head, "forwarded"), [""; 0]);
    }

    const CHAIN: [(&str, &str); 3] = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn append_keeps_what_trusted_peers_say_and_nothing_of_others() {
        let head = sent(&appending(&[]), &CHAIN);
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.9"]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
        assert_eq!(values(&head, "x-forwarded-port"), ["8080"]);
        assert_eq!(values(&head, "x-forwarded-host"), ["shop.example"]);

        let head = sent(&appending(TRUSTED), &CHAIN);
        let chain = "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9";
        assert_eq!(values(&head, "x-forwarded-for"), [chain]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
        let head = sent(&appending(TRUSTED), &CHAIN[2..]);
        assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.9"]);
    }

    #[test]
    fn preserve_leaves_the_fields_and_remove_removes_them() {
        let preserve = Owned::new(ForwardedMode::Preserve, ForwardedFormat::Both, &[]);
        let head = sent(&preserve, &CHAIN);
        assert_eq!(
            values(&head, "x-forwarded-for"),
            ["1.1.1.1", "2.2.2.2, 3.3.3.3"]
        );
        assert_eq!(values(&head, "x-forwarded-host"), [""; 0]);
        assert_eq!(values(&head, "forwarded"), [""; 0]);
        for trusted in [&[][..], TRUSTED] {
            let remove = Owned::new(ForwardedMode::Remove, ForwardedFormat::Both, trusted);
            let fields = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
            let head = sent(&remove, &fields);
            assert_eq!(head.fields.len(), 1, "{head:?}");
        }
    }

    #[test]
    fn identity_fields_of_untrusted_peers_never_reach_a_target() {
        let names = [
            "X-Real-IP",
            "x_real_ip",
            "Forwarded",
            "X_Forwarded_For",
            "X-Forwarded-Ssl",
            "True-Client-IP",
            "True_Client_IP",
            "X-Company-User",
            "x_company_user",
        ];
        let policy = |mode, trusted| Owned::new(mode, ForwardedFormat::XForwarded, trusted);
        for name in names {
            for mode in [ForwardedMode::Append, ForwardedMode::Remove] {
                let head = sent(&policy(mode, &[]), &[(name, "1")]);
                assert_eq!(values(&head, name), [""; 0], "{name} {mode:?}");
            }
            let head = sent(&policy(ForwardedMode::Append, TRUSTED), &[(name, "1")]);
            assert_eq!(values(&head, name), ["1"], "{name}");
        }
        let preserve = policy(ForwardedMode::Preserve, &[]);
        for name in names.iter().filter(|name| **name != "Forwarded") {
            let head = sent(&preserve, &[(name, "1")]);
            assert_eq!(values(&head, name), [""; 0], "{name}");
        }
        assert_eq!(
            values(&sent(&preserve, &[("Forwarded", "a")]), "forwarded"),
            ["a"]
        );
    }

    #[test]
    fn forwarded_is_sent_instead_or_beside() {
        let instead = Owned::new(ForwardedMode::Append, ForwardedFormat::Forwarded, TRUSTED);
        let ours = "for=10.0.0.9;host=shop.example;proto=http";
        let head = sent(&instead, &[]);
        assert_eq!(values(&head, "forwarded"), [ours]);
        assert_eq!(values(&head, "x-forwarded-for"), [""; 0]);

        let both = Owned::new(ForwardedMode::Append, ForwardedFormat::Both, TRUSTED);
        let head = sent(
            &both,
            &[("forwarded", "for=1.1.1.1"), ("forwarded", "for=\"_a\"")],
        );
        let chain = format!("for=1.1.1.1, for=\"_a\", {ours}");
        assert_eq!(values(&head, "forwarded"), [&chain]);
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.9"]);
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_put_into_the_other_form() {
        let both = Owned::new(ForwardedMode::Append, ForwardedFormat::Both, TRUSTED);
        let chain = [
            ("x-forwarded-for", "2001:db8::1, nonsense, 1.1.1.1:99"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example:443"),
        ];
        let head = sent(&both, &chain);
        let expected = "for=\"[2001:db8::1]\";host=\"a.example:443\";proto=https, for=unknown, \
                        for=1.1.1.1, for=10.0.0.9;host=shop.example;proto=http";
        assert_eq!(values(&head, "forwarded"), [expected]);
        let extended = "2001:db8::1, nonsense, 1.1.1.1:99, 10.0.0.9";
        assert_eq!(values(&head, "x-forwarded-for"), [extended]);
    }

    #[test]
    fn long_and_missing_hosts_are_told_as_they_are() {
        let peer = ClientAddress::Ip("::ffff:10.0.0.9".parse().unwrap());
        let facts = ConnectionFacts::new(peer, Some(80), "https", None);
        let mut request = head(&[]);
        let host = format!("{}.example", "a".repeat(200));
        request.set_host(host.as_bytes()).unwrap();
        appending(&[]).policy().describe(&mut request, &facts);
        assert_eq!(values(&request, "x-forwarded-host"), [&host]);
        assert_eq!(values(&request, "x-forwarded-for"), ["10.0.0.9"]);
        assert_eq!(values(&request, "x-forwarded-proto"), ["https"]);
        let mut request = RequestHead::new();
        appending(&[]).policy().describe(&mut request, &facts);
        assert_eq!(values(&request, "x-forwarded-host"), [""; 0]);
    }
}
