//! Certificates that Weir orders from a real ACME server: Debian's package `pebble`.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use weir::admin::{AcmeStatus, Status};

use crate::scenario::support::{
    Authority, Connection, Lb, Logs, Pebble, PebbleOptions, Site, TlsClient, eventually,
    eventually_within,
};

/// A Weir with a listener of plain HTTP and one of TLS, and an authority that asks there.
struct Rig {
    site: Site,
    lb: Lb,
    pebble: Pebble,
}

impl Rig {
    /// Starts both, then reloads a configuration with `acme`, whose keys beside the authority's are
    /// `keys`. `None` without an authority: the test is skipped.
    async fn start(keys: &str, options: PebbleOptions) -> Option<Self> {
        let site = Site::new();
        site.certify("other", &["other.example"]);
        let file = write(&site, None, "");
        let lb = Lb::start_file(&file).await;
        let options = PebbleOptions {
            http: lb.addr_of("plain").port(),
            tls: lb.addr_of("tls").port(),
            ..options
        };
        let pebble = Pebble::start(&options).await?;
        site.write("pebble.crt", pebble.own_authority());
        let mut rig = Self { site, lb, pebble };
        rig.reload(keys).await;
        Some(rig)
    }

    /// Writes a configuration with these keys of `acme` and reloads it.
    async fn reload(&mut self, keys: &str) {
        let file = write(&self.site, Some(&self.pebble), keys);
        self.lb.reload_file(&file).await;
    }

    /// The daemon reads a file again that has changed; here the test does.
    async fn reread(&mut self) {
        self.lb.reload_file(&self.site.path("weir.toml")).await;
    }

    fn certificate(&self, domain: &str) -> PathBuf {
        self.folder().join(format!("{domain}.pem"))
    }

    fn folder(&self) -> PathBuf {
        folder(&self.site.path("state"))
    }

    async fn until_written(&self, domain: &str) {
        let what = format!("a certificate is ordered for {domain}");
        until(&what, || self.certificate(domain).exists()).await;
    }

    /// Waits until a certificate is ordered and serves it.
    async fn until_served(&mut self, domain: &str) {
        self.until_written(domain).await;
        self.reread().await;
    }

    /// The serial number of the certificate that a client gets which trusts the authority.
    async fn serial(&self, client: &TlsClient, domain: &str) -> Vec<u8> {
        let stream = client.connect(self.lb.addr_of("tls"), domain).await;
        let stream = stream.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// The only folder in a state directory.
fn folder(state: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(state).into_iter().flatten();
    entries
        .next()
        .map_or_else(|| state.join("none"), |entry| entry.unwrap().path())
}

/// Longer than an order takes on a busy machine.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = || ready(holds().then_some(()).ok_or_else(String::new));
    eventually_within(ORDER_TIMEOUT, what, held).await;
}

fn write(site: &Site, pebble: Option<&Pebble>, keys: &str) -> PathBuf {
    let tls = match pebble {
        None => "certificates = [{ cert = \"other.crt\", key = \"other.key\" }]".to_owned(),
        Some(pebble) => acme(&pebble.directory(), keys),
    };
    site.write(
        "weir.toml",
        &format!(
            r#"
        workers = 1
        [shutdown]
        lame_duck = "0s"
        drain = "5s"
        [admin]
        bind = "127.0.0.1:0"
        [[listener]]
        name = "plain"
        bind = "127.0.0.1:0"
        redirect = {{ protocol = "https" }}
        [[listener]]
        name = "tls"
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200, body = "secret" }}
        tls = {{ {tls} }}
        "#
        ),
    );
    site.path("weir.toml")
}

fn acme(directory: &str, keys: &str) -> String {
    format!(
        "acme = {{ directory = \"{directory}\", ca = \"pebble.crt\", state_dir = \"state\", {keys} }}"
    )
}

async fn status(lb: &Lb) -> Status {
    let reply = lb.admin("/api/v1/status").await;
    serde_json::from_slice(&reply.body).unwrap()
}

const ONE: &str = "domains = [\"site.example\"]";

