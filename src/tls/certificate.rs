//! A certificate with its key, as two files hold them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;

use super::provider::provider;

/// A certificate, the chain behind it, and its key. Clones share them.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Where it comes from, for operators: the path as the configuration has it.
    pub file: Box<str>,
    /// The hosts and addresses that it is for, in lower case; `*.` before the names of all hosts of a domain.
    pub names: Box<[Box<str>]>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// Whether authorities between it and a root are known to be missing, and which is next.
    missing: Option<Box<str>>,
    /// The digest of the key's file: tells one key from another without keeping it.
    key_digest: [u8; 32],
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file holds none.
    #[error("it holds no certificate")]
    NoCertificate,
    /// The file is damaged.
    #[error("it is not well-formed: {0}")]
    Malformed(String),
    /// The file of the key holds none.
    #[error("it holds no private key")]
    NoKey,
    /// The file of the key is damaged.
    #[error("its key is not well-formed: {0}")]
    MalformedKey(String),
    /// The key is of a kind that is not supported.
    #[error("its key cannot be used: {0}")]
    UnusableKey(String),
    /// The key belongs to another certificate.
    #[error("it is not the key of this certificate")]
    OtherKey,
    /// The key belongs to a certificate of the file that is not the first.
    #[error("the certificates are in the wrong order: the one of the key is number {0}")]
    WrongOrder(usize),
    /// A certificate of the chain was not signed by the next.
    #[error("certificate {0} of the chain was not issued by the next, but by `{1}`")]
    BrokenChain(usize, String),
}

/// What speaks against a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is not valid any more.
    Expired(SystemTime),
    /// It is not valid yet.
    NotYetValid(SystemTime),
    /// Authorities are missing in its chain, of which this is the next.
    Incomplete(String),
    /// It is for no host, so that no client takes it.
    Nameless,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
            && self.key_digest == other.key_digest
            && self.key.cert == other.key.cert
            && self.key.ocsp == other.key.ocsp
    }
}

impl Certificate {
    /// Reads a certificate with its chain, and its key, from PEM. `ocsp` is an answer of the
    /// authority's responder, in DER.
    pub fn read(
        file: &str,
        chain: &[u8],
        key: &[u8],
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self, CertificateError> {
        let chain = certificates(chain)?;
        let signing = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey,
            error => CertificateError::MalformedKey(error.to_string()),
        })?;
        let key_digest = digest(key);
        let signing = provider()
            .key_provider
            .load_private_key(signing)
            .map_err(|error| CertificateError::UnusableKey(error.to_string()))?;
        let parsed = parse_all(&chain)?;
        let facts = Facts::of(&parsed);
        let broken = broken_chain(&parsed);
        let mut key = CertifiedKey::new(chain.clone(), signing);
        check_key(&key)?;
        if let Some(broken) = broken {
            return Err(broken);
        }
        key.ocsp = ocsp;
        Ok(Self {
            file: file.into(),
            names: facts.names,
            not_before: facts.not_before,
            not_after: facts.not_after,
            missing: facts.missing,
            key_digest,
            key: Arc::new(key),
        })
    }

    /// What speaks against it at a time.
    pub fn doubts(&self, now: SystemTime) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        if now > self.not_after {
            doubts.push(Doubt::Expired(self.not_after));
        }
        if now < self.not_before {
            doubts.push(Doubt::NotYetValid(self.not_before));
        }
        if let Some(issuer) = &self.missing {
            doubts.push(Doubt::Incomplete(issuer.to_string()));
        }
        if self.names.is_empty() {
            doubts.push(Doubt::Nameless);
        }
        doubts
    }

    /// The key identifier of its authority and its serial number, by which the authority knows it
    /// (RFC 9773 section 4.1).
    pub fn identifier(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let parsed = parse(self.key.cert.first()?).ok()?;
        let authority = parsed.iter_extensions().find_map(|extension| {
            let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else {
                return None;
            };
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        });
        Some((authority?, parsed.raw_serial().to_vec()))
    }

    /// Whether it is for a host, which is in lower case.
    pub fn is_for(&self, host: &str) -> bool {
        let domain = host.split_once('.').map(|(_, domain)| domain);
        self.names.iter().any(|name| {
            **name == *host || domain.is_some_and(|domain| name.strip_prefix("*.") == Some(domain))
        })
    }
}

