//! The side of TLS that clients connect to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::sync::Semaphore;

use super::acme::{AcmeSettings, ChallengeKind, Challenges};
use super::certificate::Certificate;
use super::client_auth::{ClientAuth, ClientAuthMode};
use super::provider::provider;
use super::tickets::Tickets;

/// The TLS of a listener, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// The first is for clients that ask for no host, or for an unknown one. Those of `acme` that
    /// exist are behind the others; there may be none at all before the first was given.
    pub certificates: Vec<Certificate>,
    /// Which an authority gives by ACME.
    pub acme: Option<AcmeSettings>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Whether clients have certificates; `None` asks for none.
    pub client_auth: Option<ClientAuth>,
    /// Whether clients may take up earlier sessions.
    pub tickets: bool,
    /// The longest time for a handshake.
    pub handshake_timeout: Duration,
    /// Most handshakes at a time, over all workers.
    pub max_handshakes: usize,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// 1.2, of 2008.
    Tls12,
    /// 1.3, of 2018.
    Tls13,
}

/// The TLS of a listener, ready to be spoken.
#[derive(Debug)]
pub struct Server {
    /// For each handshake.
    pub config: Arc<ServerConfig>,
    /// The longest time for one.
    pub handshake_timeout: Duration,
    /// A permit for each.
    pub handshakes: Semaphore,
    /// Whether clients are known by their certificates.
    pub knows_clients: bool,
    /// What an authority is answered that asks by TLS-ALPN-01, if it may.
    pub challenges: Option<Arc<Challenges>>,
}

impl Server {
    /// Speaks TLS as `settings` say, and offers `protocols`, the best first. `secret` protects
    /// session tickets, `listener` is whose they are. `challenges` are those of all listeners.
    pub fn new(
        settings: &ServerSettings,
        listener: &str,
        protocols: &[&[u8]],
        secret: &[u8; 32],
        challenges: &Arc<Challenges>,
    ) -> Self {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(settings.min_version))
            .expect("the provider has suites for both versions");
        let builder = match &settings.client_auth {
            Some(auth) => builder.with_client_cert_verifier(Arc::clone(&auth.verifier)),
            None => builder.with_no_client_auth(),
        };
        let certificates = Certificates::new(&settings.certificates);
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if settings.tickets {
            let clients = client_auth_purpose(settings.client_auth.as_ref());
            config.ticketer = Arc::new(Tickets::new(secret, &[listener.as_bytes(), &clients]));
        } else {
            config.send_tls13_tickets = 0;
        }
        Self {
            config: Arc::new(config),
            handshake_timeout: settings.handshake_timeout,
            handshakes: Semaphore::new(settings.max_handshakes),
            knows_clients: settings.client_auth.is_some(),
            challenges: settings
                .acme
                .as_ref()
                .filter(|acme| acme.challenge == ChallengeKind::TlsAlpn01)
                .map(|_| Arc::clone(challenges)),
        }
    }
}

/// A ticket from before the authorities were changed is not taken.
fn client_auth_purpose(auth: Option<&ClientAuth>) -> Vec<u8> {
    let Some(auth) = auth else {
        return Vec::new();
    };
    let mode = match auth.mode {
        ClientAuthMode::Require => b'!',
        ClientAuthMode::Request => b'?',
    };
    [&auth.authorities[..], &[mode]].concat()
}

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] =
        [&rustls::version::TLS13, &rustls::version::TLS12];
    match min {
        MinVersion::Tls12 => &BOTH,
        MinVersion::Tls13 => &BOTH[..1],
    }
}

/// Which certificate a client gets: one for exactly the host that it asks for, else one for all
/// hosts of the domain, else the first. Of several, the first whose key the client can check.
#[derive(Debug)]
struct Certificates {
    by_host: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    by_domain: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn new(certificates: &[Certificate]) -> Self {
        let (mut by_host, mut by_domain) = (HashMap::new(), HashMap::new());
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name): (&mut HashMap<Box<str>, Vec<_>>, _) = match name.strip_prefix("*.")
                {
                    Some(domain) => (&mut by_domain, domain),
                    None => (&mut by_host, &**name),
                };
                let known = map.entry(name.into()).or_default();
                known.push(Arc::clone(&certificate.key));
            }
        }
        let first = certificates.first();
        Self {
            by_host,
            by_domain,
            // With others of the same names, for keys of another kind.
            default: certificates
                .iter()
                .filter(|other| first.is_some_and(|first| first.names == other.names))
                .map(|certificate| Arc::clone(&certificate.key))
                .collect(),
        }
    }

    fn of_host(&self, host: &str) -> &[Arc<CertifiedKey>] {
        let by_domain = || {
            let (_, domain) = host.split_once('.')?;
            self.by_domain.get(domain)
        };
        let known = self.by_host.get(host).or_else(by_domain);
        known.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = match hello.server_name() {
            Some(host) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.of_host(&host.to_ascii_lowercase())
            }
            Some(host) => self.of_host(host),
            None => &self.default,
        };
        let schemes = hello.signature_schemes();
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let best = candidates.iter().find(usable);
        best.or_else(|| candidates.first()).map(Arc::clone)
    }
}
