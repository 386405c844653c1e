//! Certificates that are made for a test, a Weir that has them in files, and clients that trust
//! their authority.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Connection, Lb};

/// An authority, which clients or Weir trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, in PEM.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Issued {
    /// What a server accepts connections with that has it.
    pub fn acceptor(&self) -> TlsAcceptor {
        let chain = vec![CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A certificate that a server has made for itself, as `openssl req -x509` does: marked as that
    /// of an authority.
    pub fn by_itself(host: &str, valid_until: i32) -> Self {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(valid_until, 1, 1);
        let key = KeyPair::generate().unwrap();
        Self {
            cert: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for these hosts.
    pub fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, |_| {})
    }

    pub fn issue_with(
        &self,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A folder with a configuration and its certificates.
pub struct Site {
    folder: TempDir,
    pub authority: Authority,
}

impl Site {
    pub fn new() -> Self {
        super::keep_access_log();
        Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new("Test Root"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn put(&self, name: &str, issued: &Issued) {
        self.write(&format!("{name}.crt"), &issued.cert);
        self.write(&format!("{name}.key"), &issued.key);
    }

    /// Issues and writes a certificate.
    pub fn certify(&self, name: &str, hosts: &[&str]) {
        self.put(name, &self.authority.issue(hosts));
    }

    /// Writes the configuration: one listener with these certificates, in front of a target.
    pub fn configure(
        &self,
        certificates: &[&str],
        target: SocketAddr,
        (top, listener, tls, group): (&str, &str, &str, &str),
    ) -> PathBuf {
        let mut list = String::new();
        for name in certificates {
            write!(list, "{{ cert = \"{name}.crt\", key = \"{name}.key\" }}, ").unwrap();
        }
        let text = format!(
            r#"
            workers = 1
            access_log = "all"
            {top}
            [shutdown]
            lame_duck = "0s"
            drain = "5s"
            [admin]
            bind = "127.0.0.1:0"
            [[listener]]
            bind = "127.0.0.1:0"
            forward = "app"
            tls = {{ certificates = [{list}], {tls} }}
            {listener}
            [target_group.app]
            targets = ["{target}"]
            health = false
            {group}
            "#
        );
        self.write("weir.toml", &text);
        self.path("weir.toml")
    }

    /// A Weir with one certificate for `site.example`, as a listener of this name.
    pub async fn start(&self, name: &str, target: SocketAddr, tls: &str) -> Lb {
        self.certify("site", &["site.example"]);
        let listener = format!("name = \"{name}\"");
        let file = self.configure(&["site"], target, ("", &listener, tls, ""));
        Lb::start_file(&file).await
    }

    /// A client that trusts the authority.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(&self.authority, rustls::ALL_VERSIONS, None)
    }
}

/// A client with its settings and the sessions that it may take up.
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    pub fn new(
        trusted: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> Self {
        Self::trusting(&trusted.pem, versions, own)
    }

    /// The same by the certificate of an authority, in PEM.
    pub fn trusting(
        root: &str,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        Self {
            config: Arc::new(config),
        }
    }

    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        let config = Arc::make_mut(&mut self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// A connection for this host.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.config));
        super::soon("a handshake", connector.connect(name, stream)).await
    }

    /// The same for HTTP.
    pub async fn http(&self, addr: SocketAddr, host: &str) -> Connection {
        let stream = self.connect(addr, host).await.unwrap();
        Connection::over(stream, host.to_owned()).await
    }
}