/// All certificates of a file.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let read = read.map_err(|error| CertificateError::Malformed(error.to_string()))?;
    if read.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok(read)
}

fn parse_all<'c>(
    chain: &'c [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'c>>, CertificateError> {
    chain.iter().map(parse).collect()
}

pub(super) fn parse<'c>(
    certificate: &'c CertificateDer<'static>,
) -> Result<X509Certificate<'c>, CertificateError> {
    let parsed = parse_x509_certificate(certificate);
    let malformed = |error: String| CertificateError::Malformed(error);
    parsed
        .map(|(_, parsed)| parsed)
        .map_err(|error| malformed(error.to_string()))
}

/// What a chain says of its first certificate.
struct Facts {
    names: Box<[Box<str>]>,
    not_before: SystemTime,
    not_after: SystemTime,
    missing: Option<Box<str>>,
}

impl Facts {
    fn of(chain: &[X509Certificate<'_>]) -> Self {
        let first = &chain[0];
        Self {
            names: names(first),
            not_before: time(first.validity().not_before),
            not_after: time(first.validity().not_after),
            missing: missing(chain),
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        GeneralName::IPAddress(octets) => address(octets).map(|ip| ip.to_string().into()),
        _ => None,
    });
    names.collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// Authorities of the web say in each certificate where that of its issuer is to be had, and no
/// client has it if it is not in the chain. Without such a place, clients are meant to know the
/// issuer.
fn missing(chain: &[X509Certificate<'_>]) -> Option<Box<str>> {
    let [only] = chain else {
        return None;
    };
    let is_own = only.issuer() == only.subject();
    let has_place = only.extensions().iter().any(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            return false;
        };
        let mut places = access.accessdescs.iter();
        places.any(|place| place.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS)
    });
    (has_place && !is_own).then(|| only.issuer().to_string().into())
}

/// Each certificate of a chain is issued by the next. A root at the end may be left out.
fn broken_chain(chain: &[X509Certificate<'_>]) -> Option<CertificateError> {
    let pairs = chain.windows(2).enumerate();
    let mut broken = pairs.filter_map(|(index, pair)| {
        let [certificate, issuer] = pair else {
            return None;
        };
        let is_issued = certificate.issuer().as_raw() == issuer.subject().as_raw();
        (!is_issued).then(|| {
            let issuer = certificate.issuer().to_string();
            CertificateError::BrokenChain(index + 1, issuer)
        })
    });
    broken.next()
}

/// The key has to be that of the first certificate.
fn check_key(key: &CertifiedKey) -> Result<(), CertificateError> {
    match key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let is_match = |certificate: &CertificateDer<'static>| {
                let alone = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key.key));
                alone.keys_match().is_ok()
            };
            match key.cert.iter().position(is_match) {
                Some(index) => Err(CertificateError::WrongOrder(index + 1)),
                None => Err(CertificateError::OtherKey),
            }
        }
        Err(error) => Err(CertificateError::Malformed(error.to_string())),
    }
}

fn time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(since) => write!(f, "has expired on {}", day(*since)),
            Self::NotYetValid(from) => write!(f, "is not valid before {}", day(*from)),
            Self::Incomplete(issuer) => {
                write!(f, "has no chain: the certificate of `{issuer}` is missing")
            }
            Self::Nameless => f.write_str("is for no host: it has no alternative name"),
        }
    }
}

fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "an impossible day".to_owned(),
        |time| time.strftime("%Y-%m-%d").to_string(),
    )
}
/// Whether the certificate of a peer is valid now.
pub(super) fn check_validity(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    use rustls::CertificateError::{BadEncoding, Expired, NotValidYet};
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| BadEncoding)?;
    let validity = parsed.validity();
    if now < validity.not_before {
        Err(NotValidYet.into())
    } else if now > validity.not_after {
        Err(Expired.into())
    } else {
        Ok(())
    }
}
