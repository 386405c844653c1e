//! Certificates that an authority gives by ACME (RFC 8555): what is configured, where they are
//! kept, and what is answered to the authority when it asks whether this is the host.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde::{Deserialize, Serialize};

use super::certificate::digest;
use super::client::Trust;
use super::provider::provider;

/// The protocol of TLS-ALPN-01 (RFC 8737), within TLS.
pub const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Where HTTP-01 is asked for (RFC 8555 section 8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The certificates of a listener that an authority gives, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeSettings {
    /// The hosts, in lower case, each once. Each gets a certificate of its own, so that one that
    /// cannot be had keeps no other from being renewed.
    pub domains: Vec<Box<str>>,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// How it finds out that this is the host.
    pub challenge: ChallengeKind,
    /// The account at the authority that the orders are for.
    pub external_account: Option<ExternalAccount>,
    /// By which authorities the server of the directory is known.
    pub trust: Trust,
    /// The kind of certificate, of those that the authority offers.
    pub profile: Option<String>,
    /// Where account, keys and certificates are kept.
    pub state_dir: PathBuf,
}

/// How an authority finds out that it speaks to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// By a request of plain HTTP.
    #[serde(rename = "http-01")]
    Http01,
    /// By a TLS handshake.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    /// As ACME calls it (RFC 8555 section 9.7.8).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// An account that the authority has given outside of ACME (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its name.
    pub key_id: String,
    /// The secret that proves it.
    pub hmac_key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl AcmeSettings {
    /// The folder of this authority and account, within the state directory: another one has other
    /// certificates. Four bytes of a digest tell those of one host apart.
    pub fn folder(&self) -> PathBuf {
        let account = self.external_account.as_ref();
        let account = account.map_or("", |account| &account.key_id);
        let identity = format!("{}\n{account}", self.directory);
        let [a, b, c, d, ..] = digest(identity.as_bytes());
        let digest = u32::from_be_bytes([a, b, c, d]);
        self.state_dir.join(format!("{}-{digest:08x}", self.host()))
    }

    /// The file of the certificate of a domain, with its key.
    pub fn certificate_file(&self, domain: &str) -> PathBuf {
        self.folder().join(format!("{domain}.pem"))
    }

    /// The host of the directory.
    pub fn host(&self) -> &str {
        let authority = self.directory.split('/').nth(2).unwrap_or_default();
        authority.split(':').next().unwrap_or_default()
    }
}

/// What is answered to the authority for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// How it asks.
    pub kind: ChallengeKind,
    /// The host.
    pub domain: String,
    /// What it asks for.
    pub token: String,
    /// What it has to find.
    pub key_authorization: String,
}

/// The challenges that are open now. Read by every handshake and every request of listeners which
/// may be asked, so it never waits.
#[derive(Debug, Default)]
pub struct Challenges(ArcSwap<Open>);

#[derive(Debug, Default)]
struct Open {
    /// By token.
    http: HashMap<Box<str>, Bytes>,
    /// By host.
    tls: HashMap<Box<str>, Arc<ServerConfig>>,
}

impl Challenges {
    /// Puts these in the place of those before. One of which no certificate can be made is left
    /// out.
    pub fn replace(&self, challenges: &[Challenge]) {
        let mut open = Open::default();
        for challenge in challenges {
            match challenge.kind {
                ChallengeKind::Http01 => {
                    let answer = Bytes::from(challenge.key_authorization.clone());
                    open.http.insert(challenge.token.as_str().into(), answer);
                }
                ChallengeKind::TlsAlpn01 => {
                    if let Some(config) = proof(challenge) {
                        let domain = challenge.domain.as_str().into();
                        open.tls.insert(domain, Arc::new(config));
                    }
                }
            }
        }
        self.0.store(Arc::new(open));
    }

