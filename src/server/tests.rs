//! A server a part of which panics.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::time::timeout;

use super::pending_reload::TARGETS_TIMEOUT;
use super::running::ServerEvent;
use super::worker::Worker;
use super::{Inherited, Server};
use crate::config;
use crate::observe::openmetrics::ParsedPage;

/// Makes the first worker panic in its next round of housekeeping.
static BREAKS: AtomicBool = AtomicBool::new(false);

fn housekeeping() {
    let is_first = thread::current().name() == Some("weir-worker-0");
    assert!(!(is_first && BREAKS.load(Ordering::SeqCst)), "a defect");
}

/// The response to a client that connects now; `None` if the connection is refused.
fn ask(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(TARGETS_TIMEOUT)).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => Some(answer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            panic!("no worker serves the client")
        }
        Err(_) => None,
    }
}

#[tokio::test]
async fn a_worker_that_panics_ends_the_server_and_leaves_no_queue_behind() {
    let text =
        "workers = 2\n[[listener]]\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }";
    let config = config::parse("weir.toml", text, &|_| None).unwrap().config;
    let mut server = Server::begin(config, Inherited::default(), housekeeping, None).unwrap();
    while !matches!(server.next().await, ServerEvent::Serving) {}
    let addr = server.addresses().next().unwrap().1.address().unwrap();
    assert!(Worker::ping(&server.workers).all_answer().await);

    BREAKS.store(true, Ordering::SeqCst);
    let event = timeout(TARGETS_TIMEOUT, server.next()).await.unwrap();
    let ServerEvent::Broken(defect) = event else {
        panic!("{event:?}");
    };
    assert_eq!((defect.place, &*defect.message), ("worker", "a defect"));
    server.hasten_shutdown();
    // The kernel spreads clients over all open sockets.
    for _ in 0..50 {
        let answer = tokio::task::spawn_blocking(move || ask(addr)).await;
        let answer = answer.unwrap().expect("the other worker serves");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(!Worker::ping(&server.workers).all_answer().await);
    let page = ParsedPage::of(Arc::clone(&server.metrics));
    assert_eq!(
        page.value(r#"weir_panics_total{place="worker"}"#),
        Some(1.0)
    );
    server.shutdown(std::future::pending()).await;
}
