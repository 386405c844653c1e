//! Certificates of clients: which are accepted, and what targets are told about them.

use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::certificate::{CertificateError, certificates, check_validity, digest, parse};
use super::provider::provider;
use crate::model::ClientCertificate;

/// By which authorities clients are known, and whether each must be.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// What becomes of a client without a certificate.
    pub mode: ClientAuthMode,
    /// The digest of the authorities' certificates.
    pub(super) authorities: [u8; 32],
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

/// What becomes of a client without a certificate. One with a certificate that is not accepted is
/// always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMode {
    /// Its handshake fails.
    Require,
    /// It is served, and targets are told of no certificate.
    Request,
}

/// Why clients cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthError {
    /// The file cannot be understood.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate of the file is none of an authority.
    #[error("certificate {0} of it cannot be trusted: {1}")]
    Unusable(usize, String),
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode && self.authorities == other.authorities
    }
}

impl ClientAuth {
    /// Reads the certificates of the authorities from PEM.
    pub fn read(mode: ClientAuthMode, authorities: &[u8]) -> Result<Self, ClientAuthError> {
        let mut roots = RootCertStore::empty();
        let unusable =
            |number, error: &dyn ToString| ClientAuthError::Unusable(number, error.to_string());
        let listed = certificates(authorities)?;
        for (index, authority) in listed.iter().enumerate() {
            let added = roots.add(authority.clone());
            added.map_err(|error| unusable(index + 1, &error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match mode {
            ClientAuthMode::Require => builder,
            ClientAuthMode::Request => builder.allow_unauthenticated(),
        };
        let verifier = builder.build().map_err(|error| unusable(1, &error))?;
        Ok(Self {
            mode,
            authorities: digest(authorities),
            verifier: Arc::new(Verifier { verifier, listed }),
        })
    }
}

/// Takes certificates that the authorities have issued, and those of the file itself: what a client
/// has signed for itself is often marked as an authority's, which the web's rules exclude.
#[derive(Debug)]
struct Verifier {
    verifier: Arc<dyn ClientCertVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !self.listed.contains(certificate) {
            return self.verifier.verify_client_cert(certificate, chain, now);
        }
        check_validity(certificate, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = &self.verifier;
        verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = &self.verifier;
        verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Bytes that a value of a field has percent-encoded in the form of AWS's load balancers.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'`');

/// The same of a name. What is no ASCII is encoded too.
const NAME_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// What targets are told of an accepted certificate.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let der = certificate.clone().into_owned();
    let parsed = parse(&der).ok()?;
    let mut serial = String::new();
    for byte in parsed.raw_serial() {
        write!(serial, "{byte:02X}").ok()?;
    }
    let validity = parsed.validity();
    let (from, until) = (instant(validity.not_before), instant(validity.not_after));
    Some(ClientCertificate {
        serial: serial.into(),
        issuer: name(parsed.issuer()),
        subject: name(parsed.subject()),
        validity: format!("NotBefore={from};NotAfter={until}").into(),
        leaf: utf8_percent_encode(&pem(certificate), ENCODED)
            .to_string()
            .into(),
    })
}

/// The parts of a name from the last to the first (RFC 4514 section 2.1). What is no visible
/// ASCII is percent-encoded.
fn name(name: &X509Name<'_>) -> Box<str> {
    let parts: Vec<String> = name.iter_rdn().map(part).collect();
    let joined = parts.iter().rev().map(String::as_str).collect::<Vec<_>>();
    utf8_percent_encode(&joined.join(","), NAME_ENCODED)
        .to_string()
        .into()
}

fn part(part: &x509_parser::x509::RelativeDistinguishedName<'_>) -> String {
    use x509_parser::objects::{oid_registry, oid2abbrev};
    let attributes = part.iter().map(|attribute| {
        let oid = attribute.attr_type();
        let name =
            oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
        format!("{name}={}", escaped(attribute.as_str().unwrap_or_default()))
    });
    attributes.collect::<Vec<_>>().join("+")
}

/// RFC 4514 section 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let is_edge = (c == ' ' && (index == 0 || index == last)) || (c == '#' && index == 0);
        if is_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn instant(time: ASN1Time) -> String {
    jiff::Timestamp::from_second(time.timestamp()).map_or_else(|_| String::new(), |t| t.to_string())
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
