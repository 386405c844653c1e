//! Listeners with `tls`: which certificate a client gets, what targets and the log are told, what
//! becomes of handshakes that fail, and of bytes, ends and truncations on encrypted connections.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::scenario::support::{
    Authority, Backend, Issued, Lb, Reply, Site, TlsClient, eventually, raw, soon, until_logged,
};

fn field<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    let lines = reply.text().lines();
    let mut values = lines.filter_map(|line| line.split_once(": "));
    values
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The hosts of the certificate that a client gets.
async fn hosts(client: &TlsClient, addr: SocketAddr, host: &str) -> Result<(), String> {
    let connected = client.connect(addr, host).await;
    connected.map(|_| ()).map_err(|error| error.to_string())
}

fn kind(stream: &TlsStream<TcpStream>) -> Option<HandshakeKind> {
    stream.get_ref().1.handshake_kind()
}

/// Sends a request and reads to the end of its response, which is short, so that tickets have come.
async fn one_request(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    soon("a response", stream.read_to_string(&mut response))
        .await
        .unwrap();
    response
}

async fn handshakes(lb: &Lb, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    lb.metric("weir_tls_handshakes_total", &[&label]).await
}

async fn until_handshakes(lb: &Lb, result: &str, count: u64) {
    eventually("handshakes are counted", || async {
        let now = handshakes(lb, result).await;
        (now >= count)
            .then_some(())
            .ok_or(format!("{now} of {count}"))
    })
    .await;
}

async fn until_idle(lb: &Lb) {
    eventually("no connection is left", || async {
        let left = lb.connections();
        (left == 0).then_some(()).ok_or(format!("{left}"))
    })
    .await;
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_its_host_of_its_domain_or_the_first() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("first", &["first.example"]);
    site.certify("exact", &["a.wild.example"]);
    site.certify("wild", &["*.wild.example"]);
    let file = site.configure(&["first", "exact", "wild"], target.addr(), ("", "", "", ""));
    let lb = Lb::start_file(&file).await;
    let client = site.client();
    for host in [
        "first.example",
        "a.wild.example",
        "b.wild.example",
        "FIRST.example",
    ] {
        assert_eq!(hosts(&client, lb.addr(), host).await, Ok(()), "{host}");
    }
    for host in ["b.a.wild.example", "wild.example", "other.example"] {
        let refused = hosts(&client, lb.addr(), host).await.unwrap_err();
        assert!(refused.contains("first.example"), "{host}: {refused}");
    }
    // The client has refused, and says so.
    until_handshakes(&lb, "client_alert", 3).await;
}

#[tokio::test]
async fn targets_cookies_and_the_log_know_that_a_client_came_by_https() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("site", &["site.example"]);
    let listener = "name = \"tls-facts\"\n\
        rule = [{ priority = 1, when = { path = \"/away\" }, then = { redirect = { path = \"/there\" } } }]";
    let sticky = "sticky = { type = \"lb_cookie\" }";
    let file = site.configure(&["site"], target.addr(), ("", listener, "", sticky));
    let lb = Lb::start_file(&file).await;
    for (version, name, cipher) in [
        (&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_"),
        (&TLS13, "TLSv1.3", "TLS_"),
    ] {
        let client = TlsClient::new(&site.authority, &[version], None);
        let client = client.with_alpn(&[b"http/1.1"]);
        let mut http = client.http(lb.addr(), "site.example").await;
        let reply = http.get("/").await;
        assert_eq!(field(&reply, "x-forwarded-proto"), Some("https"));
        assert_eq!(
            field(&reply, "x-forwarded-port"),
            Some(&*lb.addr().port().to_string())
        );
        assert!(reply.header("set-cookie").unwrap().contains("; Secure"));
        let away = http.get("/away").await;
        let location = format!("https://site.example:{}/there", lb.addr().port());
        assert_eq!(away.header("location"), Some(&*location));
        let count = if name == "TLSv1.2" { 2 } else { 4 };
        let entries = until_logged("tls-facts", count).await;
        let entry = entries.last().unwrap();
        assert_eq!(entry.get("tls"), name);
        assert!(entry.get("cipher").starts_with(cipher), "{entry:?}");
    }
}

