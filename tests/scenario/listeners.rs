//! Listening sockets: binding, connection limits, workers, connections.

use std::net::{SocketAddr, TcpListener};

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::support::{Backend, Connection, Lb, answer, eventually, fields_of, raw, soon};

/// A listener with a fixed response, its name.
fn named(name: &str, bind: &str, more: &str) -> String {
    format!(
        r#"
        [[listener]]
        name = "{name}"
        bind = "{bind}"
        fixed_response = {{ status = 200, body = "{name}" }}
        {more}
        "#
    )
}

/// A port that is in use, and the error of the system for it.
fn taken() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let says = format!("cannot listen on {addr}: Address already in use (os error 98)");
    (socket, says)
}

#[tokio::test]
async fn each_listener_follows_rules_of_its_own() {
    let rule = |body: &str| {
        format!(
            r#"
            [[listener.rule]]
            priority = 1
            when = {{ path = "/shared" }}
            then = {{ fixed_response = {{ status = 200, body = "{body}" }} }}
            "#
        )
    };
    let first = named("one", "127.0.0.1:0", &rule("rule of one"));
    let second = named("two", "127.0.0.1:0", &rule("rule of two"));
    let lb = Lb::start(&format!("{first}{second}")).await;
    for (name, shared) in [("one", "rule of one"), ("two", "rule of two")] {
        let mut client = Connection::open(lb.addr_of(name)).await;
        assert_eq!(client.get("/").await.text(), name);
        assert_eq!(client.get("/shared").await.text(), shared);
    }
    assert_ne!(lb.addr_of("one"), lb.addr_of("two"));
}

#[tokio::test]
async fn an_ipv6_listener_serves_and_reports_its_clients() {
    let target = Backend::with(|request| async move {
        let field = |name| request.headers()[name].to_str().unwrap().to_owned();
        answer(
            200,
            format!("{} {}", field("x-forwarded-for"), field("host")),
        )
    })
    .await;
    let lb = Lb::start(&format!(
        r#"
        [[listener]]
        bind = "[::1]:0"
        forward = "app"
        [[listener.rule]]
        priority = 1
        when = {{ path = "/mine", source_ip = "::1" }}
        then = {{ fixed_response = {{ status = 200, body = "from ::1" }} }}

        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    ))
    .await;
    assert!(lb.addr().is_ipv6());
    assert_eq!(lb.get("/").await.text(), format!("::1 {}", lb.addr()));
    assert_eq!(lb.get("/mine").await.text(), "from ::1");
}

#[tokio::test]
async fn all_addresses_of_both_families_share_a_port() {
    let v4 = Lb::start(&named("v4", "0.0.0.0:0", "")).await;
    let port = v4.addr().port();
    // `[::]` is IPv6 alone, so the same port is free there.
    let v6 = Lb::start(&named("v6", &format!("[::]:{port}"), "")).await;
    let mut over_v4 = Connection::open(([127, 0, 0, 1], port).into()).await;
    let mut over_v6 = Connection::open((std::net::Ipv6Addr::LOCALHOST, port).into()).await;
    assert_eq!(over_v4.get("/").await.text(), "v4");
    assert_eq!(over_v6.get("/").await.text(), "v6");
    assert_eq!(v6.addr().port(), port);
}

#[tokio::test]
async fn a_bind_failure_names_the_address_and_the_reason() {
    let (socket, says) = taken();
    let bind = socket.local_addr().unwrap().to_string();
    let Err(error) = Lb::try_start(&named("web", &bind, "")).await else {
        panic!("two sockets on {bind}");
    };
    assert_eq!(error.to_string(), says);
    let Err(error) = Lb::try_start(&named("web", "192.0.2.1:80", "")).await else {
        panic!("192.0.2.1 is not an address of this machine");
    };
    assert_eq!(
        error.to_string(),
        "cannot listen on 192.0.2.1:80: Cannot assign requested address (os error 99)"
    );
}

#[tokio::test]
async fn a_second_weir_on_the_same_port_fails_to_start() {
    let first = Lb::start(&named("first", "127.0.0.1:0", "")).await;
    let bind = first.addr().to_string();
    let Err(error) = Lb::try_start(&named("second", &bind, "")).await else {
        panic!("two listeners on {bind}");
    };
    assert!(error.to_string().contains(&bind), "{error}");
    assert_eq!(first.get("/").await.text(), "first");
}