#[tokio::test]
async fn a_certificate_is_ordered_by_http_and_served() {
    let Some(mut rig) = Rig::start(ONE, PebbleOptions::default()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    // Until then there is none, and no other is shown in its place.
    let refused = client.connect(rig.lb.addr_of("tls"), "site.example").await;
    assert!(refused.is_err());
    rig.until_served("site.example").await;
    let mut http = client.http(rig.lb.addr_of("tls"), "site.example").await;
    assert_eq!(http.get("/").await.text(), "secret");
}

#[tokio::test]
async fn a_certificate_is_ordered_by_a_handshake_which_others_do_not_notice() {
    let keys = format!("{ONE}, challenge = \"tls-alpn-01\"");
    let Some(mut rig) = Rig::start(&keys, PebbleOptions::default()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("site.example").await;
    // Also while a challenge is open.
    let client = client.with_alpn(&[b"h2", b"http/1.1"]);
    let stream = client
        .connect(rig.lb.addr_of("tls"), "site.example")
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let proved = rig
        .lb
        .metric("weir_tls_handshakes_total", &["result=\"acme_challenge\""]);
    assert!(proved.await >= 1);
    // The protocol of the challenge is spoken for challenges alone.
    let curious = rig.pebble.client().await.with_alpn(&[b"acme-tls/1"]);
    let refused = curious.connect(rig.lb.addr_of("tls"), "site.example").await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn each_host_gets_a_certificate_and_one_that_is_added_later_too() {
    let keys = "domains = [\"a.example\", \"B.example\"]";
    let Some(mut rig) = Rig::start(keys, PebbleOptions::default()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("a.example").await;
    rig.until_served("b.example").await;
    let first = rig.serial(&client, "a.example").await;
    assert_ne!(first, rig.serial(&client, "b.example").await);
    rig.reload("domains = [\"a.example\", \"c.example\"]").await;
    rig.until_served("c.example").await;
    rig.serial(&client, "c.example").await;
    assert_eq!(first, rig.serial(&client, "a.example").await);
    assert_eq!(rig.pebble.issued(), 3);
}

#[tokio::test]
async fn an_external_account_is_proved() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options = PebbleOptions {
        external_account: Some(("kid-1", key)),
        ..PebbleOptions::default()
    };
    let Some(mut rig) = Rig::start(ONE, options).await else {
        return;
    };
    until_failed(&rig.lb, "externalAccountRequired").await;
    rig.site.write("eab.key", &format!("{key}\n"));
    let eab = "eab = { key_id = \"kid-1\", hmac_key_file = \"eab.key\" }";
    let before = rig.folder();
    rig.reload(&format!("{ONE}, {eab}")).await;
    // Another account has another folder.
    let state = rig.site.path("state");
    let certificate = || {
        let folders = std::fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut others = folders.filter(|folder| *folder != before);
        others.any(|folder| folder.join("site.example.pem").exists())
    };
    until("a certificate is written", certificate).await;
    rig.reread().await;
    let client = rig.pebble.client().await;
    rig.serial(&client, "site.example").await;
}

/// Waits until the order of the only domain has failed with this text.
async fn until_failed(lb: &Lb, text: &str) -> AcmeStatus {
    eventually_within(
        ORDER_TIMEOUT,
        &format!("a failure with {text}"),
        async || {
            let status = status(lb).await;
            let mut listeners = status.listeners.iter();
            let listener = listeners.find(|listener| listener.name == "tls");
            let known = listener.unwrap().acme.first().cloned();
            let error = known.as_ref().and_then(|known| known.last_error.as_deref());
            let is_failed = error.is_some_and(|error| error.contains(text));
            let seen = format!("{known:?}");
            known.filter(|_| is_failed).ok_or(seen)
        },
    )
    .await
}

#[tokio::test]
async fn a_restart_takes_up_what_was_ordered_and_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut rig) = Rig::start(ONE, PebbleOptions::default()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("site.example").await;
    let before = rig.serial(&client, "site.example").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&rig.certificate("site.example")), 0o600);
    assert_eq!(mode(&rig.folder().join("account.json")), 0o600);
    assert_eq!(mode(&rig.folder()), 0o700);
    let challenges = std::fs::read_dir(rig.folder().join("challenges")).unwrap();
    assert_eq!(challenges.count(), 0, "answered challenges are removed");
    let next = Lb::start_file(&rig.site.path("weir.toml")).await;
    assert!(std::mem::replace(&mut rig.lb, next).shutdown().await);
    assert_eq!(rig.serial(&client, "site.example").await, before);
    let known = eventually("the domain is looked at", || async {
        let status = status(&rig.lb).await;
        let listener = status
            .listeners
            .iter()
            .find(|listener| listener.name == "tls");
        let acme = &listener.unwrap().acme;
        acme.first()
            .filter(|known| known.state == "served")
            .cloned()
            .ok_or(format!("{acme:?}"))
    })
    .await;
    assert_eq!((known.failures, known.last_error), (0, None));
    assert_eq!(rig.pebble.issued(), 1);
    let expiry = rig
        .lb
        .metric("weir_tls_certificate_expiry_seconds", &["site.example.pem"]);
    assert!(expiry.await > 1_700_000_000);
}

