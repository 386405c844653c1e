//! Listeners of protocol `tcp` whose rules are about hosts: which target gets a connection by the name
//! in its TLS hello, what becomes of other beginnings, and of hellos that are slow, split or huge.

use std::net::SocketAddr;

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::support::{
    Backend, Lb, LogEntry, Site, TlsClient, eventually, keep_access_log, soon, until_logged,
};

/// Two sites with certificates of their own, behind one port.
struct Front {
    site: Site,
    a: Lb,
    b: Lb,
    lb: Lb,
}

impl Front {
    /// `name` is that of the listener, which the log is searched for.
    async fn start(name: &str, default: &Backend) -> Self {
        Self::start_with(name, default, "", "").await
    }

    async fn start_with(name: &str, default: &Backend, keys: &str, group: &str) -> Self {
        let site = Site::new();
        let (a, b) = (inner(&site, "a", keys).await, inner(&site, "b", keys).await);
        let text = format!(
            r#"
            {}
            [[listener.rule]]
            priority = 1
            when = {{ host = "a.example" }}
            then = {{ forward = "a" }}
            [[listener.rule]]
            priority = 2
            when = {{ host = "*.Wild.example" }}
            then = {{ forward = "b" }}
            {}
            {}
            {}
            "#,
            listener(name, ""),
            tcp_group("default", default.addr(), ""),
            tcp_group("a", a.addr(), group),
            tcp_group("b", b.addr(), group),
        );
        let lb = Lb::start(&text).await;
        Self { site, a, b, lb }
    }

    /// What the site behind a name answers in TLS.
    async fn ask(&self, host: &str) -> Result<String, String> {
        let connected = self.site.client().connect(self.lb.addr(), host).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        Ok(exchange(&mut stream, host).await)
    }
}

fn listener(name: &str, keys: &str) -> String {
    format!(
        r#"
        workers = 1
        access_log = "all"
        [shutdown]
        lame_duck = "0s"
        drain = "5s"
        [admin]
        bind = "127.0.0.1:0"
        [[listener]]
        name = "{name}"
        bind = "127.0.0.1:0"
        protocol = "tcp"
        forward = "default"
        client = {{ head_timeout = "700ms" }}
        {keys}
        "#
    )
}

fn tcp_group(name: &str, target: SocketAddr, keys: &str) -> String {
    format!(
        "[target_group.{name}]\nprotocol = \"tcp\"\ntargets = [\"{target}\"]\nhealth = false\n{keys}\n"
    )
}

