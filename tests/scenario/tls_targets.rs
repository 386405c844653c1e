//! Groups with `tls`: by which certificates targets are known, what they are asked for, and what
//! becomes of those that are not known.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use weir::model::Health;

use crate::scenario::support::{Authority, Backend, Issued, Lb, Site};

/// A target that speaks TLS with a certificate of the site's authority, and what it was asked for.
async fn tls_target(site: &Site, host: &str) -> (Backend, Arc<Mutex<Vec<(String, bool)>>>) {
    tls_target_with(&site.authority.issue(&[host])).await
}

async fn tls_target_with(issued: &Issued) -> (Backend, Arc<Mutex<Vec<(String, bool)>>>) {
    let acceptor = issued.acceptor();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let backend = Backend::raw(move |stream| {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let session = stream.get_ref().1;
            let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            let name = session.server_name().unwrap_or_default().to_owned();
            seen.lock().unwrap().push((name, is_resumed));
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(response).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (backend, asked)
}

async fn in_front_of(site: &Site, target: SocketAddr, group: &str) -> Lb {
    site.write("root.crt", &site.authority.pem);
    let text = format!(
        "workers = 1\nadmin = {{ bind = \"127.0.0.1:0\" }}\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         forward = \"app\"\n[target_group.app]\ntargets = [\"{target}\"]\n{group}\n"
    );
    site.write("weir.toml", &text);
    Lb::start_file(&site.path("weir.toml")).await
}

#[tokio::test]
async fn targets_are_spoken_to_and_checked_in_tls() {
    let site = Site::new();
    let (target, asked) = tls_target(&site, "app.internal").await;
    let group = "tls = { ca = \"root.crt\", server_name = \"app.internal\" }\n\
                 health = { path = \"/\", interval = \"50ms\", timeout = \"40ms\" }";
    let lb = in_front_of(&site, target.addr(), group).await;
    lb.until_health("app", target.addr(), Health::Healthy).await;
    for _ in 0..3 {
        let reply = lb.get("/").await;
        assert_eq!((reply.status, reply.text()), (StatusCode::OK, "ok"));
    }
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|(name, _)| name == "app.internal"));
    assert!(asked.iter().any(|(_, is_resumed)| *is_resumed));
}

#[tokio::test]
async fn a_target_of_another_name_or_authority_gets_no_request() {
    let site = Site::new();
    let (target, _) = tls_target(&site, "app.internal").await;
    site.write("other.crt", &Authority::new("Others").pem);
    for (tls, expected) in [
        ("ca = \"root.crt\", server_name = \"other.internal\"", 502),
        ("ca = \"other.crt\", server_name = \"app.internal\"", 502),
        ("ca = \"root.crt\"", 502),
        ("insecure = true", 200),
    ] {
        let group = format!("tls = {{ {tls} }}\nhealth = false\nretry = false");
        let lb = in_front_of(&site, target.addr(), &group).await;
        assert_eq!(lb.get("/").await.status, expected, "{tls}");
    }
}

#[tokio::test]
async fn a_target_may_have_signed_its_certificate_itself() {
    let site = Site::new();
    for (host, valid_until, expected) in [
        ("app.internal", 4000, 200),
        ("other.internal", 4000, 502),
        ("app.internal", 2020, 502),
    ] {
        let own = Issued::by_itself("app.internal", valid_until);
        site.write("own.crt", &own.cert);
        let (target, _) = tls_target_with(&own).await;
        let tls = format!("ca = \"own.crt\", server_name = \"{host}\"");
        let group = format!("tls = {{ {tls} }}\nhealth = false\nretry = false");
        let lb = in_front_of(&site, target.addr(), &group).await;
        assert_eq!(lb.get("/").await.status, expected, "{host} {valid_until}");
    }
}

#[tokio::test]
async fn a_plain_target_of_a_tls_group_is_a_failure() {
    let target = Backend::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 hello\r\n").await;
        let _ = stream.read(&mut [0; 100]).await;
    })
    .await;
    let site = Site::new();
    let group = "tls = { insecure = true }\nhealth = false\nretry = false";
    let lb = in_front_of(&site, target.addr(), group).await;
    assert_eq!(lb.get("/").await.status, 502);
}

/// A target that serves those alone that show a certificate of the site's authority.
async fn demanding(site: &Site) -> Backend {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(site.authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let issued = site.authority.issue(&["app.internal"]);
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Backend::raw(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(response).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_target_that_demands_a_certificate_gets_the_one_of_the_group() {
    let site = Site::new();
    let target = demanding(&site).await;
    site.certify("weir", &["weir.internal"]);
    site.put(
        "stranger",
        &Authority::new("Others").issue(&["weir.internal"]),
    );
    for (own, expected) in [
        (", cert = \"weir.crt\", key = \"weir.key\"", 200),
        (", cert = \"stranger.crt\", key = \"stranger.key\"", 502),
        ("", 502),
    ] {
        let tls = format!("ca = \"root.crt\", server_name = \"app.internal\"{own}");
        let group = format!("tls = {{ {tls} }}\nhealth = false\nretry = false");
        let lb = in_front_of(&site, target.addr(), &group).await;
        let reply = lb.get("/").await;
        assert_eq!(reply.status, expected, "{own}");
        if expected == 502 {
            let reasons = ["target_closed", "connect_error"];
            let text = reply.text();
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
        }
    }
}
