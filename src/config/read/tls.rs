//! `tls` of a listener and of a group. Its files are read with the configuration, so that whatever is wrong with
//! one is found before anything changes, and a change of one is a change of the configuration.

use std::time::SystemTime;

use rustls::pki_types::ServerName;

use super::acme;
use super::named_file::{self, read as file};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::model::TargetProtocol;
use crate::model::{Condition, Rule, TargetGroupId};
use crate::tls::{
    Authorities, Certificate, CertificateError, Client, ClientAuth, ClientAuthError, Doubt,
    ServerSettings, Trust,
};

const EXAMPLE: &str = "write certificates = [{ cert = \"site.crt\", key = \"site.key\" }], \
                       or acme = { domains = [\"site.example\"] }";

pub(super) fn read(node: &Node<'_>) -> Option<ServerSettings> {
    let section = node.section(&keys::TLS)?;
    let acme = section.optional("acme", acme::read);
    let certificates = match section.get("certificates") {
        // What is meant to be one is refused as such.
        None if section.get("acme").is_some() => Some(Vec::new()),
        None => section.require("certificates", EXAMPLE).map(|_| Vec::new()),
        Some(node) => certificates(&node),
    };
    let client_auth = section.optional("client_auth", client_auth);
    let (acme, given) = acme?.unzip();
    Some(ServerSettings {
        acme,
        min_version: section.word("min_version"),
        tickets: section.flag("tickets"),
        handshake_timeout: section.duration("handshake_timeout"),
        max_handshakes: section.count("max_handshakes"),
        certificates: [certificates?, given.unwrap_or_default()].concat(),
        client_auth: client_auth?,
    })
}

/// `tls` of a group.
pub(super) fn of_group(node: &Node<'_>, protocol: TargetProtocol) -> Option<Client> {
    let section = node.section(&keys::TARGET_TLS)?;
    let trust = trust(&section);
    let name = section.optional("server_name", server_name);
    let has_identity = section.get("cert").is_some() || section.get("key").is_some();
    let identity = if has_identity {
        pair(&section).map(Some)
    } else {
        Some(None)
    };
    let offered: &[&[u8]] = if protocol.is_http2() { &[b"h2"] } else { &[] };
    Some(Client::new(trust?, name?, identity?, offered))
}

fn trust(section: &Section<'_>) -> Option<Trust> {
    let is_insecure = section.flag("insecure");
    let Some(ca) = section.get("ca") else {
        if is_insecure {
            return Some(Trust::Anything);
        }
        let system = Authorities::of_the_system();
        if system.is_none() {
            let message = "no authority is known by which targets could be checked".to_owned();
            let help = "write ca = \"internal.crt\", or install the system's ca-certificates";
            section.error(Code::MissingKey, "ca", message, help);
        }
        return system.map(Trust::Authorities);
    };
    if is_insecure {
        let message = "`ca` and `insecure` exclude each other";
        return ca.refuse(
            Code::Conflict,
            message,
            "with a `ca` targets are checked; take the other out",
        );
    }
    named_file::authorities(&ca)
}

