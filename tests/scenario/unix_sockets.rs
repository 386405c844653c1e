//! Listeners and targets on Unix sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use http::Request;
use http_body_util::Full;
use tempfile::TempDir;
use weir::model::{Endpoint, Health};

use crate::scenario::support::{
    ADMIN, Backend, Connection, Lb, UnixTarget, eventually, keep_access_log, until_logged,
};

/// A folder with a short name: the path of a socket has at most 107 bytes.
fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("weir")
        .tempdir_in("/tmp")
        .unwrap()
}

fn endpoint(path: &Path) -> Endpoint {
    format!("unix:{}", path.display()).parse().unwrap()
}

/// A listener on a Unix socket, with a fixed response.
fn fixed(path: &Path, more: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"unix:{}\"\n\
         fixed_response = {{ status = 200, body = \"here\" }}\n{more}\n",
        path.display()
    )
}

/// A listener on a Unix socket that forwards to these targets.
fn forwarding(name: &str, path: &Path, listener: &str, targets: &[String], group: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\nbind = \"unix:{}\"\nforward = \"app\"\n{listener}\n\
         [target_group.app]\ntargets = {targets:?}\n{group}\n",
        path.display()
    )
}

async fn ask(path: &Path) -> String {
    let reply = Connection::open_unix(path).await.get("/").await;
    assert_eq!(reply.status, 200);
    reply.text().to_owned()
}