/// A site which says its name.
async fn inner(site: &Site, name: &str, keys: &str) -> Lb {
    let hosts = [format!("{name}.example"), "*.wild.example".to_owned()];
    site.certify(name, &[&hosts[0], &hosts[1]]);
    let text = format!(
        "workers = 1\naccess_log = \"all\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n{keys}\n\
         name = \"site-{name}\"\nfixed_response = {{ status = 200, body = \"site {name}\" }}\n\
         tls = {{ certificates = [{{ cert = \"{name}.crt\", key = \"{name}.key\" }}] }}\n"
    );
    let file = format!("{name}.toml");
    site.write(&file, &text);
    Lb::start_file(&site.path(&file)).await
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    soon("a response", stream.read_to_string(&mut response))
        .await
        .unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// The first bytes that a client of TLS sends for this host.
fn hello(host: &str, protocols: usize) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![vec![b'x'; 200]; protocols];
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Sends bytes in parts of this size, each in a segment of its own, and reads as many.
async fn there_and_back(addr: SocketAddr, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in bytes.chunks(size) {
        stream.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut echoed = vec![0; bytes.len()];
    soon("the bytes", stream.read_exact(&mut echoed))
        .await
        .unwrap();
    echoed
}

/// A listener of which every connection ends up at a target that sends all back.
async fn echoing(name: &str, group: &str) -> (Backend, Backend, Lb) {
    keep_access_log();
    let (default, a) = (
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
    );
    let text = format!(
        "{}\n[[listener.rule]]\npriority = 1\nwhen = {{ host = \"a.example\" }}\n\
         then = {{ forward = \"a\" }}\n{}{}",
        listener(name, ""),
        tcp_group("default", default.addr(), ""),
        tcp_group("a", a.addr(), group)
    );
    let lb = Lb::start(&text).await;
    (default, a, lb)
}

async fn last(name: &str, count: usize) -> LogEntry {
    until_logged(name, count).await.pop().unwrap()
}

#[tokio::test]
async fn a_name_leads_to_its_target_which_makes_the_handshake() {
    let default = Backend::echoing_bytes().await;
    let front = Front::start("sni-names", &default).await;
    let asked = [
        ("a.example", "site a", "1"),
        ("A.EXAMPLE", "site a", "1"),
        ("x.wild.example", "site b", "2"),
    ];
    for (number, (host, expected, rule)) in asked.into_iter().enumerate() {
        assert_eq!(front.ask(host).await.as_deref(), Ok(expected), "{host}");
        let entries = until_logged("sni-names", number + 1).await;
        let wanted = host.to_ascii_lowercase();
        let entry = entries.iter().rfind(|entry| entry.get("host") == wanted);
        let entry = entry.unwrap_or_else(|| panic!("{entries:?}"));
        assert_eq!((entry.get("rule"), entry.get("tls")), (rule, ""));
        assert_eq!((entry.get("method"), entry.get("path")), ("", ""));
    }
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::new(&front.site.authority, &[version], None);
        let mut stream = client.connect(front.lb.addr(), "a.example").await.unwrap();
        assert_eq!(exchange(&mut stream, "a.example").await, "site a");
    }
    assert_eq!(default.connections(), 0);
    eventually("no connection is left", async || {
        let left = (front.a.connections(), front.b.connections());
        (left == (0, 0)).then_some(()).ok_or(format!("{left:?}"))
    })
    .await;
}

#[tokio::test]
async fn other_names_and_other_bytes_go_to_the_listeners_own_group() {
    let (default, a, lb) = echoing("sni-other", "").await;
    for bytes in [
        hello("other.example", 0),
        hello("127.0.0.1", 0),
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x00\x05\x02hello".to_vec(),
        vec![0],
    ] {
        assert_eq!(there_and_back(lb.addr(), &bytes, 100_000).await, bytes);
    }
    assert_eq!((default.connections(), a.connections()), (5, 0));
    let entries = until_logged("sni-other", 5).await;
    let hosts: Vec<_> = entries.iter().map(|entry| entry.get("host")).collect();
    assert_eq!(hosts.iter().filter(|host| !host.is_empty()).count(), 1);
    assert!(hosts.contains(&"other.example"), "{hosts:?}");
}

#[tokio::test]
async fn a_hello_in_many_segments_and_records_arrives_untouched() {
    let (default, a, lb) = echoing("sni-split", "").await;
    let small = hello("a.example", 0);
    for size in [1, 7, 64, small.len() - 1] {
        assert_eq!(there_and_back(lb.addr(), &small, size).await, small);
    }
    let large = hello("a.example", 150);
    assert!(large.len() > 30_000);
    for size in [1000, 16_384, large.len()] {
        assert!(there_and_back(lb.addr(), &large, size).await == large);
    }
    assert_eq!((default.connections(), a.connections()), (0, 7));
}

#[tokio::test]
async fn a_hello_that_is_late_cut_or_huge_ends_its_connection_and_no_other() {
    let (default, a, lb) = echoing("sni-bad", "").await;
    let whole = hello("a.example", 0);
    let (half, huge) = (&whole[..50], hello("a.example", 200));
    let mut idle = TcpStream::connect(lb.addr()).await.unwrap();
    let mut slow = TcpStream::connect(lb.addr()).await.unwrap();
    slow.write_all(half).await.unwrap();
    // Others are served meanwhile.
    assert_eq!(there_and_back(lb.addr(), &whole, 100).await, whole);
    for stream in [&mut idle, &mut slow] {
        let read = soon("the end", stream.read(&mut [0; 10])).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    let mut cut = TcpStream::connect(lb.addr()).await.unwrap();
    cut.write_all(half).await.unwrap();
    cut.shutdown().await.unwrap();
    let read = soon("the end", cut.read(&mut [0; 10])).await;
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    let mut large = TcpStream::connect(lb.addr()).await.unwrap();
    let _ = large.write_all(&huge).await;
    let read = soon("the end", large.read(&mut [0; 10])).await;
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    drop(TcpStream::connect(lb.addr()).await.unwrap());
    let entries = until_logged("sni-bad", 6).await;
    let count = |reason| entries.iter().filter(|e| e.get("reason") == reason).count();
    assert_eq!(
        (count("client_hello"), count("client_gone")),
        (4, 1),
        "{entries:?}"
    );
    assert_eq!((default.connections(), a.connections()), (0, 1));
    let reason = &["reason=\"client_hello\""];
    assert_eq!(lb.metric("weir_tcp_connection_ends_total", reason).await, 4);
    eventually("nothing is left", async || {
        let left = lb.connections();
        (left == 0).then_some(()).ok_or(left.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_target_that_speaks_first_is_not_waited_for_without_rules_about_hosts() {
    let target = Backend::raw(|mut stream| async move {
        let _ = stream.write_all(b"220 hello\r\n").await;
        let _ = stream.read(&mut [0; 10]).await;
    })
    .await;
    let text = format!(
        "{}\n[[listener.rule]]\npriority = 1\nwhen = {{ source_ip = \"127.0.0.0/8\" }}\n\
         then = {{ forward = \"near\" }}\n{}{}",
        listener("sni-none", "").replace("client = { head_timeout = \"700ms\" }", ""),
        tcp_group("default", target.addr(), ""),
        tcp_group("near", target.addr(), "")
    );
    let lb = Lb::start(&text).await;
    let mut stream = TcpStream::connect(lb.addr()).await.unwrap();
    let mut greeting = [0; 11];
    soon("a greeting", stream.read_exact(&mut greeting))
        .await
        .unwrap();
    drop(stream);
    let entry = last("sni-none", 1).await;
    assert_eq!((entry.get("group"), entry.get("rule")), ("near", "1"));
}

#[tokio::test]
async fn headers_of_the_proxy_protocol_come_before_the_hello_on_both_sides() {
    let (default, seen) = (
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
    );
    let keys = "proxy_protocol = \"required\"\nforwarded = { trusted_proxies = [\"127.0.0.0/8\"] }";
    let text = format!(
        "{}\n[[listener.rule]]\npriority = 1\nwhen = {{ host = \"a.example\", source_ip = \"192.0.2.0/24\" }}\n\
         then = {{ forward = \"a\" }}\n{}{}",
        listener("sni-proxied", keys),
        tcp_group("default", default.addr(), ""),
        tcp_group("a", seen.addr(), "proxy_protocol = \"v1\"")
    );
    let lb = Lb::start(&text).await;
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n";
    let bytes = [&header[..], &hello("a.example", 0)].concat();
    // The target gets a header of its own, which says the same.
    assert_eq!(there_and_back(lb.addr(), &bytes, 45).await, bytes);
    let entry = last("sni-proxied", 1).await;
    assert_eq!(
        (entry.get("client"), entry.get("host")),
        ("192.0.2.7", "a.example")
    );
}

#[tokio::test]
async fn tls_that_ends_at_the_listener_is_routed_by_its_name_as_well() {
    let (site, default) = (Site::new(), Backend::echoing_bytes().await);
    let named = Backend::raw(|mut stream| async move {
        let _ = stream.write_all(b"named").await;
    })
    .await;
    site.certify("all", &["a.example", "b.example"]);
    let keys = "tls = { certificates = [{ cert = \"all.crt\", key = \"all.key\" }] }";
    let text = format!(
        "{}\n[[listener.rule]]\npriority = 1\nwhen = {{ host = \"a.example\" }}\n\
         then = {{ forward = \"a\" }}\n{}{}",
        listener("sni-ended", keys),
        tcp_group("default", default.addr(), ""),
        tcp_group("a", named.addr(), "")
    );
    site.write("weir.toml", &text);
    let lb = Lb::start_file(&site.path("weir.toml")).await;
    let mut stream = site.client().connect(lb.addr(), "a.example").await.unwrap();
    let mut word = String::new();
    soon("a word", stream.read_to_string(&mut word))
        .await
        .unwrap();
    assert_eq!(word, "named");
    drop(stream);
    let mut stream = site.client().connect(lb.addr(), "b.example").await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon("an echo", stream.read_u8()).await.unwrap(), b'x');
    drop(stream);
    let entries = until_logged("sni-ended", 2).await;
    let hosts: Vec<_> = entries.iter().map(|entry| entry.get("host")).collect();
    assert_eq!(hosts, ["a.example", "b.example"]);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_hello() {
    let (_default, _a, lb) = echoing("sni-drain", "").await;
    let mut stream = TcpStream::connect(lb.addr()).await.unwrap();
    stream.write_all(&[22]).await.unwrap();
    eventually("it is accepted", async || {
        let now = lb.connections();
        (now == 1).then_some(()).ok_or(now.to_string())
    })
    .await;
    lb.shutdown().await;
    let read = soon("the end", stream.read(&mut [0; 10])).await;
    assert!(!matches!(read, Ok(1..)), "{read:?}");
}
