//! A thousand websockets through a hundred reloads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::process::support::{Weir, wait_timeout};

const SOCKETS: usize = 1000;
const RELOADS: usize = 100;

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A Close frame with 1001 ("going away"), as a server sends it and as a client may.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];
const CLIENT_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// Switches each connection to WebSocket, and sends all bytes back.
async fn echo(listener: TcpListener, opened: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        opened.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            let _ = head(&mut stream).await;
            stream.write_all(SWITCH.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            // Fails if the client closes early.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn open(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Sends a masked text frame, and expects the same bytes from the echo target.
async fn exchange(stream: &mut TcpStream, number: usize) {
    let text = format!("socket {number:04}");
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 1, 2, 3, 4];
    let mask = [1, 2, 3, 4].into_iter().cycle();
    frame.extend(text.bytes().zip(mask).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&frame).await.unwrap();
    let mut answer = vec![0; frame.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, frame);
}

fn config(target: SocketAddr, reload: usize) -> String {
    let other = reload % 7 + 1;
    let algorithm = ["round_robin", "random", "least_connections"][reload % 3];
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "100ms" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        max_connections = {}
        [target_group.app]
        targets = ["{target}", "127.0.0.{other}:9"]
        algorithm = "{algorithm}"
        health = {{ type = "tcp", interval = "1h" }}
        "#,
        2000 + reload
    )
}

#[test]
fn a_thousand_websockets_stay_open_across_a_hundred_reloads() {
    let runtime = Runtime::new().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let target = listener.local_addr().unwrap();
    runtime.spawn(echo(listener, Arc::clone(&opened)));
    let mut weir = Weir::start(&config(target, 0));
    let addr = weir.addr();
    let checks = opened.load(Ordering::SeqCst);
    let mut sockets = runtime.block_on(async {
        let opening: Vec<_> = (0..SOCKETS).map(|_| tokio::spawn(open(addr))).collect();
        let mut sockets = Vec::new();
        for socket in opening {
            sockets.push(
                tokio::time::timeout(wait_timeout(), socket)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        sockets
    });
    for reload in 1..=RELOADS {
        weir.overwrite(&config(target, reload));
        weir.signal(Signal::HUP);
        weir.nth_line(reload, &["configuration loaded: "]);
    }
    assert!(opened.load(Ordering::SeqCst) >= checks + SOCKETS);
    runtime.block_on(async {
        for (number, socket) in sockets.iter_mut().enumerate() {
            let exchanged = tokio::time::timeout(wait_timeout(), exchange(socket, number));
            exchanged.await.expect("an answer");
        }
    });
    weir.signal(Signal::TERM);
    runtime.block_on(async {
        let mut ends = JoinSet::new();
        for mut socket in sockets {
            ends.spawn(async move {
                let mut frame = [0; 4];
                socket.read_exact(&mut frame).await.unwrap();
                assert_eq!(frame, GOING_AWAY);
                socket.write_all(&CLIENT_CLOSE).await.unwrap();
                assert_eq!(socket.read(&mut frame).await.unwrap(), 0);
            });
        }
        let ended = tokio::time::timeout(wait_timeout(), ends.join_all());
        assert_eq!(ended.await.unwrap().len(), SOCKETS);
    });
    weir.line(&["upgraded and TCP connections closed", "tunnels=1000"]);
    assert_eq!(weir.end(), 0, "each was closed properly");
}
