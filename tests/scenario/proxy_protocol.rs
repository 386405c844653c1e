//! The PROXY protocol: what a listener believes of it and refuses, and what targets get.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::model::{Health, ProxyVersion};
use weir::net::proxy_protocol::{encode, parse};

use crate::scenario::support::{Backend, Lb, Recorder, Rig, Wire, soon};

const REQUIRED: &str =
    "proxy_protocol = \"required\"\nforwarded = { trusted_proxies = [\"127.0.0.1\"] }";
const OPTIONAL: &str =
    "proxy_protocol = \"optional\"\nforwarded = { trusted_proxies = [\"127.0.0.1\"] }";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn addresses() -> (SocketAddr, SocketAddr) {
    let source = SocketAddr::from(([203, 0, 113, 7], 4711));
    (source, ([203, 0, 113, 1], 443).into())
}

fn header(version: ProxyVersion) -> Vec<u8> {
    encode(version, Some(addresses()), None)
}

/// A header of version 2 that tells of the client's TLS, and has an id.
fn with_tls() -> Vec<u8> {
    let mut bytes = encode(ProxyVersion::V2, Some(addresses()), Some(b"conn-7"));
    let tls = [&[1, 0, 0, 0, 0, 0x21, 0, 7][..], b"TLSv1.3"].concat();
    bytes.extend([0x20, 0, tls.len() as u8]);
    bytes.extend(tls);
    let length = (bytes.len() - 16) as u16;
    bytes[14..16].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[tokio::test]
async fn the_client_is_the_one_that_the_header_names() {
    for (listener, version) in [
        (REQUIRED, ProxyVersion::V1),
        (REQUIRED, ProxyVersion::V2),
        (OPTIONAL, ProxyVersion::V2),
    ] {
        let target = Recorder::start().await;
        let rig = Rig::with(&[target.addr()], listener, "").await;
        let mut wire = rig.wire(header(version)).await;
        for _ in 0..2 {
            wire.send(GET).await;
            assert_eq!(wire.response().await.status(), 200);
        }
        let requests = target.requests();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert_eq!(request.fields("x-forwarded-for"), ["203.0.113.7"]);
            assert_eq!(request.fields("x-forwarded-port"), ["443"]);
            assert_eq!(request.fields("x-forwarded-proto"), ["http"]);
        }
        assert_eq!(rig.logged(2).await[0].get("client"), "203.0.113.7");
    }
}

#[tokio::test]
async fn a_header_that_comes_in_pieces_is_read_like_a_whole_one() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], REQUIRED, "").await;
    for bytes in [header(ProxyVersion::V1), with_tls()] {
        let mut wire = rig.wire("").await;
        for byte in [&bytes[..], GET].concat() {
            wire.send([byte]).await;
        }
        assert_eq!(wire.response().await.status(), 200);
    }
    let requests = target.requests();
    for request in &requests {
        assert_eq!(request.fields("x-forwarded-for"), ["203.0.113.7"]);
    }
    assert_eq!(
        requests[1].fields("x-forwarded-proto"),
        ["https"],
        "the header tells of TLS"
    );
    let entry = &rig.logged(2).await[1];
    assert_eq!(entry.get("proxy_id"), "conn-7");
    assert_eq!(entry.get("proxy_tls"), "TLSv1.3");
}

#[tokio::test]
async fn a_proxy_that_asks_for_itself_is_the_client() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], REQUIRED, "").await;
    let mut wire = rig.wire([b"PROXY UNKNOWN\r\n", GET].concat()).await;
    assert_eq!(wire.response().await.status(), 200);
    assert_eq!(rig.logged(1).await[0].get("client"), "127.0.0.1");
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_closed_and_recorded() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], REQUIRED, "").await;
    let broken = &with_tls()[..30];
    for bytes in [
        GET,
        b"PROXY TCP4 1 2 3 4\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
    ] {
        rig.wire(bytes).await.ends().await;
    }
    let mut half = rig.wire(broken).await;
    half.finish().await;
    half.ends().await;
    let entries = rig.logged(4).await;
    for entry in entries {
        assert_eq!(entry.get("reason"), "proxy_header", "{entry:?}");
    }
    assert_eq!(rig.failures("proxy_header").await, 4);
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for_for_ever() {
    let target = Recorder::start().await;
    let keys = format!("{REQUIRED}\nclient = {{ head_timeout = \"1s\" }}");
    let rig = Rig::with(&[target.addr()], &keys, "").await;
    rig.wire("PROXY TCP4").await.ends().await;
    rig.wire("").await.ends().await;
}

