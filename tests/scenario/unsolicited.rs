//! Bytes that no request asked for. Whenever a target sends them, they are never the answer of the
//! next client; they are counted, and the target's connections are not kept for a while.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::scenario::support::{Backend, Rig, Wire, eventually, read_request, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// A target that sends what no request has asked for when the test says so, once on a connection.
struct Poisoner {
    backend: Backend,
    /// The test lets the target send.
    go: Arc<Notify>,
    /// It has sent.
    done: Arc<Notify>,
}

impl Poisoner {
    async fn start(answer: &'static str, poison: &'static str) -> Self {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, tell) = (Arc::clone(&go), Arc::clone(&done));
        let backend = Backend::raw(move |mut stream| {
            let (told, tell) = (Arc::clone(&told), Arc::clone(&tell));
            async move {
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                told.notified().await;
                // Weir may have closed it.
                let _ = stream.write_all(poison.as_bytes()).await;
                tell.notify_one();
                // Answers as a target that does not know what it has done.
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { backend, go, done }
    }

    async fn poison(&self) {
        self.go.notify_one();
        soon("the poison is sent", self.done.notified()).await;
    }
}

async fn until_counted(rig: &Rig) {
    eventually("it is counted", || async {
        let count = rig.lb.metric("weir_unsolicited_responses_total", &[]).await;
        (count >= 1).then_some(()).ok_or(count.to_string())
    })
    .await;
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What comes while no request is under way. A client asks next at once, a little later or much
/// later; the bytes are there before its request is written in each case.
#[tokio::test]
async fn bytes_that_come_between_two_requests_are_not_the_answer_of_the_next() {
    let pauses = [0, 0, 0, 1, 5, 20, 150].map(Duration::from_millis);
    for poison in [
        POISON,
        "HTTP/1.1 200 OK\r\n",
        "x",
        "\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let before = pauses.map(|pause| assert_not_answered(poison, pause, Duration::ZERO));
        let after = pauses.map(|pause| assert_not_answered(poison, Duration::ZERO, pause));
        join_all(before.into_iter().chain(after)).await;
    }
}

async fn assert_not_answered(poison: &'static str, before: Duration, after: Duration) {
    let target = Poisoner::start(OK, poison).await;
    let rig = Rig::forward(&[target.backend.addr()]).await;
    let mut wire = rig.wire(GET).await;
    assert_eq!(wire.response().await.text(), "ok");
    tokio::time::sleep(before).await;
    target.poison().await;
    tokio::time::sleep(after).await;
    // The same client, and another one.
    wire.send(GET).await;
    let reply = wire.response().await;
    let name = format!("{before:?}, {after:?}, {poison:?}");
    assert_eq!(
        (reply.status(), &*reply.text()),
        (200, "ok"),
        "{name}: {reply:?}"
    );
    let mut other = rig.wire(GET).await;
    assert_eq!(other.response().await.text(), "ok", "{name}");
    assert_eq!(
        target.backend.connections(),
        3,
        "{name}: no connection is kept"
    );
    until_counted(&rig).await;
    let log = rig.logged(3).await;
    for entry in log {
        assert_eq!(entry.status_and_reason(), ("200", ""), "{name}: {entry:?}");
    }
}

/// What comes with a response, in the same bytes or right behind them.
#[tokio::test]
async fn bytes_behind_a_response_are_not_the_answer_of_the_next() {
    for together in [true, false] {
        join_all((0..10).map(|_| assert_not_taken_along(together))).await;
    }
}

async fn assert_not_taken_along(together: bool) {
    let target = Backend::raw(move |mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            let parts = if together {
                vec![format!("{OK}{POISON}")]
            } else {
                vec![OK.to_owned(), POISON.to_owned()]
            };
            for part in parts {
                if stream.write_all(part.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for n in 0..5 {
        wire.send(GET).await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "ok", "{n}: {reply:?}");
        // What is right behind has come by then.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_counted(&rig).await;
}