#[tokio::test]
async fn an_older_version_and_an_unknown_protocol_are_refused() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site
        .start("tls-old", target.addr(), "min_version = \"1.3\"")
        .await;
    let old = TlsClient::new(&site.authority, &[&TLS12], None);
    assert!(old.connect(lb.addr(), "site.example").await.is_err());
    until_handshakes(&lb, "incompatible", 1).await;
    let other = site.client().with_alpn(&[b"smtp"]);
    assert!(other.connect(lb.addr(), "site.example").await.is_err());
    until_handshakes(&lb, "no_application_protocol", 1).await;
    let any = site.client().with_alpn(&[b"h3", b"http/1.1"]);
    let stream = any.connect(lb.addr(), "site.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

const KEY: &str =
    "cookie_key = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"";

#[tokio::test]
async fn sessions_are_taken_up_with_every_weir_that_has_the_key() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("site", &["site.example"]);
    let start = async |name: &str, top: &str, tls: &str| {
        let listener = format!("name = \"{name}\"");
        let file = site.configure(&["site"], target.addr(), (top, &listener, tls, ""));
        Lb::start_file(&file).await
    };
    let first = start("tickets", KEY, "").await;
    let same = start("tickets", KEY, "").await;
    let other_listener = start("other", KEY, "").await;
    let other_key = start("tickets", "", "").await;
    let without = start("tickets", KEY, "tickets = false").await;
    for version in [&TLS12, &TLS13] {
        let connect = async |client: &TlsClient, lb: &Lb| {
            let mut stream = client.connect(lb.addr(), "site.example").await.unwrap();
            assert!(one_request(&mut stream).await.starts_with("HTTP/1.1 200"));
            kind(&stream).unwrap()
        };
        for (lb, expected) in [
            (&first, HandshakeKind::Resumed),
            (&same, HandshakeKind::Resumed),
            (&other_listener, HandshakeKind::Full),
            (&other_key, HandshakeKind::Full),
            (&without, HandshakeKind::Full),
        ] {
            let client = TlsClient::new(&site.authority, &[version], None);
            assert_eq!(connect(&client, &first).await, HandshakeKind::Full);
            assert_eq!(connect(&client, lb).await, expected, "{version:?}");
        }
    }
    assert_eq!(handshakes(&same, "resumed").await, 2);
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_lost_request() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let mut lb = site.start("tls-swap", target.addr(), "").await;
    let client = site.client();
    let mut kept = client.http(lb.addr(), "site.example").await;
    assert_eq!(kept.get("/").await.status, StatusCode::OK);
    site.certify("site", &["next.example"]);
    let diff = lb.reload_file(&site.path("weir.toml")).await;
    assert_eq!(diff.changed, ["listener tls-swap"]);
    assert_eq!(kept.get("/").await.status, StatusCode::OK);
    // A client without an earlier session to take up.
    let client = site.client();
    assert!(hosts(&client, lb.addr(), "site.example").await.is_err());
    let mut next = client.http(lb.addr(), "next.example").await;
    assert_eq!(next.get("/").await.status, StatusCode::OK);
    assert!(!kept.is_closed());
    let listed = &lb.status().await.listeners[0].certificates[0];
    assert_eq!(listed.names, ["next.example"]);
    let expiry = lb
        .metric("weir_tls_certificate_expiry_seconds", &["site.crt"])
        .await;
    assert!(expiry > 1_700_000_000);
}

#[tokio::test]
async fn clients_are_known_by_their_certificates_and_cannot_forge_them() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let clients = Authority::new("Clients");
    site.write("clients.crt", &clients.pem);
    let own = clients.issue_with(&[], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        let names = &mut params.distinguished_name;
        names.push(rcgen::DnType::OrganizationName, "Ex, Ample");
        names.push(rcgen::DnType::CommonName, "alice");
        params.serial_number = Some(vec![0x0a, 0xff].into());
    });
    let stranger = Authority::new("Strangers").issue(&[]);
    let forged = |request: http::request::Builder| {
        request
            .header("X-Amzn-Mtls-Clientcert-Subject", "CN=root")
            .header("x_amzn_mtls_clientcert_leaf", "forged")
    };
    for (mode, without) in [("require", false), ("request", true)] {
        let tls = format!("client_auth = {{ ca = \"clients.crt\", mode = \"{mode}\" }}");
        let lb = site
            .start(&format!("tls-{mode}"), target.addr(), &tls)
            .await;
        for version in [&TLS12, &TLS13] {
            let client = |own| TlsClient::new(&site.authority, &[version], own);
            let mut http = client(Some(&own)).http(lb.addr(), "site.example").await;
            let request = forged(Request::get("/")).body(Full::default()).unwrap();
            let reply = http.send(request).await.unwrap();
            let of = |name: &str| field(&reply, &format!("x-amzn-mtls-clientcert-{name}"));
            assert_eq!(of("subject"), Some("CN=alice,O=Ex\\, Ample"));
            assert_eq!(of("issuer"), Some("CN=Clients"));
            assert_eq!(of("serial-number"), Some("0AFF"));
            assert!(
                of("validity").unwrap().starts_with("NotBefore=19"),
                "{:?}",
                of("validity")
            );
            assert!(
                of("leaf")
                    .unwrap()
                    .starts_with("-----BEGIN%20CERTIFICATE-----%0A")
            );
            assert!(!reply.text().contains("forged") && !reply.text().contains("root"));
            assert!(is_refused(&client(Some(&stranger)), &lb).await);
            assert_eq!(is_refused(&client(None), &lb).await, !without);
        }
        if without {
            let mut http = site.client().http(lb.addr(), "site.example").await;
            let request = forged(Request::get("/")).body(Full::default()).unwrap();
            assert!(!http.send(request).await.unwrap().text().contains("mtls"));
        }
        until_handshakes(&lb, "bad_client_certificate", 2).await;
    }
}

