//! The side of TLS that connects to targets.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, CertificateError, certificates, check_validity, digest};
use super::client_auth::ClientAuthError;
use super::provider::provider;

/// Sessions that are kept to be taken up again, over all targets of a group.
const SESSIONS: usize = 1024;

/// How targets of a group are spoken to in TLS. Clones share it, and the sessions.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<ClientConfig>,
    /// `None` takes the address of the target.
    name: Option<ServerName<'static>>,
    trust: Trust,
    identity: Option<Certificate>,
    /// The only protocols that targets may choose from (ALPN).
    offered: Vec<Vec<u8>>,
}

/// By which authorities targets are known.
#[derive(Clone, Debug)]
pub enum Trust {
    /// These.
    Authorities(Authorities),
    /// Any certificate is taken, whoever has made it: the connection is encrypted, and may lead
    /// anywhere.
    Anything,
}

/// Certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities {
    verifier: Arc<WebPkiServerVerifier>,
    /// Those of a file, which a target may show as its own.
    listed: Arc<[CertificateDer<'static>]>,
    digest: [u8; 32],
}

impl Authorities {
    /// Reads them from PEM.
    pub fn read(text: &[u8]) -> Result<Self, ClientAuthError> {
        let mut roots = RootCertStore::empty();
        let listed = certificates(text)?;
        for (index, authority) in listed.iter().enumerate() {
            roots
                .add(authority.clone())
                .map_err(|error| ClientAuthError::Unusable(index + 1, error.to_string()))?;
        }
        Ok(Self {
            verifier: verifier(roots).ok_or(CertificateError::NoCertificate)?,
            listed: listed.into(),
            digest: digest(text),
        })
    }

    /// Those that the system trusts; `None` if it names none. Blocks.
    pub fn of_the_system() -> Option<Self> {
        let found = rustls_native_certs::load_native_certs().certs;
        let mut roots = RootCertStore::empty();
        let mut all = Vec::new();
        for authority in found {
            all.extend_from_slice(&authority);
            // One that cannot be used is none that a target needs.
            let _ = roots.add(authority);
        }
        Some(Self {
            verifier: verifier(roots)?,
            listed: Arc::default(),
            digest: digest(&all),
        })
    }
}

/// `None` if there are no authorities.
fn verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .ok()
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Authorities(one), Self::Authorities(other)) => one.digest == other.digest,
            (Self::Anything, Self::Anything) => true,
            (Self::Authorities(_), Self::Anything) | (Self::Anything, Self::Authorities(_)) => {
                false
            }
        }
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.name == other.0.name
                && self.0.trust == other.0.trust
                && self.0.identity == other.0.identity
                && self.0.offered == other.0.offered)
    }
}

impl Eq for Client {}

impl Client {
    /// Speaks TLS 1.2 and 1.3 with targets that `trust` knows under a name, and shows them
    /// `identity` if they ask for it. Targets choose a protocol of those `offered`, if they choose.
    pub fn new(
        trust: Trust,
        name: Option<ServerName<'static>>,
        identity: Option<Certificate>,
        offered: &[&[u8]],
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions");
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust.clone()));
        let mut config = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = CertifiedKey::clone(&identity.key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        let offered: Vec<_> = offered.iter().map(|name| name.to_vec()).collect();
        config.alpn_protocols.clone_from(&offered);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Self(Arc::new(Inner {
            config: Arc::new(config),
            name,
            trust,
            identity,
            offered,
        }))
    }

    /// What a connection is made with.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.0.config
    }

    /// The name under which a target at this address is known. A Unix socket without a configured
    /// name has that of this host.
    pub fn name(&self, address: Option<IpAddr>) -> ServerName<'static> {
        let of_address = || address.unwrap_or(IpAddr::from([127, 0, 0, 1])).into();
        self.0.name.clone().unwrap_or_else(of_address)
    }
}

impl Authorities {
    /// Takes certificates that they have issued, and those of the file itself: what a target has
    /// signed for itself is often marked as an authority's, which the web's rules exclude.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.listed.contains(certificate) {
            let verifier = &self.verifier;
            return verifier.verify_server_cert(certificate, chain, name, ocsp, now);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        check_validity(certificate, now)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// Whatever is trusted, the peer has to have the key of its certificate.
impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self {
            Self::Authorities(authorities) => {
                authorities.verify(certificate, chain, name, ocsp, now)
            }
            Self::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