/// A request with a field, and the answer's status and text.
async fn ask_with(path: &Path, name: &str, value: &str) -> (u16, String) {
    let request = Request::get("/").header(name, value);
    let request = request.body(Full::default()).unwrap();
    let mut client = Connection::open_unix(path).await;
    let reply = client.send(request).await.unwrap();
    (reply.status.as_u16(), reply.text().to_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_request_goes_from_socket_to_socket_and_both_are_named_by_their_paths() {
    keep_access_log();
    let folder = folder();
    let (front, back) = (folder.path().join("weir"), folder.path().join("app"));
    let target = UnixTarget::at(&back);
    let checked = "health = { path = \"/health\", interval = \"1h\" }";
    let targets = [target.name()];
    let config = forwarding("socket_to_socket", &front, "", &targets, checked);
    let lb = Lb::start(&format!(
        "access_log = \"all\"\nworkers = 2\n{ADMIN}\n{config}"
    ))
    .await;
    let mut client = Connection::open_unix(&front).await;
    for _ in 0..5 {
        let seen = client.get("/").await.text().to_owned();
        assert!(seen.contains("host: unix.example"), "{seen}");
        assert!(seen.contains("x-forwarded-proto: http"), "{seen}");
        assert!(!seen.contains("x-forwarded-for"), "{seen}");
        assert!(!seen.contains("x-forwarded-port"), "{seen}");
    }
    assert_eq!(target.connections(), 1, "the connection is kept");
    let record = until_logged("socket_to_socket", 5).await.remove(0);
    assert_eq!(record.get("client"), "unix:");
    assert_eq!(record.get("target"), target.name());
    let status = lb.target_status("app", endpoint(&back)).await;
    assert_eq!(status.address.to_string(), target.name());
    assert_eq!(status.state, "healthy", "checked with `Host: localhost`");
    assert_eq!(lb.status().await.listeners[0].bind, endpoint(&front));
    let label = format!("target=\"{}\"", target.name());
    let metric = lb.metric("weir_requests_total", &[&label]).await;
    assert_eq!(metric, 5);
    assert!(lb.shutdown().await);
    assert!(!front.exists(), "removed at the end");
}

#[tokio::test]
async fn a_socket_that_was_left_over_is_unhealthy_until_a_target_listens() {
    let folder = folder();
    let (front, back) = (folder.path().join("weir"), folder.path().join("app"));
    drop(UnixListener::bind(&back).unwrap());
    let targets = [endpoint(&back).to_string()];
    let checked = "health = { type = \"tcp\", interval = \"200ms\", timeout = \"190ms\", \
                   healthy = 2, unhealthy = 2 }";
    let config = forwarding("web", &front, "", &targets, checked);
    let lb = Lb::start(&format!("{ADMIN}\n{config}")).await;
    lb.until_health("app", endpoint(&back), Health::Unhealthy)
        .await;
    let status = lb.target_status("app", endpoint(&back)).await;
    let status = format!("{status:?}");
    assert!(status.contains("refused the connection"), "{status}");
    fs::remove_file(&back).unwrap();
    let _target = UnixTarget::at(&back);
    lb.until_health("app", endpoint(&back), Health::Healthy)
        .await;
    assert!(ask(&front).await.contains("unix.example"));
}

#[tokio::test]
async fn requests_go_to_another_target_when_a_socket_refuses() {
    let folder = folder();
    let (front, dead) = (folder.path().join("weir"), folder.path().join("dead"));
    drop(UnixListener::bind(&dead).unwrap());
    let target = UnixTarget::at(&folder.path().join("app"));
    let tcp = Backend::answering("unix.example by port").await;
    let missing = folder.path().join("missing");
    let targets = [
        endpoint(&dead).to_string(),
        endpoint(&missing).to_string(),
        target.name(),
        tcp.addr().to_string(),
    ];
    let group = "health = false\noutlier = false";
    let _lb = Lb::start(&forwarding("web", &front, "", &targets, group)).await;
    for _ in 0..8 {
        assert!(ask(&front).await.contains("unix.example"));
    }
    assert!(target.connections() > 0);
    assert!(tcp.requests() > 0);
}

#[tokio::test]
async fn what_peers_without_an_address_say_of_a_client_is_believed_where_they_are_trusted() {
    let folder = folder();
    let target = UnixTarget::at(&folder.path().join("app"));
    let local = "[[listener.rule]]\npriority = 1\nwhen = { source_ip = [\"0.0.0.0/0\", \"::/0\"] }\n\
                 then = { fixed_response = { status = 403 } }";
    let front = folder.path().join("untrusted");
    let config = forwarding("web", &front, local, &[target.name()], "");
    let _untrusted = Lb::start(&config).await;
    let (status, seen) = ask_with(&front, "x-forwarded-for", "192.0.2.7").await;
    assert_eq!(status, 200, "it has no address that a rule could match");
    assert!(!seen.contains("192.0.2.7"), "{seen}");

    let front = folder.path().join("trusted");
    let trusted = "forwarded = { trusted_proxies = [\"unix:\"] }";
    let config = forwarding("web", &front, trusted, &[target.name()], "");
    let _trusted = Lb::start(&config).await;
    let (_, seen) = ask_with(&front, "x-forwarded-for", "192.0.2.7").await;
    assert!(seen.contains("x-forwarded-for: 192.0.2.7\n"), "{seen}");

    let front = folder.path().join("ruled");
    let config = forwarding(
        "web",
        &front,
        &format!("{trusted}\n{local}"),
        &[target.name()],
        "",
    );
    let _ruled = Lb::start(&config).await;
    let (status, _) = ask_with(&front, "x-forwarded-for", "192.0.2.7").await;
    assert_eq!(status, 403);
    assert!(ask(&front).await.contains("unix.example"));
}

#[tokio::test]
async fn clients_without_an_address_share_one_limit() {
    let folder = folder();
    let path = folder.path().join("weir");
    let limit = "rate_limit = { requests = 1, per = \"1h\", burst = 2 }";
    let _lb = Lb::start(&fixed(&path, limit)).await;
    for expected in [200, 200, 429] {
        let reply = Connection::open_unix(&path).await.get("/").await;
        assert_eq!(reply.status, expected);
    }
}

#[tokio::test]
async fn all_workers_accept_from_one_socket() {
    let folder = folder();
    let path = folder.path().join("weir");
    let lb = Lb::start(&format!(
        "workers = 3\n{}",
        fixed(&path, "max_connections = 40")
    ))
    .await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Connection::open_unix(&path).await;
        assert_eq!(client.get("/").await.text(), "here");
        clients.push(client);
    }
    assert_eq!(lb.connections(), 40);
    assert!(lb.shutdown().await);
}

#[tokio::test]
async fn a_redirect_of_a_client_without_a_port_names_none() {
    let folder = folder();
    let path = folder.path().join("weir");
    let bind = endpoint(&path);
    let config = format!("[[listener]]\nbind = \"{bind}\"\nredirect = {{ path = \"/new\" }}");
    let _lb = Lb::start(&config).await;
    let reply = Connection::open_unix(&path).await.get("/").await;
    assert_eq!(reply.header("location"), Some("http://unix.example/new"));
}

#[tokio::test]
async fn a_file_that_is_left_over_is_replaced_and_gets_the_mode() {
    let folder = folder();
    let path = folder.path().join("weir");
    drop(UnixListener::bind(&path).unwrap());
    let mut lb = Lb::start(&fixed(&path, "socket_mode = \"0666\"")).await;
    assert_eq!(mode(&path), 0o666);
    assert_eq!(ask(&path).await, "here");
    lb.reload(&fixed(&path, "socket_mode = \"0600\""))
        .await
        .unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(ask(&path).await, "here");
}

/// The error of a start on this path.
async fn refusal(path: &Path) -> String {
    match Lb::try_start(&fixed(path, "")).await {
        Ok(_) => panic!("started on {}", path.display()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_another_process_uses_and_what_is_no_socket_is_refused_and_kept() {
    let folder = folder();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let _other = UnixListener::bind(path("live")).unwrap();
    let error = refusal(&path("live")).await;
    let says = format!(
        "cannot listen on unix:{}: another process",
        path("live").display()
    );
    assert!(error.contains(&says), "{error}");
    fs::write(path("file"), "not to be lost").unwrap();
    let error = refusal(&path("file")).await;
    assert!(error.contains("no socket"), "{error}");
    let error = refusal(&path("missing/a")).await;
    assert!(error.contains("No such file or directory"), "{error}");
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "not to be lost");
    assert!(path("live").exists());
    // A second Weir is another process too, and its failure costs the first one nothing.
    let _lb = Lb::start(&fixed(&path("mine"), "")).await;
    refusal(&path("mine")).await;
    assert_eq!(ask(&path("mine")).await, "here");
}

#[tokio::test]
async fn a_listener_that_moves_takes_its_file_with_it() {
    let folder = folder();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let mut lb = Lb::start(&fixed(&old, "")).await;
    let mut client = Connection::open_unix(&old).await;
    assert_eq!(client.get("/").await.text(), "here");
    lb.reload(&fixed(&new, "")).await.unwrap();
    assert!(!old.exists());
    assert_eq!(ask(&new).await, "here");
    assert_eq!(client.get("/").await.text(), "here", "it is still served");
    // A reload that fails leaves everything as it was.
    fs::write(&old, "a file").unwrap();
    lb.reload(&fixed(&old, "")).await.unwrap_err();
    assert_eq!(ask(&new).await, "here");
    fs::remove_file(&old).unwrap();
    lb.reload(&fixed(&old, "")).await.unwrap();
    assert_eq!(ask(&old).await, "here");
    eventually("the file is gone", || async {
        (!new.exists())
            .then_some(())
            .ok_or("still there".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_another_process_has_put_there_outlives_this_one() {
    let folder = folder();
    let (path, beside) = (folder.path().join("weir"), folder.path().join("beside"));
    let lb = Lb::start(&fixed(&path, "")).await;
    let _other = UnixListener::bind(&beside).unwrap();
    fs::rename(&beside, &path).unwrap();
    assert!(lb.shutdown().await);
    assert!(path.exists());
}