#[tokio::test]
async fn a_client_may_have_signed_its_certificate_itself() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let own = |valid_until| Issued::by_itself("alice", valid_until);
    let (valid, expired, unlisted) = (own(4000), own(2020), own(4000));
    site.write("clients.crt", &format!("{}{}", valid.cert, expired.cert));
    let tls = "client_auth = { ca = \"clients.crt\", mode = \"require\" }";
    let lb = site.start("tls-self-signed", target.addr(), tls).await;
    for (own, is_known) in [(&valid, true), (&expired, false), (&unlisted, false)] {
        let client = TlsClient::new(&site.authority, &[&TLS12, &TLS13], Some(own));
        assert_eq!(is_refused(&client, &lb).await, !is_known);
    }
}

/// In TLS 1.3 a client learns that it is refused from its first read.
async fn is_refused(client: &TlsClient, lb: &Lb) -> bool {
    let Ok(mut stream) = client.connect(lb.addr(), "site.example").await else {
        return true;
    };
    let request = b"GET / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n";
    let sent = stream.write_all(request).await;
    let mut response = Vec::new();
    sent.is_err() || stream.read_to_end(&mut response).await.is_err()
}

#[tokio::test]
async fn plain_http_to_a_tls_port_gets_an_answer_that_says_so() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site.start("tls-plain", target.addr(), "").await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(10_000)
    );
    let response = raw(lb.addr(), request.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(
        response.contains("plain_http") && response.contains("https://"),
        "{response}"
    );
    let entry = until_logged("tls-plain", 1).await.remove(0);
    assert_eq!(entry.status_and_reason(), ("400", "plain_http"));
    assert_eq!(handshakes(&lb, "plain_http").await, 1);
    until_idle(&lb).await;
}

#[tokio::test]
async fn slow_huge_and_broken_hellos_end_and_harm_no_other_client() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site
        .start("tls-hellos", target.addr(), "handshake_timeout = \"500ms\"")
        .await;
    let ends = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(lb.addr()).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut rest)).await;
        rest
    };
    // A record of a hello that does not come.
    assert_eq!(ends(&[22, 3, 1, 2, 0, 1]).await, b"");
    assert_eq!(ends(b"").await, b"");
    until_handshakes(&lb, "timeout", 2).await;
    // A hello of sixteen megabytes, in records of sixteen kilobytes.
    let mut huge = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    huge.resize(5 + 0x4000, 0);
    let record = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    for _ in 0..64 {
        huge.extend_from_slice(&record);
    }
    let alert = ends(&huge).await;
    assert!(alert.is_empty() || alert[0] == 21, "{alert:?}");
    let alert = ends(&[22, 3, 1, 0, 4, 2, 0, 0, 0]).await;
    assert!(alert.is_empty() || alert[0] == 21, "{alert:?}");
    until_handshakes(&lb, "malformed", 2).await;
    let mut http = site.client().http(lb.addr(), "site.example").await;
    assert_eq!(http.get("/").await.status, StatusCode::OK);
    drop(http);
    until_idle(&lb).await;
}

#[tokio::test]
async fn handshakes_that_are_given_up_leave_nothing_behind() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site
        .start("tls-aborted", target.addr(), "max_handshakes = 4")
        .await;
    for round in 0..10 {
        let streams = (0..30).map(|_| TcpStream::connect(lb.addr()));
        let streams = futures_util::future::join_all(streams).await;
        for stream in streams {
            let mut stream = stream.unwrap();
            if round % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
            }
        }
    }
    let mut http = site.client().http(lb.addr(), "site.example").await;
    assert_eq!(http.get("/").await.status, StatusCode::OK);
    until_handshakes(&lb, "client_closed", 300).await;
    drop(http);
    until_idle(&lb).await;
}