#[tokio::test]
async fn optional_serves_clients_without_a_header() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], OPTIONAL, "").await;
    let mut wire = rig.wire(GET).await;
    assert_eq!(wire.response().await.status(), 200);
    assert_eq!(
        target.requests()[0].fields("x-forwarded-for"),
        ["127.0.0.1"]
    );
    let mut wire = rig.wire("PROXY TCP4 1.1.1.1 junk\r\n").await;
    wire.ends().await;
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_is_believed() {
    let target = Recorder::start().await;
    let others = "forwarded = { trusted_proxies = [\"192.0.2.0/24\"] }";
    let required = format!("proxy_protocol = \"required\"\n{others}");
    let rig = Rig::with(&[target.addr()], &required, "").await;
    let forged = [&header(ProxyVersion::V1), GET].concat();
    // Reset perhaps before all of it is sent.
    let end = async {
        let mut stream = TcpStream::connect(rig.addr()).await?;
        stream.write_all(&forged).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    assert!(soon("the reset", end).await.is_err());
    let optional = format!("proxy_protocol = \"optional\"\n{others}");
    for listener in ["", &optional] {
        let rig = Rig::with(&[target.addr()], listener, "").await;
        let mut wire = rig.wire(&forged).await;
        assert_eq!(wire.response().await.status(), 400, "{listener}");
        let mut wire = rig.wire(GET).await;
        assert_eq!(wire.response().await.status(), 200, "{listener}");
    }
    assert_eq!(target.requests().len(), 2);
    for request in target.requests() {
        assert_eq!(request.fields("x-forwarded-for"), ["127.0.0.1"]);
    }
}

/// Two Weirs in a row, the second of which believes the first.
async fn chain(version: &str, protocol: &str, target: SocketAddr) -> (Rig, Rig) {
    let protocol = format!("protocol = \"{protocol}\"");
    let inner = Rig::with(&[target], &format!("{protocol}\n{REQUIRED}"), &protocol).await;
    let group = format!("{protocol}\nproxy_protocol = \"{version}\"");
    let outer = Rig::with(&[inner.addr()], &protocol, &group).await;
    (outer, inner)
}

#[tokio::test]
async fn targets_are_told_of_each_client_before_its_request() {
    for version in ["v1", "v2"] {
        let target = Recorder::start().await;
        let (outer, inner) = chain(version, "http1", target.addr()).await;
        let mut wires = Vec::new();
        for _ in 0..3 {
            let mut wire = outer.wire(GET).await;
            assert_eq!(wire.response().await.status(), 200);
            wire.send(GET).await;
            assert_eq!(wire.response().await.status(), 200);
            wires.push(wire);
        }
        let requests = target.requests();
        assert_eq!(requests.len(), 6);
        for entry in inner.logged(6).await {
            assert_eq!(entry.get("client"), "127.0.0.1");
            assert_eq!(entry.get("proxy_id").is_empty(), version == "v1");
        }
    }
}

#[tokio::test]
async fn a_tcp_connection_passes_its_client_on() {
    for version in ["v1", "v2"] {
        let target = Backend::raw(|mut stream| async move {
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
        })
        .await;
        let (outer, inner) = chain(version, "tcp", target.addr()).await;
        let mut wire = outer.wire("").await;
        assert_eq!(
            wire.take(11).await,
            b"220 hello\r\n",
            "the target speaks first"
        );
        drop(wire);
        let entry = inner.logged(1).await.remove(0);
        assert_eq!(entry.get("client"), "127.0.0.1");
    }
}

/// What a target that reads the header itself gets: the address and port of the client's socket.
#[tokio::test]
async fn the_header_has_the_addresses_of_the_clients_socket() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let target = Backend::raw(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut bytes = vec![0; 512];
            let count = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(count);
            sender.send(bytes).unwrap();
        }
    })
    .await;
    let group = "protocol = \"tcp\"\nproxy_protocol = \"v2\"";
    let rig = Rig::with(&[target.addr()], "protocol = \"tcp\"", group).await;
    let mut wire = Wire::open(rig.addr()).await;
    let source = wire.stream().local_addr().unwrap();
    let bytes = soon("the header", receiver.recv()).await.unwrap();
    let header = parse(&bytes).unwrap().unwrap().unwrap();
    assert_eq!(header.addresses, Some((source, rig.addr())));
}

#[tokio::test]
async fn checks_begin_with_a_header_too() {
    let backend = Recorder::start().await;
    let inner = Rig::with(&[backend.addr()], REQUIRED, "").await;
    let group = |proxy_protocol: &str| {
        format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n[target_group.app]\n\
             targets = [\"{}\"]\n{proxy_protocol}\nhealth = {{ interval = \"1s\" }}",
            inner.addr()
        )
    };
    let told = Lb::start(&group("proxy_protocol = \"v2\"")).await;
    told.until_health("app", inner.addr(), Health::Healthy)
        .await;
    let untold = Lb::start(&group("")).await;
    untold
        .until_health("app", inner.addr(), Health::Unhealthy)
        .await;
}
