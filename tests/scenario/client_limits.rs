//! Limits of one client: requests per time, requests per connection.

use http::Request;
use http_body_util::Full;
use tokio::io::AsyncReadExt;

use crate::scenario::support::{Backend, Connection, Reply, Rig, soon};

const TWO_PER_HOUR: &str = "rate_limit = { requests = 2, per = \"1h\" }";

async fn ask(client: &mut Connection, header: (&str, &str)) -> Reply {
    let request = Request::get("/").header(header.0, header.1);
    let request = request.body(Full::default()).unwrap();
    client.send(request).await.unwrap()
}

#[tokio::test]
async fn a_client_that_asks_too_often_gets_429_and_keeps_its_connection() {
    let target = Backend::answering("a").await;
    let rig = Rig::with(&[target.addr()], TWO_PER_HOUR, "").await;
    let mut client = rig.connect().await;
    let mut statuses = vec![];
    for _ in 0..4 {
        let reply = client.get("/").await;
        statuses.push(reply.status.as_u16());
        if reply.status == 429 {
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=1800).contains(&wait), "{wait}");
            assert_eq!(reply.header("connection"), None);
            assert!(reply.text().contains("rate_limited"), "{}", reply.text());
        }
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(target.requests(), 2);
    // Another client.
    let mut other = Connection::open_from([127, 0, 0, 2], rig.addr()).await;
    assert_eq!(other.get("/").await.status, 200);
    // Only a record that has ended is counted, which may be after its client has the response.
    let entries: Vec<_> = rig.logged(5).await;
    assert_eq!(entries[2].status_and_reason(), ("429", "rate_limited"));
    assert_eq!(rig.failures("rate_limited").await, 2);
}

#[tokio::test]
async fn the_body_of_a_request_above_the_limit_is_not_read() {
    let target = Backend::answering("a").await;
    let rig = Rig::with(&[target.addr()], TWO_PER_HOUR, "").await;
    let mut client = rig.connect().await;
    client.get("/").await;
    client.get("/").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nthe beginning";
    let mut wire = rig.wire(head).await;
    let response = wire.response().await;
    assert_eq!(response.status(), 429);
    wire.rest().await;
    drop(client);
    rig.quiet().await;
}

#[tokio::test]
async fn clients_are_told_apart_as_trusted_proxies_report_them() {
    let target = Backend::answering("a").await;
    let untrusting = Rig::with(&[target.addr()], TWO_PER_HOUR, "").await;
    let listener = format!("{TWO_PER_HOUR}\nforwarded = {{ trusted_proxies = [\"127.0.0.0/8\"] }}");
    let trusting = Rig::with(&[target.addr()], &listener, "").await;
    for (rig, expected) in [(&untrusting, [200, 200, 429]), (&trusting, [200, 200, 200])] {
        let mut client = rig.connect().await;
        let mut statuses = vec![];
        for address in ["1.1.1.1", "2.2.2.2", "3.3.3.3"] {
            let reply = ask(&mut client, ("x-forwarded-for", address)).await;
            statuses.push(reply.status.as_u16());
        }
        assert_eq!(statuses, expected);
    }
}

#[tokio::test]
async fn clients_are_told_apart_by_a_header() {
    let target = Backend::answering("a").await;
    let limit = "rate_limit = { key = { header = \"X-Key\" }, requests = 1, per = \"1h\" }";
    let rig = Rig::with(&[target.addr()], limit, "").await;
    let mut client = rig.connect().await;
    let mut statuses = vec![];
    for (name, value) in [
        ("x-key", "a"),
        ("x-key", "b"),
        ("x-key", "a"),
        ("x", ""),
        ("x", ""),
    ] {
        statuses.push(ask(&mut client, (name, value)).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 429]);
}

#[tokio::test]
async fn a_reload_keeps_the_counts_unless_the_limit_changes() {
    let target = Backend::answering("a").await;
    let targets = [target.addr()];
    let mut rig = Rig::with(&targets, TWO_PER_HOUR, "").await;
    let mut client = rig.connect().await;
    client.get("/").await;
    client.get("/").await;
    let same = rig.changed(&targets, TWO_PER_HOUR, "slow_start = \"30s\"");
    rig.lb.reload(&same).await.unwrap();
    assert_eq!(client.get("/").await.status, 429);
    let more = "rate_limit = { requests = 1, per = \"2h\" }";
    let changed = rig.changed(&targets, more, "");
    rig.lb.reload(&changed).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 429);
    let none = rig.changed(&targets, "", "");
    rig.lb.reload(&none).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn the_last_request_of_a_connection_closes_it_without_a_reset() {
    let target = Backend::answering("a").await;
    let rig = Rig::with(&[target.addr()], "client = { max_requests = 3 }", "").await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // Two more than allowed, and more bytes behind them, which stay unread in the socket.
    let mut wire = rig.wire(request.repeat(5)).await;
    wire.send(request.repeat(4000)).await;
    for number in 1..=3 {
        let response = wire.response().await;
        assert_eq!(response.status(), 200);
        let close = response.field("connection");
        assert_eq!(close.as_deref(), (number == 3).then_some("close"));
    }
    // The connection is closed and not reset, although many bytes were never read.
    let mut byte = [0; 1];
    let end = wire.stream().read(&mut byte);
    assert_eq!(soon("the end", end).await.unwrap(), 0);
    drop(wire);
    assert_eq!(target.requests(), 3);
    rig.logged(3).await;
    // The limit of three is for each connection.
    assert_eq!(rig.lb.get("/").await.status, 200);
}
