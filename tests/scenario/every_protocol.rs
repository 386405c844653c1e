//! HTTP/2 and gRPC within TLS, with clients and with targets, and one translated into the other.

use std::process::Stdio;

use bytes::Bytes;
use h2::client;
use h2::server::Builder;
use http::{HeaderMap, Request, Response};
use tokio::process::Command;
use weir::model::Health;

use crate::scenario::support::{
    Backend, H2, H2Target, Lb, Refusing, Rig, Site, get, reply, send_all, soon, until_logged,
    with_method,
};

/// A client of HTTP/2 that has agreed on it within TLS.
async fn h2(site: &Site, lb: &Lb) -> H2 {
    let client = site.client().with_alpn(&[b"http/1.1", b"h2"]);
    let stream = client.connect(lb.addr(), "site.example").await.unwrap();
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, Some(&b"h2"[..]), "the best that Weir offers");
    H2::over(stream, &client::Builder::new()).await
}

fn large() -> Bytes {
    (0..3_000_000_u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn a_client_may_choose_http_2_within_tls() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site.start("every-h2", target.addr(), "").await;
    let mut h2 = h2(&site, &lb).await;
    for _ in 0..20 {
        let reply = h2.ask(get("/a")).await;
        assert_eq!(reply.status, 200);
        assert!(
            reply.text().contains("x-forwarded-proto: https\n"),
            "{reply:?}"
        );
    }
    let entry = until_logged("every-h2", 20).await.remove(0);
    assert_eq!(entry.get("protocol"), "http2");
    assert_eq!(entry.get("tls"), "TLSv1.3");
}

#[tokio::test]
async fn a_listener_without_http_2_does_not_offer_it() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    site.certify("site", &["site.example"]);
    let keys = ("", "http2 = false", "", "");
    let file = site.configure(&["site"], target.addr(), keys);
    let lb = Lb::start_file(&file).await;
    let client = site.client().with_alpn(&[b"h2", b"http/1.1"]);
    let stream = client.connect(lb.addr(), "site.example").await.unwrap();
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, Some(&b"http/1.1"[..]));
    let only_h2 = site.client().with_alpn(&[b"h2"]);
    assert!(only_h2.connect(lb.addr(), "site.example").await.is_err());
}

#[tokio::test]
async fn the_preface_to_a_listener_without_http_2_is_refused() {
    let target = Backend::showing_fields().await;
    let rig = Rig::with(&[target.addr()], "http2 = false", "").await;
    for more in ["", "\0\0\0\x04\0\0\0\0\0"] {
        let preface = format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{more}");
        let mut wire = rig.wire(preface).await;
        assert_eq!(wire.response().await.status(), 505);
        wire.ends().await;
    }
    for entry in rig.logged(2).await {
        assert_eq!(entry.get("reason"), "version_not_supported");
    }
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions_on_many_streams() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let lb = site.start("every-large", target.addr(), "").await;
    let mut h2 = h2(&site, &lb).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let (response, mut sender) = h2.begin(with_method("POST", "/"), false).await;
        let sending = tokio::spawn(async move { send_all(&mut sender, large(), true).await });
        streams.push((sending, tokio::spawn(reply(response))));
    }
    for (sending, reply) in streams {
        sending.await.unwrap().unwrap();
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.reset), (200, None));
        assert!(
            reply.body == large(),
            "{} bytes came back",
            reply.body.len()
        );
    }
}

#[tokio::test]
async fn a_drain_within_tls_ends_streams_in_peace() {
    let mut target = Backend::manual().await;
    let site = Site::new();
    let lb = site.start("every-drain", target.addr(), "").await;
    let mut h2 = h2(&site, &lb).await;
    let (response, _sender) = h2.begin(get("/slow"), true).await;
    let held = target.next_request().await;
    let shutdown = tokio::spawn(lb.shutdown());
    held.respond("late");
    let reply = reply(response).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "late"));
    assert!(shutdown.await.unwrap());
    h2.ended().await.unwrap();
}

/// A Weir that speaks to another in TLS, which has a certificate for `site.example`.
async fn outer(site: &Site, inner: &Lb, group: &str) -> Lb {
    site.write("root.crt", &site.authority.pem);
    let text = format!(
        "workers = 1\n[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n\
         [target_group.app]\ntargets = [\"{}\"]\n{group}\n\
         tls = {{ ca = \"root.crt\", server_name = \"site.example\" }}",
        inner.addr()
    );
    site.write("outer.toml", &text);
    Lb::start_file(&site.path("outer.toml")).await
}

