//! The fields that tell a target about a client, and those that no hop may pass on.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::support::{Backend, Connection, Lb, Reply, answer, raw};

/// One listener, with these keys, in front of one target.
fn forward_to(target: &Backend, keys: &str) -> String {
    format!(
        r#"
        workers = 1
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        {keys}
        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    )
}

/// Answers with the head it got, one field a line, in the order of the wire.
async fn mirror() -> Backend {
    Backend::with(|request| async move {
        let mut text = String::new();
        for (name, value) in request.headers() {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        answer(200, text)
    })
    .await
}

/// All values a field has in a mirrored head.
fn seen<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}: ");
    let lines = reply.text().lines();
    lines.filter_map(|l| l.strip_prefix(&prefix)).collect()
}

fn get(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::get("/");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// Forwarding fields that a client might send.
const CLAIMS: [(&str, &str); 6] = [
    ("host", "shop.example:81"),
    ("x-forwarded-for", "203.0.113.1"),
    ("x-forwarded-for", "203.0.113.2, 203.0.113.3"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-host", "claimed.example"),
];

const FORWARDED: [&str; 4] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-host",
];

/// The four fields as the target sees them when the client claims `claims`.
async fn forwarded(keys: &str, claims: &[(&str, &str)]) -> ([Vec<String>; 4], u16) {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, keys)).await;
    let reply = lb.connect().await.send(get(claims)).await.unwrap();
    assert_eq!(reply.status, 200);
    let values = FORWARDED.map(|name| seen(&reply, name).into_iter().map(str::to_owned).collect());
    (values, lb.addr().port())
}

#[tokio::test]
async fn a_client_without_forwarding_fields_is_described() {
    for keys in [
        "",
        "forwarded = { mode = \"append\", trusted_proxies = \"127.0.0.1\" }",
    ] {
        let (values, port) = forwarded(keys, &[("host", "shop.example:81")]).await;
        let port = port.to_string();
        assert_eq!(
            values,
            [["127.0.0.1"], ["http"], [&port], ["shop.example:81"]]
        );
    }
}

#[tokio::test]
async fn append_replaces_what_an_untrusted_peer_says() {
    let (values, port) = forwarded("", &CLAIMS).await;
    let port = port.to_string();
    assert_eq!(
        values,
        [["127.0.0.1"], ["http"], [&port], ["shop.example:81"]]
    );
}

#[tokio::test]
async fn append_keeps_the_fields_of_a_trusted_proxy() {
    let keys = "forwarded = { trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.0/8\"] }";
    let (values, _) = forwarded(keys, &CLAIMS).await;
    let chain = "203.0.113.1, 203.0.113.2, 203.0.113.3, 127.0.0.1";
    assert_eq!(values, [[chain], ["https"], ["443"], ["claimed.example"]]);
}

#[tokio::test]
async fn preserve_passes_the_fields_on_and_adds_nothing() {
    let keys = "forwarded = { mode = \"preserve\" }";
    let (values, _) = forwarded(keys, &CLAIMS).await;
    assert_eq!(
        values,
        [
            vec!["203.0.113.1", "203.0.113.2, 203.0.113.3"],
            vec!["https"],
            vec!["443"],
            vec!["claimed.example"]
        ]
    );
    let (values, _) = forwarded(keys, &[]).await;
    assert!(values.iter().all(Vec::is_empty), "{values:?}");
}

#[tokio::test]
async fn remove_removes_the_fields_even_of_a_trusted_proxy() {
    for trusted in ["", ", trusted_proxies = \"127.0.0.1\""] {
        let keys = format!("forwarded = {{ mode = \"remove\"{trusted} }}");
        let (values, _) = forwarded(&keys, &CLAIMS).await;
        assert!(values.iter().all(Vec::is_empty), "{values:?}");
    }
}

#[tokio::test]
async fn the_host_arrives_as_it_was_sent() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let mut client = lb.connect().await;
    for host in ["Shop.Example", "shop.example:81", "[::1]:80", "127.0.0.1"] {
        let reply = client.send(get(&[("host", host)])).await.unwrap();
        assert_eq!(seen(&reply, "host"), [host]);
    }
}