fn server_name(node: &Node<'_>) -> Option<ServerName<'static>> {
    let text = node.text()?;
    if let Ok(name) = ServerName::try_from(text.clone()) {
        return Some(name);
    }
    let message = format!("`{}` is not a host", text.escape_default());
    let help = "write the name in the certificates of the targets: server_name = \"web.internal\"";
    node.refuse(Code::InvalidValue, message, help)
}

fn certificates(node: &Node<'_>) -> Option<Vec<Certificate>> {
    let items = node.items();
    if items.is_empty() {
        return node.refuse(Code::MissingKey, "there is no certificate", EXAMPLE);
    }
    let read: Vec<_> = items.iter().map(certificate).collect();
    read.into_iter().collect()
}

fn certificate(node: &Node<'_>) -> Option<Certificate> {
    pair(&node.section(&keys::CERTIFICATE)?)
}

/// A certificate and its key.
fn pair(section: &Section<'_>) -> Option<Certificate> {
    let cert = section.require(
        "cert",
        "write the file of the certificate: cert = \"site.crt\"",
    );
    let key = section.require(
        "key",
        "write the file of its private key: key = \"site.key\"",
    );
    let ocsp = match section.spec("ocsp") {
        Some(_) => section.optional("ocsp", |node| file(node).map(|(_, bytes)| bytes)),
        None => Some(None),
    };
    let chain = cert.as_ref().and_then(file);
    let private = key.as_ref().and_then(file);
    let ((path, chain), (_, private)) = (chain?, private?);
    match Certificate::read(&path, &chain, &private, ocsp?) {
        Ok(certificate) => {
            warn(&cert?, &path, &certificate, section.spec("ocsp").is_some());
            Some(certificate)
        }
        Err(error) => refuse(&cert?, &key?, &error),
    }
}

fn refuse<T>(cert: &Node<'_>, key: &Node<'_>, error: &CertificateError) -> Option<T> {
    let (node, help) = match error {
        CertificateError::NoCertificate => (
            cert,
            "it has to begin with a line -----BEGIN CERTIFICATE-----; of DER make one with `openssl x509 -inform der`",
        ),
        CertificateError::Malformed(_) => (cert, "copy it again from where it was made"),
        CertificateError::NoKey => (
            key,
            "it has to hold a line -----BEGIN PRIVATE KEY-----; of an encrypted one make it with `openssl pkey`",
        ),
        CertificateError::MalformedKey(_) => (key, "copy it again from where it was made"),
        CertificateError::UnusableKey(_) => (
            key,
            "RSA of 2048 bits and more, ECDSA over P-256 and P-384, and Ed25519 can be used",
        ),
        CertificateError::OtherKey => (
            key,
            "compare `openssl x509 -noout -pubkey -in CERT` with `openssl pkey -pubout -in KEY`",
        ),
        CertificateError::WrongOrder(_) => (
            cert,
            "put it first, and after it each authority that has issued the one before",
        ),
        CertificateError::BrokenChain(..) => (
            cert,
            "after each certificate put that of its issuer, as the authority's `fullchain` has them",
        ),
    };
    let path = node.text().unwrap_or_default();
    node.refuse(
        Code::InvalidValue,
        format!("`{path}` cannot be used: {error}"),
        help,
    )
}

/// A client's own certificate needs no host.
fn warn(node: &Node<'_>, path: &str, certificate: &Certificate, is_server: bool) {
    let doubts = certificate.doubts(SystemTime::now()).into_iter();
    for doubt in doubts.filter(|doubt| is_server || *doubt != Doubt::Nameless) {
        let help = match doubt {
            Doubt::Expired(_) => "no client takes it; renew it",
            Doubt::NotYetValid(_) => {
                "no client takes it before; check the clock of this machine, or wait"
            }
            Doubt::Incomplete(_) => {
                "clients that do not know it refuse the connection; append it, as the authority's `fullchain` has it"
            }
            Doubt::Nameless => {
                "have one made with subjectAltName: clients do not look at the common name any more"
            }
        };
        node.warn(
            Code::Suspicious,
            format!("the certificate in `{path}` {doubt}"),
            help,
        );
    }
}

fn client_auth(node: &Node<'_>) -> Option<ClientAuth> {
    let section = node.section(&keys::CLIENT_AUTH)?;
    let mode = section.word("mode");
    let ca = section.require(
        "ca",
        "write the file of the authorities that clients' certificates come from: ca = \"clients.crt\"",
    )?;
    let (path, authorities) = file(&ca)?;
    match ClientAuth::read(mode, &authorities) {
        Ok(auth) => Some(auth),
        Err(error) => {
            let help = match error {
                ClientAuthError::Certificate(_) => "it has to hold one or more certificates in PEM",
                ClientAuthError::Unusable(..) => {
                    "it has to hold certificates of authorities, not those of clients"
                }
            };
            ca.refuse(
                Code::InvalidValue,
                format!("`{path}` cannot be used: {error}"),
                help,
            )
        }
    }
}

/// Warns about hosts that rules ask for, and for which there is no certificate: a client refuses
/// another one.
pub(super) fn check_hosts(
    listener: &Section<'_>,
    tls: &ServerSettings,
    rules: &[Rule<TargetGroupId>],
) {
    let node = listener.child("tls", "certificates");
    let Some(node) = node.or_else(|| listener.child("tls", "acme")) else {
        return;
    };
    let ordered = tls.acme.iter().flat_map(|acme| &acme.domains);
    let ordered: Vec<&str> = ordered.map(|domain| &**domain).collect();
    let conditions = rules.iter().flat_map(|rule| &rule.conditions);
    let hosts = conditions.flat_map(|condition| match condition {
        Condition::Host(hosts) => hosts.as_slice(),
        _ => &[],
    });
    let mut missing: Vec<&str> = hosts
        .filter_map(|host| host.exact())
        .filter(|host| !tls.certificates.iter().any(|one| one.is_for(host)))
        .filter(|host| !ordered.contains(host))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    for host in missing {
        let message = format!("no certificate is for `{host}`, which a rule asks for");
        let help = "clients of this host refuse the connection; add a certificate for it";
        node.warn(Code::Suspicious, message, help);
    }
}