#[tokio::test]
async fn a_certificate_is_renewed_under_load_and_no_handshake_fails() {
    let options = PebbleOptions {
        validity: 30,
        ..PebbleOptions::default()
    };
    let Some(mut rig) = Rig::start(ONE, options).await else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("site.example").await;
    let first = rig.serial(&client, "site.example").await;
    let file = rig.certificate("site.example");
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let addr = rig.lb.addr_of("tls");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(async move {
        let mut served = 0_u64;
        while !*stopped.borrow() {
            let mut http = client.http(addr, "site.example").await;
            assert_eq!(http.get("/").await.text(), "secret");
            served += 1;
        }
        served
    });
    // Two thirds of thirty seconds, which authorities begin some time ago.
    until("the certificate is renewed", || {
        std::fs::metadata(&file).is_ok_and(|found| found.modified().unwrap() != written)
    })
    .await;
    rig.reread().await;
    stop.send(true).unwrap();
    let served = load.await.expect("no request has failed");
    assert!(served > 10, "{served}");
    // One that takes up no session.
    let client = rig.pebble.client().await;
    assert_ne!(rig.serial(&client, "site.example").await, first);
}

#[tokio::test]
async fn an_authority_that_is_away_is_asked_again_and_the_old_certificate_served() {
    let options = PebbleOptions {
        validity: 20,
        ..PebbleOptions::default()
    };
    let Some(mut rig) = Rig::start(ONE, options.clone()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("site.example").await;
    rig.pebble.stop();
    let logs = Logs::capture();
    let failed = until_failed(&rig.lb, "localhost").await;
    assert!(
        failed.failures >= 1 && failed.next_try > jiff::Timestamp::now(),
        "{failed:?}"
    );
    let lines = logs.lines_with(&[
        "no certificate was given",
        "is served meanwhile",
        "next try is in",
    ]);
    assert!(!lines.is_empty());
    let failures = rig
        .lb
        .metric("weir_acme_failures", &["domain=\"site.example\""]);
    assert!(failures.await >= 1);
    rig.serial(&client, "site.example").await;
    // It is back, has forgotten the account, and has another root.
    let file = rig.certificate("site.example");
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let options = PebbleOptions {
        http: rig.lb.addr_of("plain").port(),
        tls: rig.lb.addr_of("tls").port(),
        port: rig.pebble.port(),
        ..options
    };
    rig.pebble = Pebble::start(&options).await.expect("it was there before");
    rig.site.write("pebble.crt", rig.pebble.own_authority());
    rig.reread().await;
    until("another certificate is ordered", || {
        std::fs::metadata(&file).is_ok_and(|found| found.modified().unwrap() != written)
    })
    .await;
    rig.reread().await;
    let client = rig.pebble.client().await;
    rig.serial(&client, "site.example").await;
}

#[tokio::test]
async fn refused_nonces_are_replaced() {
    let options = PebbleOptions {
        refused_nonces: 20,
        ..PebbleOptions::default()
    };
    let Some(mut rig) = Rig::start(ONE, options).await else {
        return;
    };
    rig.until_served("site.example").await;
}

#[tokio::test]
async fn of_two_that_share_a_directory_one_orders_and_the_other_may_answer() {
    let Some(mut rig) = Rig::start("domains = [\"first.example\"]", PebbleOptions::default()).await
    else {
        return;
    };
    let client = rig.pebble.client().await;
    rig.until_served("first.example").await;
    // Two more, of which neither is where the authority asks.
    let keys = "domains = [\"first.example\", \"second.example\"]";
    let file = write(&rig.site, Some(&rig.pebble), keys);
    let mut others = [Lb::start_file(&file).await, Lb::start_file(&file).await];
    rig.until_written("second.example").await;
    for other in &mut others {
        other.reload_file(&file).await;
        for host in ["first.example", "second.example"] {
            client.connect(other.addr_of("tls"), host).await.unwrap();
        }
        eventually("both domains are served", || async {
            let status = status(other).await;
            let listener = status
                .listeners
                .iter()
                .find(|listener| listener.name == "tls");
            let acme = listener.unwrap().acme.clone();
            let all = acme.iter().all(|known| known.state == "served");
            (all && acme.len() == 2)
                .then_some(())
                .ok_or(format!("{acme:?}"))
        })
        .await;
    }
    assert_eq!(rig.pebble.issued(), 2);
}

#[tokio::test]
async fn a_host_that_is_elsewhere_keeps_no_other_from_its_certificate() {
    let keys = "domains = [\"gone.example\", \"site.example\"]";
    let Some(mut rig) = Rig::start(keys, PebbleOptions::default()).await else {
        return;
    };
    let client = rig.pebble.client().await;
    let failed = until_failed(
        &rig.lb,
        "the authority could not check that this is the host",
    )
    .await;
    assert_eq!(failed.domain, "gone.example");
    rig.until_served("site.example").await;
    rig.serial(&client, "site.example").await;
    // The others' certificate is none for it.
    assert!(
        client
            .connect(rig.lb.addr_of("tls"), "gone.example")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn other_paths_of_the_challenge_go_to_the_rules() {
    let Some(mut rig) = Rig::start(ONE, PebbleOptions::default()).await else {
        return;
    };
    rig.until_served("site.example").await;
    let mut plain = Connection::open(rig.lb.addr_of("plain")).await;
    let reply = plain.get("/.well-known/acme-challenge/unknown").await;
    assert_eq!(reply.status, 302);
}

/// A server that names all that `pebble` has, and that wants every certificate to be renewed at
/// once (RFC 9773), which this version of it does not do itself.
struct Hasty {
    directory: String,
    authority: Authority,
}

impl Hasty {
    async fn start(pebble: &Pebble) -> Self {
        let authority = Authority::new("Hasty");
        let acceptor = authority.issue(&["localhost"]).acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let real = pebble.directory().replace("/dir", "");
        let directory = serde_json::json!({
            "newNonce": format!("{real}/nonce-plz"),
            "newAccount": format!("{real}/sign-me-up"),
            "newOrder": format!("{real}/order-plz"),
            "renewalInfo": format!("{base}/renewal"),
        })
        .to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that gives up is no fault of the server.
                let _ = hasty_answer(&acceptor, stream, &directory).await;
            }
        });
        Self {
            directory: format!("{base}/dir"),
            authority,
        }
    }
}