fn is_generated(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn every_request_gets_an_id_that_target_and_client_see() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let mut client = lb.connect().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let reply = client.get("/").await;
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert!(is_generated(&id), "{id}");
        assert_eq!(seen(&reply, "x-request-id"), [id.as_str()]);
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn a_request_id_is_kept_from_a_trusted_peer_and_replaced_from_another() {
    let target = mirror().await;
    let keys = "forwarded = { trusted_proxies = \"127.0.0.2\" }";
    let lb = Lb::start(&forward_to(&target, keys)).await;
    let claim = get(&[("x-request-id", "mine-1"), ("x-request-id", "mine-2")]);
    let mut proxy = Connection::open_from([127, 0, 0, 2], lb.addr()).await;
    let reply = proxy.send(claim.clone()).await.unwrap();
    assert_eq!(seen(&reply, "x-request-id"), ["mine-1"]);
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    let reply = proxy.get("/").await;
    assert!(is_generated(reply.header("x-request-id").unwrap()));

    let mut stranger = Connection::open_from([127, 0, 0, 3], lb.addr()).await;
    let reply = stranger.send(claim).await.unwrap();
    let id = reply.header("x-request-id").unwrap();
    assert!(is_generated(id), "{id}");
    assert_eq!(seen(&reply, "x-request-id"), [id]);
}

#[tokio::test]
async fn a_target_cannot_change_the_id_a_client_sees() {
    let target = Backend::with(|_| async move {
        let mut reply = answer(200, "a");
        let other = HeaderValue::from_static("other");
        reply.headers_mut().append("x-request-id", other.clone());
        reply.headers_mut().append("x-request-id", other);
        reply
    })
    .await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let reply = lb.get("/").await;
    let ids: Vec<_> = reply.headers.get_all("x-request-id").iter().collect();
    assert_eq!(ids.len(), 1);
    assert!(is_generated(ids[0].to_str().unwrap()));
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_here() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let fields = [
        ("connection", "keep-alive, X-Secret,x-other"),
        ("connection", "X-Third"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic abc"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("x-secret", "1"),
        ("x-secret", "2"),
        ("x-other", "3"),
        ("x-third", "4"),
        ("x-kept", "5"),
        ("authorization", "Basic def"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
    ];
    let reply = lb.connect().await.send(get(&fields)).await.unwrap();
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "x-secret",
        "x-other",
        "x-third",
    ] {
        assert_eq!(seen(&reply, gone), [""; 0], "{gone}");
    }
    assert_eq!(seen(&reply, "x-kept"), ["5"]);
    assert_eq!(seen(&reply, "authorization"), ["Basic def"]);
    assert_eq!(seen(&reply, "cookie"), ["a=b", "c=d"]);
}

// `Connection` may name any field; the fields that the next hop relies on must stay.
#[tokio::test]
async fn connection_cannot_remove_fields_that_the_target_relies_on() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let fields = [
        (
            "connection",
            "host, content-length, x-forwarded-for, x-forwarded-proto, x-request-id",
        ),
        ("host", "shop.example"),
        ("x-forwarded-for", "203.0.113.1"),
    ];
    let mut request = get(&fields);
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Full::from("body");
    let reply = lb.connect().await.send(request).await.unwrap();
    assert_eq!(seen(&reply, "host"), ["shop.example"]);
    assert_eq!(seen(&reply, "content-length"), ["4"]);
    assert_eq!(seen(&reply, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&reply, "x-request-id").len(), 1);
    let chain = seen(&reply, "x-forwarded-for");
    assert_eq!(chain.len(), 1);
    assert!(chain[0].ends_with("127.0.0.1"), "{chain:?}");
}

/// Answers every request on a connection with the same bytes.
async fn saying(response: &'static str) -> Backend {
    Backend::raw(move |mut stream: TcpStream| async move {
        let mut seen = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut seen).await {
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_end_here() {
    let target = saying(
        "HTTP/1.1 200 OK\r\n\
         Connection: keep-alive, X-Internal\r\n\
         Keep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\n\
         Proxy-Connection: keep-alive\r\n\
         Upgrade: h2c\r\n\
         X-Internal: 1\r\n\
         X-Kept: 2\r\n\
         Set-Cookie: a=b\r\n\
         Set-Cookie: c=d\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\n\r\n",
    )
    .await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let mut client = lb.connect().await;
    for _ in 0..3 {
        let reply = client.get("/").await;
        assert_eq!(reply.text(), "body");
        for gone in [
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-connection",
            "upgrade",
            "x-internal",
        ] {
            assert_eq!(reply.header(gone), None, "{gone}");
        }
        assert_eq!(reply.header("x-kept"), Some("2"));
        let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=b", "c=d"]);
    }
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn a_targets_close_is_not_the_clients_close() {
    let target = Backend::raw(async |mut stream: TcpStream| {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let mut client = lb.connect().await;
    for n in 1..=5 {
        let reply = client.get("/").await;
        assert_eq!((reply.text(), reply.header("connection")), ("a", None));
        assert_eq!(target.connections(), n);
    }
    assert_eq!(lb.connections(), 1);
}

// A proxy sends its own version: that of the target says nothing about the client's hop.
#[tokio::test]
async fn a_target_of_http_1_0_is_invisible_to_the_client() {
    let target = Backend::raw(async |mut stream: TcpStream| {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
        // Ended by the end of the connection.
        let answer = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let twice =
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answered = raw(lb.addr(), twice).await;
    assert_eq!(answered.matches("HTTP/1.1 200 OK").count(), 2, "{answered}");
    assert_eq!(answered.matches("until the end").count(), 2, "{answered}");
    let answered = answered.to_lowercase();
    assert_eq!(answered.matches("transfer-encoding: chunked").count(), 2);
}

#[tokio::test]
async fn no_field_is_added_to_a_response_but_the_id() {
    let target = saying("HTTP/1.1 204 No Content\r\nDate: now\r\nX-A: b\r\n\r\n").await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let reply = lb.get("/").await;
    let mut names: Vec<_> = reply.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "x-a", "x-request-id"]);
    assert_eq!(reply.header("date"), Some("now"));
}

#[tokio::test]
async fn request_trailers_pass() {
    let target = Backend::with(|request| async move {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected
            .trailers()
            .and_then(|trailers| trailers.get("x-sum"));
        answer(200, format!("{:?}", sum.map(|sum| sum.to_str().unwrap())))
    })
    .await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: x-sum\r\n\
                  Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n";
    for _ in 0..5 {
        let answered = raw(lb.addr(), bytes).await;
        assert!(answered.ends_with("\r\n\r\nSome(\"42\")"), "{answered}");
    }
    // A request with trailers is complete, so its connection serves the next one.
    assert_eq!(target.connections(), 1);
}

/// Answers with the `TE` it got, and a trailer.
async fn with_trailers() -> Backend {
    Backend::with(|request| async move {
        let te: Vec<_> = request.headers().get_all("te").iter().cloned().collect();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let frames = futures_util::stream::iter([
            Ok(http_body::Frame::data(Bytes::from(format!("te {te:?}")))),
            Ok(http_body::Frame::trailers(trailers)),
        ]);
        let mut response = Response::new(BoxBody::new(StreamBody::new(frames)));
        let announced = HeaderValue::from_static("x-sum");
        response.headers_mut().insert("trailer", announced);
        response
    })
    .await
}

#[tokio::test]
async fn response_trailers_pass_to_a_client_that_accepts_them() {
    let target = with_trailers().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    for te in [
        "TE: trailers",
        "TE: gzip;q=0.5, Trailers",
        "TE: gzip\r\nTE: trailers",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\n{te}\r\n\r\n");
        let answered = raw(lb.addr(), head.as_bytes()).await;
        assert!(answered.contains("te [\"trailers\"]"), "{te}: {answered}");
        assert!(
            answered.ends_with("0\r\nx-sum: 42\r\n\r\n"),
            "{te}: {answered}"
        );
    }
}

#[tokio::test]
async fn a_client_that_accepts_no_trailers_gets_none() {
    let target = with_trailers().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answered = raw(lb.addr(), head).await;
    assert!(answered.contains("te []"), "{answered}");
    assert!(answered.ends_with("\r\n0\r\n\r\n"), "{answered}");
}
