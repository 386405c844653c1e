//! Connections that switch to another protocol: which bytes are copied, for how long, and how
//! the tunnels end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::scenario::support::{
    ADMIN, Backend, Connection, Lb, LogEntry, Rig, Wire, eventually, fields_of, keep_access_log,
    read_request_head, until_logged,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-version: 13\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame with the status 1001, as a server sends it.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The same frame of a client, with a mask of zeros.
const CLIENT_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// Some text, without its mask.
const FRAME: [u8; 4] = [0x81, 2, b'h', b'i'];

/// Switches, then sends back the bytes it gets.
async fn echo() -> Backend {
    switching(SWITCH, |mut stream| async move {
        let (mut from, mut to) = stream.split();
        // An error is one way for the connection to end.
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// Answers every request with `switch` and hands the connection to `script`.
async fn switching<R>(
    switch: &'static str,
    script: impl Fn(TcpStream) -> R + Clone + Send + Sync + 'static,
) -> Backend
where
    R: Future<Output = ()> + Send + 'static,
{
    Backend::raw(move |mut stream| {
        let script = script.clone();
        async move {
            let head = read_request_head(&mut stream).await;
            assert!(!head.is_empty(), "a request");
            stream.write_all(switch.as_bytes()).await.unwrap();
            script(stream).await;
        }
    })
    .await
}

/// An open WebSocket.
async fn open(wire: &mut Wire) {
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

async fn until_in_flight(rig: &Rig, count: u32) {
    eventually(&format!("{count} in flight"), || async {
        let now = rig.in_flight();
        (now == count).then_some(()).ok_or(now.to_string())
    })
    .await;
}

#[tokio::test]
async fn the_upgrade_fields_of_request_and_response_are_passed_on() {
    let target = Backend::raw(|mut stream| async move {
        let head = read_request_head(&mut stream).await;
        let answer = format!("{SWITCH}{}\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    let answer = wire.head().await.to_lowercase();
    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "x-request-id: ",
    ] {
        assert_eq!(answer.matches(field).count(), 1, "{field}: {answer}");
    }
    assert!(!answer.contains("content-length"), "{answer}");
    let echoed = String::from_utf8(wire.rest().await).unwrap();
    let (_, request) = echoed.split_once('\n').unwrap();
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(fields_of(request, name), [value], "{name}: {request}");
    }
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let target = echo().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    until_in_flight(&rig, 1).await;
    // It is counted once the 101 was sent, which the client may have before.
    eventually("the tunnel is counted", || async {
        let open = gauge(&rig.lb).await;
        (open == "1").then_some(()).ok_or(open)
    })
    .await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    wire.there_and_back(&sent).await;
    wire.finish().await;
    wire.ends().await;
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("101", ""));
    assert_eq!(log[0].get("received"), "3000000");
    assert_eq!(log[0].get("sent"), "3000000");
    rig.quiet().await;
    assert_eq!(gauge(&rig.lb).await, "0");
}

/// Open tunnels, as a scrape sees them.
async fn gauge(lb: &Lb) -> String {
    let mut admin = Connection::open(lb.admin_addr()).await;
    let page = admin.get("/metrics").await;
    let mut lines = page.text().lines();
    let line = lines.find(|line| line.starts_with("weir_upgraded_connections "));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn bytes_that_come_with_either_head_are_not_lost() {
    const HELLO: &str = concat!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
        "hello "
    );
    let target = Backend::raw(|mut stream| async move {
        let mut request = vec![];
        while !request.ends_with(b"early") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            if request.ends_with(b"\r\n\r\n") {
                stream.write_all(HELLO.as_bytes()).await.unwrap();
            }
        }
        stream.write_all(b"and bye").await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(format!("{ASK}early")).await;
    open(&mut wire).await;
    assert_eq!(wire.rest().await, b"hello and bye");
    drop(wire);
    assert_eq!(rig.logged(1).await[0].get("received"), "5");
}

#[tokio::test]
async fn a_client_may_send_before_it_has_the_101() {
    let switch = Arc::new(Notify::new());
    let (asked, told) = (Arc::new(Notify::new()), Arc::clone(&switch));
    let seen = Arc::clone(&asked);
    let target = Backend::raw(move |mut stream| {
        let (asked, switch) = (Arc::clone(&seen), Arc::clone(&told));
        async move {
            read_request_head(&mut stream).await;
            asked.notify_one();
            switch.notified().await;
            stream.write_all(SWITCH.as_bytes()).await.unwrap();
            let mut said = [0; 6];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(&said).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    asked.notified().await;
    wire.send("before").await;
    switch.notify_one();
    open(&mut wire).await;
    assert_eq!(wire.rest().await, b"before");
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_receives_from_the_target() {
    let target = switching(SWITCH, |mut stream| async move {
        let mut heard = vec![];
        stream.read_to_end(&mut heard).await.unwrap();
        heard.extend(b" heard to its end");
        stream.write_all(&heard).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    wire.send("all").await;
    wire.finish().await;
    assert_eq!(wire.rest().await, b"all heard to its end");
    assert_eq!(rig.logged(1).await[0].status_and_reason(), ("101", ""));
}

#[tokio::test]
async fn a_target_that_has_ended_its_side_still_receives_from_the_client() {
    let count = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&count);
    let target = switching(SWITCH, move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            stream.shutdown().await.unwrap();
            let mut all = vec![];
            stream.read_to_end(&mut all).await.unwrap();
            heard.store(all.len(), Ordering::SeqCst);
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    wire.ends().await;
    wire.send(vec![0; 100_000]).await;
    wire.finish().await;
    eventually("the target hears all", || async {
        let heard = count.load(Ordering::SeqCst);
        (heard == 100_000).then_some(()).ok_or(heard.to_string())
    })
    .await;
    assert_eq!(rig.logged(1).await[0].status_and_reason(), ("101", ""));
    rig.quiet().await;
}

#[tokio::test]
async fn nothing_is_read_for_a_side_that_does_not_read() {
    // Reads nothing after the switch.
    let target = switching(SWITCH, |stream| async move {
        stream.writable().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = "upstream = { tunnel_timeout = \"500ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    let timeout = std::time::Duration::from_millis(300);
    let taken = wire.send_until_stuck(timeout).await;
    // The socket buffers of four ends, and Weir's own.
    assert!(taken < 40 << 20, "{taken}");
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("101", "tunnel_timeout")
    );
    rig.quiet().await;
}

#[tokio::test]
async fn a_switch_without_a_request_for_it_is_refused() {
    let other = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let without_option = "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let http2 = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\n\
        upgrade: h2c\r\nhttp2-settings: AA\r\n\r\n";
    let body = "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        content-length: 1\r\n\r\nx";
    let target = echo().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let asks = [other, without_option, old, http2, body];
    for (index, ask) in asks.iter().enumerate() {
        let mut wire = rig.wire(ask).await;
        assert_eq!(wire.response().await.status(), 502, "{ask}");
        let log = rig.logged(index + 1).await;
        assert_eq!(
            log[index].status_and_reason(),
            ("502", "malformed_response"),
            "{ask}"
        );
    }
    rig.quiet().await;
}

#[tokio::test]
async fn a_switch_must_name_its_protocol() {
    let target = switching("HTTP/1.1 101 Sure\r\n\r\n", |_| async {}).await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    assert_eq!(wire.response().await.status(), 502);
}

#[tokio::test]
async fn a_target_may_refuse_and_the_connection_goes_on() {
    let target = Backend::raw(|mut stream| async move {
        let refusal = "HTTP/1.1 426 Upgrade Required\r\nupgrade: other\r\n\
            connection: upgrade\r\ncontent-length: 2\r\n\r\nno";
        let ignored = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        for answer in [refusal, ignored, ignored] {
            read_request_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(ASK).await;
    let refused = wire.response().await;
    assert_eq!((refused.status(), refused.text().as_str()), (426, "no"));
    wire.send(ASK).await;
    assert_eq!(wire.response().await.text(), "yes");
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(wire.response().await.text(), "yes");
    assert_eq!(target.connections(), 1, "ordinary answers leave it usable");
}

#[tokio::test]
async fn a_tunnel_without_a_byte_for_too_long_ends() {
    let target = switching(SWITCH, |mut stream| async move {
        let mut heard = vec![];
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(unmasked(&heard), GOING_AWAY);
    })
    .await;
    let upstream = "upstream = { tunnel_timeout = \"200ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    assert_eq!(wire.rest().await, GOING_AWAY);
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("101", "tunnel_timeout")
    );
    rig.quiet().await;
}

/// A short frame without its mask.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    assert!(frame.len() >= 6 && frame[1] & 0x80 != 0, "{frame:?}");
    let mask = &frame[2..6];
    let payload = frame[6..].iter().zip(mask.iter().cycle());
    let head = [frame[0], frame[1] & 0x7f];
    head.into_iter()
        .chain(payload.map(|(b, m)| b ^ m))
        .collect()
}

#[tokio::test]
async fn a_tunnel_survives_reloads_and_the_removal_of_its_target() {
    let (target, other) = (echo().await, Backend::answering("b").await);
    let mut rig = Rig::forward(&[target.addr()]).await;
    let live = rig.lb.target("app", target.addr()).unwrap();
    let mut wire = rig.wire(ASK).await;
    open(&mut wire).await;
    let changes = [
        rig.changed(&[target.addr()], "", ""),
        rig.changed(&[target.addr()], "max_connections = 100", ""),
        rig.changed(&[target.addr(), other.addr()], "", "algorithm = \"random\""),
        rig.changed(&[other.addr()], "", ""),
    ];
    for change in &changes {
        rig.lb.reload(change).await.unwrap();
        wire.send(FRAME).await;
        assert_eq!(wire.take(FRAME.len()).await, FRAME);
        assert_eq!(live.load().in_flight(), 1);
    }
    assert_eq!(rig.lb.get("/").await.text(), "b");
    live.release();
    assert_eq!(wire.take(4).await, GOING_AWAY);
    wire.send(CLIENT_CLOSE).await;
    wire.ends().await;
    let log = rig.logged(2).await;
    assert_eq!(log[1].status_and_reason(), ("101", "target_released"));
    assert_eq!(live.load().in_flight(), 0);
}

/// A Weir of two listeners that a test can shut down, and its log.
struct Site {
    lb: Lb,
    name: String,
    target: std::net::SocketAddr,
    drain: &'static str,
}

impl Site {
    async fn start(target: &Backend, drain: &'static str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        keep_access_log();
        let name = format!("upgrade-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let config = Self::config(&name, target.addr(), drain, true);
        let lb = Lb::start(&config).await;
        Self {
            lb,
            name,
            target: target.addr(),
            drain,
        }
    }

    fn config(name: &str, target: std::net::SocketAddr, drain: &str, side: bool) -> String {
        let side = if side {
            format!(
                "[[listener]]\nname = \"{name}-side\"\nbind = \"127.0.0.1:0\"\nforward = \"app\""
            )
        } else {
            String::new()
        };
        format!(
            r#"
            {ADMIN}
            workers = 1
            access_log = "all"
            shutdown = {{ lame_duck = "0s", drain = "{drain}" }}
            [[listener]]
            name = "{name}"
            bind = "127.0.0.1:0"
            forward = "app"
            {side}
            [target_group.app]
            targets = ["{target}"]
            health = false
            "#
        )
    }

    fn without_side(&self) -> String {
        Self::config(&self.name, self.target, self.drain, false)
    }

    async fn open(&self, listener: &str) -> Wire {
        let mut wire = Wire::send_to(self.lb.addr_of(listener), ASK).await;
        open(&mut wire).await;
        wire
    }
}

async fn only_entry(listener: &str) -> LogEntry {
    until_logged(listener, 1).await.remove(0)
}

#[tokio::test]
async fn a_websocket_gets_a_close_frame_at_the_drain_deadline() {
    let target = switching(SWITCH, |mut stream| async move {
        let mut heard = [0; 8];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(unmasked(&heard), GOING_AWAY);
        stream.write_all(&GOING_AWAY).await.unwrap();
        assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
    })
    .await;
    let site = Site::start(&target, "200ms").await;
    let name = site.name.clone();
    let mut wire = site.open(&name).await;
    let client = async {
        assert_eq!(wire.take(4).await, GOING_AWAY);
        wire.send(CLIENT_CLOSE).await;
        wire.ends().await;
    };
    let (graceful, ()) = tokio::join!(site.lb.shutdown(), client);
    assert!(graceful, "nothing was cut");
    let entry = only_entry(&name).await;
    assert_eq!(entry.status_and_reason(), ("101", "shutting_down"));
}

#[tokio::test]
async fn the_close_frame_comes_between_two_frames() {
    let target = switching(SWITCH, |mut stream| async move {
        stream.write_all(&[0x82, 6, 1, 2, 3]).await.unwrap();
        // The Close frame comes inside a frame of the target, which ends it and begins another.
        // The other one is not waited for.
        let mut heard = [0; 8];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(&[4, 5, 6, 0x82, 1, 7]).await.unwrap();
        stream.write_all(&GOING_AWAY).await.unwrap();
    })
    .await;
    let site = Site::start(&target, "200ms").await;
    let name = site.name.clone();
    let mut wire = site.open(&name).await;
    let client = async {
        assert_eq!(wire.take(8).await, [0x82, 6, 1, 2, 3, 4, 5, 6]);
        assert_eq!(wire.take(4).await, GOING_AWAY);
        wire.send(CLIENT_CLOSE).await;
        wire.ends().await;
    };
    let (graceful, ()) = tokio::join!(site.lb.shutdown(), client);
    assert!(graceful);
}

#[tokio::test]
async fn a_websocket_that_does_not_answer_is_not_waited_for() {
    let target = switching(SWITCH, |stream| async move {
        stream.writable().await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let site = Site::start(&target, "100ms").await;
    let name = site.name.clone();
    let mut wire = site.open(&name).await;
    // Inside a frame of the client, so that the target cannot get a Close frame.
    wire.send([0x82, 0xff]).await;
    let (graceful, rest) = tokio::join!(site.lb.shutdown(), wire.rest());
    assert!(graceful);
    assert_eq!(rest, GOING_AWAY);
    assert_eq!(
        only_entry(&name).await.status_and_reason(),
        ("101", "shutting_down")
    );
}

#[tokio::test]
async fn websockets_get_a_close_frame_at_a_second_signal_too() {
    let target = echo().await;
    let site = Site::start(&target, "1h").await;
    let mut wire = site.open(&site.name).await;
    let client = async {
        assert_eq!(wire.take(4).await, GOING_AWAY);
        wire.send(CLIENT_CLOSE).await;
        wire.ends().await;
    };
    let (graceful, ()) = tokio::join!(site.lb.shutdown_unless(async {}), client);
    assert!(graceful);
}

#[tokio::test]
async fn a_tunnel_of_another_protocol_ends_with_its_streams() {
    const SWITCH_TO_CHAT: &str = "HTTP/1.1 101 Yes\r\nupgrade: chat/2\r\n\r\nhello";
    let target = switching(SWITCH_TO_CHAT, |mut stream| async move {
        let mut heard = vec![];
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"hi");
    })
    .await;
    let site = Site::start(&target, "200ms").await;
    let name = site.name.clone();
    let ask = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat/2\r\n\r\nhi";
    let mut wire = Wire::send_to(site.lb.addr_of(&name), ask).await;
    open(&mut wire).await;
    let (graceful, rest) = tokio::join!(site.lb.shutdown(), wire.rest());
    assert!(graceful);
    assert_eq!(rest, b"hello");
    let entry = only_entry(&name).await;
    assert_eq!(entry.status_and_reason(), ("101", "shutting_down"));
    assert_eq!((entry.get("received"), entry.get("sent")), ("2", "5"));
}

#[tokio::test]
async fn tunnels_of_a_removed_listener_end_after_the_drain_deadline() {
    let target = echo().await;
    let mut site = Site::start(&target, "200ms").await;
    let second = format!("{}-side", site.name);
    let (mut stays, mut goes) = (site.open(&site.name).await, site.open(&second).await);
    let config = site.without_side();
    site.lb.reload(&config).await.unwrap();
    assert_eq!(goes.take(4).await, GOING_AWAY);
    goes.send(CLIENT_CLOSE).await;
    goes.ends().await;
    assert_eq!(
        only_entry(&second).await.status_and_reason(),
        ("101", "listener_gone")
    );
    stays.send(FRAME).await;
    assert_eq!(stays.take(FRAME.len()).await, FRAME);
}

#[tokio::test]
async fn a_request_that_is_cut_at_the_deadline_is_not_logged_as_a_client_that_left() {
    let mut target = Backend::manual().await;
    let site = Site::start(&target, "100ms").await;
    let name = site.name.clone();
    let get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut wire = Wire::send_to(site.lb.addr_of(&name), get).await;
    let _held = target.next_request().await;
    assert!(!site.lb.shutdown().await);
    wire.ends().await;
    assert_eq!(only_entry(&name).await.get("reason"), "shutting_down");
}