#[tokio::test]
async fn targets_are_spoken_to_in_http_2_within_tls() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    let inner = site.start("every-inner", target.addr(), "").await;
    let outer = outer(&site, &inner, "protocol = \"http2\"\nhealth = false").await;
    let mut h2 = H2::open(outer.addr()).await;
    let reply = h2.send(with_method("POST", "/"), large()).await;
    assert_eq!((reply.status, reply.reset), (200, None));
    assert!(
        reply.body == large(),
        "{} bytes came back",
        reply.body.len()
    );
    let entry = until_logged("every-inner", 1).await.remove(0);
    assert_eq!(
        (entry.get("protocol"), entry.get("tls")),
        ("http2", "TLSv1.3")
    );
}

#[tokio::test]
async fn a_target_that_does_not_choose_http_2_is_named_as_such() {
    let (site, target) = (Site::new(), Backend::echoing().await);
    site.certify("site", &["site.example"]);
    let keys = ("", "http2 = false", "", "");
    let file = site.configure(&["site"], target.addr(), keys);
    let inner = Lb::start_file(&file).await;
    let outer = outer(&site, &inner, "protocol = \"http2\"\nhealth = false").await;
    assert_eq!(outer.get("/").await.status, 502);
}

#[tokio::test]
async fn checks_of_http_2_targets_are_made_within_tls() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let inner = site.start("every-checked", target.addr(), "").await;
    for protocol in ["http2", "http1"] {
        let group = format!("protocol = \"{protocol}\"\nhealth = {{ interval = \"1s\" }}");
        let outer = outer(&site, &inner, &group).await;
        outer
            .until_health("app", inner.addr(), Health::Healthy)
            .await;
    }
}

/// A call of gRPC with one message.
fn call() -> Request<()> {
    Request::builder()
        .method("POST")
        .uri("http://a/todo.v1.Todos/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// Answers each message with the same one, as they come, and ends with a status.
async fn echoing_service() -> H2Target {
    H2Target::with(Builder::new(), |request, mut respond| async move {
        let head = Response::builder().header("content-type", "application/grpc");
        let head = head.body(()).unwrap();
        let mut sender = respond.send_response(head, false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            let _ = sender.send_data(data, false);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        let _ = sender.send_trailers(trailers);
    })
    .await
}

#[tokio::test]
async fn a_call_streams_both_ways_at_once_through_two_weirs_and_tls() {
    let (site, service) = (Site::new(), echoing_service().await);
    site.certify("site", &["site.example"]);
    let keys = ("", "name = \"every-grpc\"", "", "protocol = \"grpc\"");
    let file = site.configure(&["site"], service.addr(), keys);
    let inner = Lb::start_file(&file).await;
    let outer = outer(&site, &inner, "protocol = \"grpc\"\nhealth = false").await;
    let mut h2 = H2::open(outer.addr()).await;
    let (response, mut sender) = h2.begin(call(), false).await;
    let response = soon("the head", response).await.unwrap();
    let mut body = response.into_body();
    // Each message comes back before the next one is sent.
    for n in 0..20_u8 {
        let message = Bytes::from(vec![0, 0, 0, 0, 1, n]);
        sender.send_data(message.clone(), false).unwrap();
        let came = soon("the message", body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(came.len()).unwrap();
        assert_eq!(came, message);
    }
    sender.send_data(Bytes::new(), true).unwrap();
    assert!(soon("the end", body.data()).await.is_none());
    let trailers = soon("trailers", body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let entry = until_logged("every-grpc", 1).await.remove(0);
    assert_eq!(entry.get("grpc_status"), "0");
}

#[tokio::test]
async fn a_call_that_no_target_takes_gets_a_status_of_grpc() {
    let refusing = Refusing::new();
    let rig = Rig::with(&[refusing.addr()], "", "protocol = \"grpc\"").await;
    let mut h2 = H2::open(rig.addr()).await;
    let reply = h2.send(call(), Bytes::from_static(&[0; 5])).await;
    assert_eq!((reply.status, reply.reset), (200, None));
    assert_eq!(reply.field("grpc-status"), "14", "{reply:?}");
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn curl_agrees_on_http_2() {
    let (site, target) = (Site::new(), Backend::showing_fields().await);
    let lb = site.start("every-curl", target.addr(), "").await;
    site.write("root.crt", &site.authority.pem);
    let port = lb.addr().port();
    let mut command = Command::new("curl");
    command.args([
        "-sS",
        "--max-time",
        "10",
        "--http2",
        "-w",
        "%{http_version}",
    ]);
    command.arg("--cacert").arg(site.path("root.crt"));
    command.args(["--resolve", &format!("site.example:{port}:127.0.0.1")]);
    command.arg(format!("https://site.example:{port}/"));
    let output = match command.stdin(Stdio::null()).output().await {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(text.ends_with("\n2"), "{text}{problem}");
}