    /// The answer to a request for a path of HTTP-01; `None` for any other path and token.
    pub fn answer(&self, path: &str) -> Option<Bytes> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        self.0.load().http.get(token).cloned()
    }

    /// Whether any handshake could be one of TLS-ALPN-01.
    pub fn expects_handshakes(&self) -> bool {
        !self.0.load().tls.is_empty()
    }

    /// What a handshake of TLS-ALPN-01 is made with. `None` for any other handshake: one for the
    /// challenge offers its protocol alone (RFC 8737 section 3).
    pub fn config(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(CHALLENGE_PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let host = hello.server_name()?.to_ascii_lowercase();
        self.0.load().tls.get(&*host).cloned()
    }
}

/// A certificate that holds the digest of what the authority has to find (RFC 8737 section 3).
fn proof(challenge: &Challenge) -> Option<ServerConfig> {
    let key = KeyPair::generate().ok()?;
    let mut params = CertificateParams::new([challenge.domain.clone()]).ok()?;
    let digest = digest(challenge.key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let certificate = CertificateDer::from(params.self_signed(&key).ok()?);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider().key_provider.load_private_key(key.into()).ok()?;
    // Not checked against the key: that would refuse the extension, which is critical.
    let proof = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(proof));
    config.alpn_protocols = vec![CHALLENGE_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Some(config)
}

/// Why a domain can have no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// `*.` before it.
    #[error("it stands for every host of a domain, which authorities certify by dns-01 alone")]
    Wildcard,
    /// An address.
    #[error("it is an address")]
    Address,
    /// Letters that DNS has another spelling for.
    #[error("it has letters beyond ASCII")]
    NotAscii,
    /// No host name by RFC 1123.
    #[error("it is no host name")]
    Malformed,
}

/// Checks a domain that a certificate is to be ordered for; it is in lower case.
pub fn check_domain(domain: &str) -> Result<(), DomainError> {
    if domain.starts_with("*.") {
        return Err(DomainError::Wildcard);
    }
    if domain.parse::<std::net::IpAddr>().is_ok() {
        return Err(DomainError::Address);
    }
    if !domain.is_ascii() {
        return Err(DomainError::NotAscii);
    }
    let is_name = domain.len() <= 253 && domain.split('.').all(is_label);
    is_name.then_some(()).ok_or(DomainError::Malformed)
}

fn is_label(label: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(is_inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(kind: ChallengeKind, domain: &str) -> Challenge {
        Challenge {
            kind,
            domain: domain.to_owned(),
            token: "token".to_owned(),
            key_authorization: "token.thumb".to_owned(),
        }
    }

    #[test]
    fn a_token_is_answered_at_its_path_while_its_challenge_is_open() {
        let challenges = Challenges::default();
        let path = "/.well-known/acme-challenge/token";
        assert_eq!(challenges.answer(path), None);
        challenges.replace(&[challenge(ChallengeKind::Http01, "a.example")]);
        assert_eq!(challenges.answer(path), Some("token.thumb".into()));
        for other in [
            "/token",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/t",
        ] {
            assert_eq!(challenges.answer(other), None, "{other}");
        }
        assert!(!challenges.expects_handshakes());
        challenges.replace(&[challenge(ChallengeKind::TlsAlpn01, "a.example")]);
        assert_eq!(challenges.answer(path), None);
        assert!(challenges.expects_handshakes());
    }

    #[test]
    fn domains_are_host_names_that_http_and_handshakes_can_prove() {
        for domain in ["a", "site.example", "xn--bcher-kva.example", "1a.2.example"] {
            assert_eq!(check_domain(domain), Ok(()), "{domain}");
        }
        let long = "a".repeat(64);
        let cases = [
            ("*.site.example", DomainError::Wildcard),
            ("192.0.2.1", DomainError::Address),
            ("2001:db8::1", DomainError::Address),
            ("b\u{fc}cher.example", DomainError::NotAscii),
            ("", DomainError::Malformed),
            ("../etc", DomainError::Malformed),
            ("site.example.", DomainError::Malformed),
            (&long, DomainError::Malformed),
        ];
        for (domain, error) in cases {
            assert_eq!(check_domain(domain), Err(error), "{domain}");
        }
    }
}