#[tokio::test]
async fn a_bind_failure_on_reload_changes_nothing() {
    let (socket, says) = taken();
    let bind = socket.local_addr().unwrap().to_string();
    let mut lb = Lb::start(&named("web", "127.0.0.1:0", "")).await;
    let before = lb.snapshot();
    let mut kept = lb.connect().await;
    assert_eq!(kept.get("/").await.text(), "web");

    let changed = named("web", "127.0.0.1:0", "").replace("body = \"web\"", "body = \"new\"");
    let added = named("added", "127.0.0.1:0", "");
    let unbindable = named("unbindable", &bind, "");
    let error = lb
        .reload(&format!("{changed}{added}{unbindable}"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), says);
    assert_eq!(kept.get("/").await.text(), "web");
    assert_eq!(lb.get("/").await.text(), "web");
    assert!(std::sync::Arc::ptr_eq(&before, &lb.snapshot()));

    drop(socket);
    lb.reload(&format!("{changed}{added}{unbindable}"))
        .await
        .unwrap();
    assert_eq!(kept.get("/").await.text(), "new");
    for name in ["added", "unbindable"] {
        let reply = Connection::open(lb.addr_of(name)).await.get("/").await;
        assert_eq!(reply.text(), name);
    }
}

#[tokio::test]
async fn an_admin_address_that_is_in_use_changes_nothing() {
    let (socket, says) = taken();
    let admin = format!("[admin]\nbind = \"{}\"\n", socket.local_addr().unwrap());
    let web = named("web", "127.0.0.1:0", "");
    let Err(error) = Lb::try_start(&format!("{web}{admin}")).await else {
        panic!("an admin listener on a port that is taken");
    };
    assert_eq!(error.to_string(), says);

    let mut lb = Lb::start(&web).await;
    let added = named("added", "127.0.0.1:0", "");
    let error = lb
        .reload(&format!("{web}{added}{admin}"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), says);
    assert_eq!(lb.snapshot().listeners().count(), 1);
    assert_eq!(lb.get("/").await.text(), "web");
    drop(socket);
    lb.reload(&format!("{web}{added}{admin}")).await.unwrap();
    assert_eq!(
        Connection::open(lb.addr_of("added"))
            .await
            .get("/")
            .await
            .text(),
        "added"
    );
    let reply = Connection::open(lb.admin_addr()).await.get("/livez").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn an_admin_listener_does_not_take_a_running_listeners_address() {
    let web = named("web", "127.0.0.1:0", "");
    let mut lb = Lb::start(&web).await;
    let addr = lb.addr();
    let error = lb
        .reload(&format!("{web}[admin]\nbind = \"{addr}\"\n"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    assert_eq!(lb.get("/").await.text(), "web");
}

#[tokio::test]
async fn a_removed_listener_stops_and_another_goes_on() {
    let (web, old) = (
        named("web", "127.0.0.1:0", ""),
        named("old", "127.0.0.1:0", ""),
    );
    let mut lb = Lb::start(&format!("{web}{old}")).await;
    let (web_addr, old_addr) = (lb.addr_of("web"), lb.addr_of("old"));
    let mut kept = Connection::open(web_addr).await;
    let mut ended = Connection::open(old_addr).await;
    assert_eq!(kept.get("/").await.text(), "web");
    assert_eq!(ended.get("/").await.text(), "old");
    lb.reload(&web).await.unwrap();
    eventually("the socket closes", || async {
        let connected = TcpStream::connect(old_addr).await;
        connected.is_err().then_some(()).ok_or("open".to_owned())
    })
    .await;
    eventually("its idle connection closes", || async {
        let closed = ended.is_closed();
        closed.then_some(()).ok_or("open".to_owned())
    })
    .await;
    assert_eq!(kept.get("/").await.text(), "web");
}

/// Whether a listener answers with this text; the connection may break.
async fn answered_by(addr: SocketAddr, name: &str) -> Result<(), String> {
    let ask = async {
        let mut stream = TcpStream::connect(addr).await?;
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(head).await?;
        let mut answered = String::new();
        stream.read_to_string(&mut answered).await?;
        Ok::<_, std::io::Error>(answered)
    };
    match ask.await {
        Ok(answered) if answered.ends_with(&format!("\r\n\r\n{name}")) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

// A regression: the reload that gave a listener a name was refused because Weir itself had
// the address.
#[tokio::test]
async fn a_listener_can_be_renamed_without_moving() {
    let mut lb = Lb::start(&named("old", "127.0.0.1:0", "")).await;
    let addr = lb.addr();
    // The text of `bind` is another one, so this is a move to the address it has already.
    let bind = addr.to_string();
    lb.reload(&named("new", &bind, "")).await.unwrap();
    assert_eq!(lb.addr_of("new"), addr);
    // A connection that the old sockets had not accepted yet may be reset.
    eventually("only the new name answers", || async {
        for _ in 0..20 {
            answered_by(addr, "new").await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn listeners_can_swap_their_addresses() {
    let config =
        |one: &str, two: &str| format!("{}{}", named("one", one, ""), named("two", two, ""));
    let mut lb = Lb::start(&config("127.0.0.1:0", "127.0.0.1:0")).await;
    let (one, two) = (lb.addr_of("one"), lb.addr_of("two"));
    lb.reload(&config(&two.to_string(), &one.to_string()))
        .await
        .unwrap();
    for (addr, name) in [(one, "two"), (two, "one")] {
        eventually("the other one answers", || answered_by(addr, name)).await;
    }
}

#[tokio::test]
async fn a_listener_can_widen_and_narrow_its_address() {
    // Over IPv6, where hardly any other test has a socket that could conflict.
    let mut lb = Lb::start(&named("web", "[::1]:0", "")).await;
    let narrow = lb.addr();
    let wide = (std::net::Ipv6Addr::UNSPECIFIED, narrow.port()).into();
    for addr in [wide, narrow] {
        lb.reload(&named("web", &addr.to_string(), ""))
            .await
            .unwrap();
        assert_eq!(lb.addr(), addr);
        eventually("it answers", || answered_by(narrow, "web")).await;
    }
}

#[tokio::test]
async fn every_worker_serves_every_listener() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&format!(
        r#"
        workers = 4
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = false
        upstream = {{ idle_timeout = "60s" }}
        "#,
        target.addr()
    ))
    .await;
    // The kernel spreads connections over the workers' sockets, and each worker keeps
    // one connection to the target for requests that come one after the other.
    for _ in 0..64 {
        assert_eq!(lb.get("/").await.text(), "a");
    }
    assert_eq!((target.requests(), target.connections()), (64, 4));
}

// A regression: every worker took a permit before it had a client. With fewer permits than
// workers, clients of the other workers waited for ever.
#[tokio::test]
async fn a_connection_limit_below_the_number_of_workers_still_lets_every_client_in() {
    let web = named("web", "127.0.0.1:0", "max_connections = 1");
    let lb = Lb::start(&format!("workers = 4\n{web}")).await;
    assert_eq!(lb.connections(), 0);
    for _ in 0..16 {
        let mut client = lb.connect().await;
        assert_eq!(client.get("/").await.text(), "web");
        assert_eq!(lb.connections(), 1);
    }
    eventually("the last client has left", || async {
        let now = lb.connections();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
}

#[tokio::test]
async fn a_client_above_the_limit_is_served_when_another_leaves() {
    let web = named("web", "127.0.0.1:0", "max_connections = 2");
    let lb = Lb::start(&format!("workers = 2\n{web}")).await;
    let (mut first, mut second) = (lb.connect().await, lb.connect().await);
    assert_eq!(first.get("/").await.text(), "web");
    assert_eq!(second.get("/").await.text(), "web");
    let mut third = lb.connect().await;
    let waiting = tokio::spawn(async move { third.get("/").await });
    for _ in 0..50 {
        assert_eq!(first.get("/").await.text(), "web");
        assert_eq!(second.get("/").await.text(), "web");
    }
    assert!(!waiting.is_finished());
    assert_eq!(lb.connections(), 2);
    drop(second);
    assert_eq!(
        soon("the third client", waiting).await.unwrap().text(),
        "web"
    );
    assert_eq!(first.get("/").await.text(), "web");
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_gives_way_at_the_limit() {
    let web = named("web", "127.0.0.1:0", "max_connections = 2");
    let lb = Lb::start(&format!("workers = 1\n{web}")).await;
    let mut first = lb.connect().await;
    assert_eq!(first.get("/").await.text(), "web");
    let mut second = lb.connect().await;
    assert_eq!(second.get("/").await.text(), "web");
    let mut third = lb.connect().await;
    let reply = soon("the third client", third.get("/")).await;
    assert_eq!(reply.text(), "web");
    eventually("the first connection is closed", || async {
        first.is_closed().then_some(()).ok_or("open".to_owned())
    })
    .await;
    assert!(!second.is_closed());
    assert_eq!(lb.connections(), 2);
}

#[tokio::test]
async fn a_reload_raises_and_lowers_the_connection_limit() {
    let web = |cap| {
        let more = format!("max_connections = {cap}");
        format!("workers = 2\n{}", named("web", "127.0.0.1:0", &more))
    };
    let mut lb = Lb::start(&web(1)).await;
    let mut first = lb.connect().await;
    assert_eq!(first.get("/").await.text(), "web");
    let mut second = lb.connect().await;
    let waiting = tokio::spawn(async move {
        let reply = second.get("/").await;
        (second, reply)
    });
    for _ in 0..20 {
        assert_eq!(first.get("/").await.text(), "web");
    }
    assert!(!waiting.is_finished());
    lb.reload(&web(2)).await.unwrap();
    let (mut second, reply) = soon("the second client", waiting).await.unwrap();
    assert_eq!(reply.text(), "web");

    // Open connections stay; the limit holds for new ones.
    lb.reload(&web(1)).await.unwrap();
    assert_eq!(first.get("/").await.text(), "web");
    assert_eq!(second.get("/").await.text(), "web");
    drop(first);
    eventually("the first client has left", || async {
        let now = lb.connections();
        (now == 1).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    let mut third = lb.connect().await;
    let waiting = tokio::spawn(async move { third.get("/").await });
    for _ in 0..20 {
        assert_eq!(second.get("/").await.text(), "web");
    }
    assert!(!waiting.is_finished());
    drop(second);
    assert_eq!(
        soon("the third client", waiting).await.unwrap().text(),
        "web"
    );
}

#[tokio::test]
async fn a_connection_is_kept_until_the_client_sends_close() {
    let lb = Lb::start(&named("web", "127.0.0.1:0", "")).await;
    let mut client = lb.connect().await;
    for _ in 0..10 {
        let reply = client.get("/").await;
        assert_eq!((reply.text(), reply.header("connection")), ("web", None));
    }
    assert_eq!(lb.connections(), 1);
    let request = Request::get("/")
        .header("connection", "close")
        .body(Full::default())
        .unwrap();
    assert_eq!(client.send(request).await.unwrap().text(), "web");
    eventually("the connection closes", || async {
        let now = lb.connections();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
}

#[tokio::test]
async fn http_1_0_clients_are_answered_and_kept_only_if_they_ask() {
    let lb = Lb::start(&named("web", "127.0.0.1:0", "")).await;
    let answered = raw(lb.addr(), b"GET / HTTP/1.0\r\n\r\n").await;
    // The version is that of the server (RFC 9110 section 2.5).
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert_eq!(fields_of(&answered, "connection"), ["close"], "{answered}");
    assert!(answered.ends_with("\r\n\r\nweb"), "{answered}");
    let twice = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let answered = raw(lb.addr(), twice).await;
    assert_eq!(answered.matches("HTTP/1.1 200 OK").count(), 2, "{answered}");
    let connection = fields_of(&answered, "connection");
    assert_eq!(connection, ["keep-alive"], "{answered}");
}

#[tokio::test]
async fn pipelined_requests_of_every_action_are_answered_in_order() {
    let target = Backend::with(|request| async move {
        let path = request.uri().path().to_owned();
        let body = http_body_util::BodyExt::collect(request.into_body()).await;
        let body = body.unwrap().to_bytes();
        answer(200, format!("{path}={}", String::from_utf8_lossy(&body)))
    })
    .await;
    let lb = Lb::start(&format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [[listener.rule]]
        priority = 1
        when = {{ path = "/fixed" }}
        then = {{ fixed_response = {{ status = 404, body = "fixed" }} }}
        [[listener.rule]]
        priority = 2
        when = {{ path = "/redirect" }}
        then = {{ redirect = {{ path = "/away" }} }}

        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    ))
    .await;
    let bytes = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
                 GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n\
                 POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
                 POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nunread\
                 GET /redirect HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = raw(lb.addr(), bytes.as_bytes()).await.to_lowercase();
    let marks = ["/1=one", "fixed", "/2=two", "fixed", "location: ", "/3="];
    let mut rest = answers.as_str();
    for mark in marks {
        let Some((_, after)) = rest.split_once(mark) else {
            panic!("{mark} is not next in {answers}");
        };
        rest = after;
    }
    assert_eq!(answers.matches("http/1.1 ").count(), 6, "{answers}");
    assert_eq!(target.requests(), 3);
}

/// More than what fits into a head's buffer, less than Weir reads before it closes.
const BODY: usize = 200 * 1024;

// Closing with unread bytes resets the connection, which can destroy the answer.
#[tokio::test]
async fn an_answer_that_does_not_wait_for_the_body_still_arrives() {
    let lb = Lb::start(&format!(
        "{}{}",
        named("web", "127.0.0.1:0", ""),
        r#"
        [[listener]]
        name = "empty"
        bind = "127.0.0.1:0"
        forward = "none"
        [target_group.none]
        targets = [{ address = "127.0.0.1:9", weight = 0 }, { address = "127.0.0.1:10", weight = 1 }]
        health = { type = "tcp", interval = "50ms" }
        fail_open = false
        "#
    ))
    .await;
    for (name, status) in [("web", "200 OK"), ("empty", "503 Service Unavailable")] {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(lb.addr_of(name)).await.unwrap();
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The response is sent before the body comes.
            let mut answered = vec![0; 12];
            soon("the answer", stream.read_exact(&mut answered))
                .await
                .unwrap();
            // The reads below would fail after a reset here too.
            stream.write_all(&vec![b'x'; BODY]).await.unwrap();
            stream.shutdown().await.unwrap();
            let end = soon("the end", stream.read_to_end(&mut answered)).await;
            let text = String::from_utf8_lossy(&answered);
            assert!(end.is_ok(), "{name}: {end:?} after {text}");
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        }
    }
    assert_eq!(lb.get("/").await.status, 503);
}
