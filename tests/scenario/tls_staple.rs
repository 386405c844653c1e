//! The answers of OCSP responders that come with certificates.

use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::scenario::support::{Backend, Lb, Site, soon};

/// Trusts everything, and keeps the answers about certificates that come with them.
#[derive(Debug)]
struct Stapled {
    answers: Mutex<Vec<Vec<u8>>>,
    schemes: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.answers.lock().unwrap().push(ocsp.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

/// What a client of this version gets with the certificate of a host.
async fn staple(lb: &Lb, version: &'static SupportedProtocolVersion, host: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Stapled {
        answers: Mutex::default(),
        schemes: provider.signature_verification_algorithms,
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let stream = TcpStream::connect(lb.addr()).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon("a handshake", connector.connect(name, stream))
        .await
        .unwrap();
    verifier.answers.lock().unwrap().remove(0)
}

#[tokio::test]
async fn the_answer_of_an_ocsp_responder_comes_with_its_certificate() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("stapled", &["stapled.example"]);
    site.certify("plain", &["plain.example"]);
    // It is the responder's business what it says; clients check it.
    site.write("stapled.ocsp", "first");
    let file = site.configure(&["plain"], target.addr(), ("", "", "", ""));
    let text = std::fs::read_to_string(&file).unwrap();
    let entry = "{ cert = \"stapled.crt\", key = \"stapled.key\", ocsp = \"stapled.ocsp\" }, ";
    let list = format!("certificates = [{entry}");
    site.write("weir.toml", &text.replace("certificates = [", &list));
    let mut lb = Lb::start_file(&file).await;
    for version in [&TLS12, &TLS13] {
        assert_eq!(staple(&lb, version, "stapled.example").await, b"first");
        assert_eq!(staple(&lb, version, "plain.example").await, b"");
    }
    site.write("stapled.ocsp", "second");
    lb.reload_file(&file).await;
    assert_eq!(staple(&lb, &TLS13, "stapled.example").await, b"second");
}