async fn hasty_answer(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    directory: &str,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let window =
        r#"{"suggestedWindow":{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}}"#;
    let body = if head.starts_with(b"GET /renewal/") {
        window
    } else {
        directory
    };
    let response = format!(
        "HTTP/1.1 200 OK\r\nRetry-After: 3600\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_authority_says_so() {
    let options = PebbleOptions {
        // Two thirds of it are longer than this test waits, a tenth is not.
        validity: 150,
        ..PebbleOptions::default()
    };
    let Some(mut rig) = Rig::start(ONE, options).await else {
        return;
    };
    let hasty = Hasty::start(&rig.pebble).await;
    let both = format!("{}{}", rig.pebble.own_authority(), hasty.authority.pem);
    rig.site.write("pebble.crt", &both);
    let file = rig.site.path("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&rig.pebble.directory(), &hasty.directory);
    std::fs::write(&file, text.replace("\"state\"", "\"hasty\"")).unwrap();
    rig.reread().await;
    let certificate = || folder(&rig.site.path("hasty")).join("site.example.pem");
    until("a certificate is ordered", || certificate().exists()).await;
    let first = std::fs::read(certificate()).unwrap();
    until("it is renewed", || {
        std::fs::read(certificate()).unwrap() != first
    })
    .await;
}
