//! Connections to targets that were made before a reload changed what their group wants: they end
//! what they carry, and carry nothing else.

use std::path::PathBuf;

use h2::client::ResponseFuture;

use crate::scenario::support::{Backend, H2, Lb, Rig, Site, eventually, get, reply};

const HTTP2: &str = "protocol = \"http2\"";
const OF_ROOT: &str = "tls = { ca = \"root.crt\", server_name = \"site.example\" }";
const INSECURE: &str = "tls = { insecure = true, server_name = \"site.example\" }";

/// A Weir in front of another. Only what a test changes may close connections between both.
async fn start(site: &Site, inner: &Lb, group: &str) -> Lb {
    Lb::start_file(&write(site, inner, group)).await
}

fn write(site: &Site, inner: &Lb, group: &str) -> PathBuf {
    site.write("root.crt", &site.authority.pem);
    let text = format!(
        "workers = 1\n[[listener]]\nname = \"terms\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n\
         [target_group.app]\nupstream.idle_timeout = \"1h\"\nhealth = false\n\
         targets = [\"{}\"]\n{group}\n",
        inner.addr()
    );
    site.write("outer.toml", &text);
    site.path("outer.toml")
}

async fn until_connections(lb: &Lb, count: usize) {
    eventually("connections are closed", async || {
        let now = lb.connections();
        (now == count).then_some(()).ok_or(now.to_string())
    })
    .await;
}

/// A request that its target has.
async fn begin(client: &mut H2) -> ResponseFuture {
    client.begin(get("/slow"), true).await.0
}

#[tokio::test]
async fn a_connection_in_other_tls_ends_its_request_and_serves_no_other() {
    for protocol in ["", HTTP2] {
        let mut target = Backend::manual().await;
        let site = Site::new();
        let inner = site.start("terms-inner", target.addr(), "").await;
        let mut outer = start(&site, &inner, &format!("{protocol}\n{OF_ROOT}")).await;
        let mut client = H2::open(outer.addr()).await;
        let old = begin(&mut client).await;
        let held = target.next_request().await;
        let changed = write(&site, &inner, &format!("{protocol}\n{INSECURE}"));
        outer.reload_file(&changed).await;
        // Another request, which needs another connection, while the first is under way.
        let new = begin(&mut client).await;
        let next = target.next_request().await;
        assert_eq!(inner.connections(), 2, "{protocol}");
        held.respond("old");
        assert_eq!(reply(old).await.text(), "old");
        until_connections(&inner, 1).await;
        next.respond("new");
        assert_eq!(reply(new).await.text(), "new");
        let again = begin(&mut client).await;
        target.next_request().await.respond("again");
        assert_eq!(reply(again).await.text(), "again");
        assert_eq!(inner.connections(), 1, "{protocol}: it is kept");
    }
}

#[tokio::test]
async fn connections_end_after_a_reload_though_no_request_comes() {
    let other_protocol = format!("{HTTP2}\n{OF_ROOT}");
    let other_tls = format!("{HTTP2}\n{INSECURE}");
    let other_streams = format!("upstream.max_streams = 7\n{HTTP2}\n{OF_ROOT}");
    for (protocol, group) in [
        ("", INSECURE),
        ("", &other_protocol),
        (HTTP2, &other_tls),
        (HTTP2, &other_streams),
        (HTTP2, OF_ROOT),
    ] {
        let mut target = Backend::manual().await;
        let site = Site::new();
        let inner = site.start("terms-quiet", target.addr(), "").await;
        let mut outer = start(&site, &inner, &format!("{protocol}\n{OF_ROOT}")).await;
        let mut client = H2::open(outer.addr()).await;
        // One is idle, and one in use.
        let idle = begin(&mut client).await;
        let first = target.next_request().await;
        let used = begin(&mut client).await;
        let second = target.next_request().await;
        first.respond("first");
        assert_eq!(reply(idle).await.text(), "first");
        outer.reload_file(&write(&site, &inner, group)).await;
        second.respond("second");
        assert_eq!(reply(used).await.text(), "second");
        until_connections(&inner, 0).await;
    }
}

#[tokio::test]
async fn a_connection_of_before_ends_when_targets_get_a_header_of_the_proxy_protocol() {
    let mut target = Backend::manual().await;
    let keys = "upstream = { idle_timeout = \"1h\" }";
    let mut rig = Rig::with(&[target.addr()], "", keys).await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    target.next_request().await.respond("before");
    assert_eq!(wire.response().await.text(), "before");
    assert_eq!(target.open_connections(), 1);
    let keys = "upstream = { idle_timeout = \"1h\" }\nproxy_protocol = \"v1\"";
    let changed = rig.changed(&[target.addr()], "", keys);
    rig.lb.reload(&changed).await.unwrap();
    eventually("it is closed", async || {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(open.to_string())
    })
    .await;
}

#[tokio::test]
async fn fewer_idle_connections_are_kept_after_a_reload() {
    let mut target = Backend::manual().await;
    let keys = |max: u32| format!("upstream = {{ idle_timeout = \"1h\", max_idle = {max} }}");
    let mut rig = Rig::with(&[target.addr()], "", &keys(8)).await;
    let mut client = H2::open(rig.addr()).await;
    let mut requests = Vec::new();
    for _ in 0..4 {
        let response = begin(&mut client).await;
        requests.push((response, target.next_request().await));
    }
    for (response, held) in requests {
        held.respond("well");
        assert_eq!(reply(response).await.status, 200);
    }
    assert_eq!(target.open_connections(), 4);
    let changed = rig.changed(&[target.addr()], "", &keys(1));
    rig.lb.reload(&changed).await.unwrap();
    eventually("one is kept", async || {
        let open = target.open_connections();
        (open == 1).then_some(()).ok_or(open.to_string())
    })
    .await;
}