#[tokio::test]
async fn clients_whose_hello_is_not_whole_take_no_turn_of_others() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let terms = "max_handshakes = 1, handshake_timeout = \"60s\"";
    let lb = site.start("tls-turns", target.addr(), terms).await;
    let mut open = Vec::new();
    for begun in [
        &[][..],
        &[22],
        &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        &[22, 3, 1, 0, 1, 1],
    ] {
        let mut stream = TcpStream::connect(lb.addr()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        open.push(stream);
    }
    for _ in 0..3 {
        let mut http = soon("a turn", site.client().http(lb.addr(), "site.example")).await;
        assert_eq!(http.get("/").await.status, StatusCode::OK);
    }
    drop(open);
    until_handshakes(&lb, "client_closed", 4).await;
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions_to_a_slow_reader() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let lb = site.start("tls-large", target.addr(), "").await;
    let body: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::new(&site.authority, &[version], None);
        let mut stream = client.connect(lb.addr(), "site.example").await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        soon("the upload", stream.write_all(&body)).await.unwrap();
        stream.flush().await.unwrap();
        let mut response = Vec::new();
        let mut part = vec![0; 1000];
        loop {
            let count = soon("a part", stream.read(&mut part)).await.unwrap();
            if count == 0 {
                break;
            }
            response.extend_from_slice(&part[..count]);
            // Others run between two parts, so that the response waits in Weir.
            tokio::task::yield_now().await;
        }
        assert!(response.ends_with(&body), "{} bytes came", response.len());
    }
    until_idle(&lb).await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_whole_request() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let lb = site.start("tls-cut", target.addr(), "").await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    stream.write_all(head).await.unwrap();
    stream.flush().await.unwrap();
    // The end of the connection without that of TLS: every host on the way can make it.
    let (mut socket, _) = stream.into_inner();
    socket.shutdown().await.unwrap();
    let entry = until_logged("tls-cut", 1).await.remove(0);
    assert_ne!(entry.get("reason"), "", "{entry:?}");
    assert_ne!(entry.get("status"), "200", "{entry:?}");
    until_idle(&lb).await;
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_ends_with_a_close_notify() {
    let target = Backend::raw(|mut stream| async move {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end").await;
    })
    .await;
    let site = Site::new();
    let lb = site.start("tls-close", target.addr(), "").await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.0\r\nHost: site.example\r\n\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    let read = soon("the end", stream.read_to_string(&mut response)).await;
    assert!(read.is_ok(), "{read:?}");
    assert!(response.ends_with("to the end"), "{response}");
}

#[tokio::test]
async fn an_idle_connection_that_weir_closes_ends_with_a_close_notify() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("site", &["site.example"]);
    let listener = "client = { idle_timeout = \"100ms\" }";
    let file = site.configure(&["site"], target.addr(), ("", listener, "", ""));
    let lb = Lb::start_file(&file).await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    let mut rest = Vec::new();
    assert_eq!(
        soon("the end", stream.read_to_end(&mut rest))
            .await
            .unwrap(),
        0
    );
}

