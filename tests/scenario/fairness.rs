//! One message may not hold a worker: other clients are served while it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::scenario::support::{
    Backend, Recorder, Rig, Wire, eventually, read_request, read_request_start, soon,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Clients that keep the worker busy until they are told to stop.
const FLOODS: usize = 4;

/// Requests of another client while the floods go on.
const REQUESTS: usize = 20;

struct Floods {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
}

impl Floods {
    /// Every flood sends or receives until `stop`, and counts what it moves.
    fn start<F>(flood: impl Fn(Arc<AtomicBool>, Arc<AtomicU64>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, moved) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..FLOODS {
            tasks.spawn(flood(Arc::clone(&stop), Arc::clone(&moved)));
        }
        Self { tasks, stop, moved }
    }

    /// Other requests are answered, and the floods go on before, between and after them.
    async fn assert_others_are_served(self, rig: &Rig) {
        let Self {
            mut tasks,
            stop,
            moved,
        } = self;
        let flows = async |since: u64| {
            eventually("the floods go on", || async {
                let now = moved.load(Ordering::SeqCst);
                (now > since).then_some(now).ok_or(format!("{now}"))
            })
            .await
        };
        let mut since = flows(0).await;
        let mut wire = Wire::open(rig.addr()).await;
        for _ in 0..REQUESTS {
            wire.send(GET).await;
            assert_eq!(wire.final_response().await.text(), "ok");
            since = flows(since).await;
        }
        stop.store(true, Ordering::SeqCst);
        soon("the floods stop", async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
        drop(wire);
        rig.quiet().await;
    }
}

/// Reads all that comes.
async fn drain(mut stream: TcpStream) {
    let mut sink = vec![0; 65536];
    while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn a_body_of_small_chunks_does_not_starve_other_clients() {
    let target = Backend::raw(|mut stream| async move {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {
            if seen.starts_with(b"GET") && seen.ends_with(b"\r\n\r\n") {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
                seen.clear();
            } else if seen.starts_with(b"POST") {
                return drain(stream).await;
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let addr = rig.addr();
    let floods = Floods::start(|stop, moved| async move {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::send_to(addr, head).await;
        let chunks = "1\r\nx\r\n".repeat(10_000);
        while !stop.load(Ordering::SeqCst) {
            wire.send(&chunks).await;
            moved.fetch_add(1, Ordering::SeqCst);
        }
    });
    floods.assert_others_are_served(&rig).await;
}

#[tokio::test]
async fn a_response_of_small_chunks_does_not_starve_other_clients() {
    let target = Backend::raw(|mut stream| async move {
        loop {
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            if request.head.starts_with("GET /flood") {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let chunks = "1\r\nx\r\n".repeat(10_000);
                while stream.write_all(chunks.as_bytes()).await.is_ok() {}
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let addr = rig.addr();
    let floods = Floods::start(|stop, moved| async move {
        let mut wire = Wire::send_to(addr, GET.replace("/ ", "/flood ")).await;
        let mut sink = vec![0; 65536];
        while !stop.load(Ordering::SeqCst) {
            let read = soon("more of the flood", wire.stream().read(&mut sink)).await;
            assert_ne!(read.unwrap(), 0);
            moved.fetch_add(1, Ordering::SeqCst);
        }
    });
    floods.assert_others_are_served(&rig).await;
}

/// Interim responses of one request are bounded; those of many requests are not.
#[tokio::test]
async fn interim_responses_do_not_starve_other_clients() {
    let target = Backend::raw(|mut stream| async move {
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(1000);
        loop {
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            if request.head.starts_with("GET /flood") {
                while stream.write_all(hints.as_bytes()).await.is_ok() {}
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    // The floods are its fault, and it must not be taken out for them.
    let rig = Rig::with(&[target.addr()], "", "retry = false").await;
    let addr = rig.addr();
    let floods = Floods::start(|stop, moved| async move {
        while !stop.load(Ordering::SeqCst) {
            let mut wire = Wire::send_to(addr, GET.replace("/ ", "/flood ")).await;
            assert_eq!(wire.final_response().await.status(), 502);
            moved.fetch_add(1, Ordering::SeqCst);
        }
    });
    floods.assert_others_are_served(&rig).await;
}

/// What is left of a flood when its client has gone is not worked on.
#[tokio::test]
async fn the_flood_of_a_client_that_has_left_ends() {
    let target = Backend::raw(|mut stream| async move {
        read_request_start(&mut stream).await;
        drain(stream).await;
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wires = Vec::new();
    for _ in 0..10 {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = rig.wire(head).await;
        wire.send("1\r\nx\r\n".repeat(100_000)).await;
        wires.push(wire);
    }
    drop(wires);
    rig.quiet().await;
    let log = rig.logged(10).await;
    assert!(
        log.iter().all(|entry| !entry.get("reason").is_empty()),
        "{log:?}"
    );
}

/// Chunks of one byte cost six times their data on the next hop: those that came together go on
/// together.
#[tokio::test]
async fn small_chunks_are_joined_on_their_way() {
    const COUNT: usize = 10_000;
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = rig
        .wire(format!("{head}{}0\r\n\r\n", "1\r\nx\r\n".repeat(COUNT)))
        .await;
    assert_eq!(wire.response().await.text(), "ok");
    let seen = target.requests();
    assert_eq!(seen[0].body, vec![b'x'; COUNT]);
    let framing = target.bytes().len() - seen[0].head.len() - COUNT;
    assert!(
        framing < COUNT,
        "{framing} bytes of framing for {COUNT} of data"
    );
}