/// Switches protocols and sends back what it gets.
async fn upgrading() -> Backend {
    Backend::raw(|mut stream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        let _ = stream.write_all(switched).await;
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

async fn there_and_back(stream: TlsStream<TcpStream>, bytes: Vec<u8>) {
    let (mut from, mut to) = tokio::io::split(stream);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
        to
    });
    let mut received = Vec::new();
    soon("the bytes", from.read_to_end(&mut received))
        .await
        .unwrap();
    assert!(received == bytes, "{} bytes came back", received.len());
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn upgraded_connections_carry_bytes_both_ways_and_ends() {
    let (site, target) = (Site::new(), upgrading().await);
    let lb = site.start("tls-upgrade", target.addr(), "").await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    let request =
        b"GET / HTTP/1.1\r\nHost: site.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    there_and_back(stream, bytes).await;
    until_idle(&lb).await;
}

#[tokio::test]
async fn tls_ends_before_a_group_of_protocol_tcp() {
    let target = Backend::echoing_bytes().await;
    let site = Site::new();
    site.certify("site", &["site.example"]);
    let tcp = "protocol = \"tcp\"";
    let listener = format!("{tcp}\nname = \"tls-tcp\"");
    let file = site.configure(&["site"], target.addr(), ("", &listener, "", tcp));
    let lb = Lb::start_file(&file).await;
    let client = site.client().with_alpn(&[b"anything"]);
    let stream = client.connect(lb.addr(), "site.example").await.unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    there_and_back(stream, bytes).await;
    let entry = until_logged("tls-tcp", 1).await.remove(0);
    assert_eq!(entry.get("reason"), "client_closed");
    assert_eq!(entry.get("tls"), "TLSv1.3");
    // Plain bytes get no answer of HTTP.
    assert!(!raw(lb.addr(), b"EHLO\r\n").await.contains("HTTP"));
    until_idle(&lb).await;
}

#[tokio::test]
async fn a_client_that_is_cut_off_resets_the_target_of_a_tcp_listener() {
    let ended = Arc::new(tokio::sync::Mutex::new(None));
    let target = {
        let ended = Arc::clone(&ended);
        Backend::raw(move |mut stream| {
            let ended = Arc::clone(&ended);
            async move {
                let mut bytes = Vec::new();
                let read = stream.read_to_end(&mut bytes).await;
                *ended.lock().await = Some(read.map_err(|error| error.kind()));
            }
        })
        .await
    };
    let site = Site::new();
    site.certify("site", &["site.example"]);
    let tcp = "protocol = \"tcp\"";
    let file = site.configure(&["site"], target.addr(), ("", tcp, "", tcp));
    let lb = Lb::start_file(&file).await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    stream.write_all(b"half").await.unwrap();
    stream.flush().await.unwrap();
    let (socket, _) = stream.into_inner();
    drop(socket);
    eventually("the target sees a reset", || async {
        let seen = *ended.lock().await;
        match seen {
            Some(Err(ErrorKind::ConnectionReset)) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_a_request_end_and_closes_the_connection() {
    let mut target = Backend::manual().await;
    let site = Site::new();
    let lb = site.start("tls-drain", target.addr(), "").await;
    let mut http = site.client().http(lb.addr(), "site.example").await;
    let request = tokio::spawn(async move { http.get("/slow").await });
    let held = target.next_request().await;
    let shutdown = tokio::spawn(lb.shutdown());
    held.respond("late");
    let reply = request.await.unwrap();
    assert_eq!(reply.text(), "late");
    assert!(shutdown.await.unwrap());
}

#[tokio::test]
async fn curl_and_openssl_agree() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site.start("tls-curl", target.addr(), "").await;
    site.write("root.crt", &site.authority.pem);
    let port = lb.addr().port();
    for version in ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"] {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "--max-time", "10", "--cacert"]);
        command.arg(site.path("root.crt")).args(version.split(' '));
        command.args(["--resolve", &format!("site.example:{port}:127.0.0.1")]);
        command.arg(format!("https://site.example:{port}/"));
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => panic!("{error}"),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("x-forwarded-proto: https"),
            "{version}: {text}{problem}"
        );
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let lb = site.start("tls-keep", target.addr(), "").await;
    let mut http = site.client().http(lb.addr(), "site.example").await;
    for size in [0, 1, 100, 5000, 20_000, 100_000] {
        let body = Bytes::from(vec![b'x'; size]);
        let request = Request::post("/").body(Full::new(body.clone())).unwrap();
        let reply = http.send(request).await.unwrap();
        assert!(reply.body == body, "{size}");
    }
    assert_eq!(handshakes(&lb, "full").await, 1);
    drop(http);
    until_idle(&lb).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_more_than_its_bounds() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let listener = "client = { body_timeout = \"300ms\" }\nname = \"tls-stuck\"";
    site.certify("site", &["site.example"]);
    let file = site.configure(&["site"], target.addr(), ("", listener, "", ""));
    let lb = Lb::start_file(&file).await;
    let mut stream = site
        .client()
        .connect(lb.addr(), "site.example")
        .await
        .unwrap();
    let body = vec![b'x'; 16_000_000];
    let head = format!(
        "POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The response is never read, so Weir gives the client up.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.write_all(&body)).await;
    let entry = until_logged("tls-stuck", 1).await.remove(0);
    assert_ne!(entry.get("reason"), "", "{entry:?}");
    until_idle(&lb).await;
}

#[tokio::test]
async fn keys_are_updated_in_both_directions() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site.start("tls-keys", target.addr(), "").await;
    let client = TlsClient::new(&site.authority, &[&TLS13], None);
    let mut stream = client.connect(lb.addr(), "site.example").await.unwrap();
    for _ in 0..20 {
        stream.get_mut().1.refresh_traffic_keys().unwrap();
        stream
            .write_all(b"HEAD / HTTP/1.1\r\nHost: site.example\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a byte", stream.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
    }
}
