//! Time passes here as the clock of the runtime is told: how a connection finds out that its target
//! has gone silent, and when one that is idle is closed.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::{Http2List, Http2Stream};
use crate::clock;
use crate::http1::{Hop, Persistence};
use crate::message::{BodyLength, RequestHead, ResponseHead};
use crate::model::{TargetId, TargetProtocol, UpstreamLimits};
use crate::net::DialError;
use crate::net::descriptors::DescriptorPool;
use crate::target::Target;
use crate::upstream::response::{HeadKind, ReadError, ResponseLimits};

type H2Connection = server::Connection<TcpStream, Bytes>;

/// What a target does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Answers requests.
    Answers,
    /// Answers pings alone.
    AnswersPings,
    /// Reads the first request, and then nothing.
    FallsSilent,
}

/// A target, with how many connections are open.
struct Site {
    list: Rc<Http2List>,
    open: Rc<Cell<usize>>,
}

async fn site(manner: Manner) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let id = TargetId {
        group: "todo".into(),
        addr: listener.local_addr().unwrap().into(),
    };
    let open = Rc::new(Cell::new(0));
    let count = Rc::clone(&open);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Rc::clone(&count);
            count.set(count.get() + 1);
            spawn_local(async move {
                let connection = server::handshake(stream).await.unwrap();
                serve(connection, manner).await;
                count.set(count.get() - 1);
            });
        }
    });
    let policy = UpstreamLimits {
        protocol: TargetProtocol::Http2,
        ..UpstreamLimits::default()
    };
    let target = Arc::new(Target::new(id));
    let list = Rc::new(Http2List::new(&target, &policy, None));
    Site { list, open }
}

async fn serve(mut connection: H2Connection, manner: Manner) {
    let mut held: Vec<SendResponse<Bytes>> = Vec::new();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        match manner {
            Manner::Answers => drop(respond.send_response(Response::new(()), true)),
            Manner::AnswersPings => held.push(respond),
            Manner::FallsSilent => pending().await,
        }
    }
}

impl Site {
    async fn connect(&self) -> Http2Stream {
        let descriptors = DescriptorPool::unlimited();
        let descriptor = || descriptors.try_take().ok_or(DialError::TimedOut);
        self.list.connect(descriptor).await.unwrap()
    }

    /// A stream on a connection that is there.
    fn take(&self) -> Option<Http2Stream> {
        self.list.take(clock::now().into_std())
    }
}

/// Sends a request, and waits for the head of its response.
async fn ask(stream: &mut Http2Stream) -> Result<HeadKind, ReadError> {
    let mut head = RequestHead::new();
    head.set_method(b"GET").unwrap();
    head.set_host(b"a").unwrap();
    let hop = Hop {
        persistence: Persistence::Implied,
        upgrade: None,
        te_trailers: false,
    };
    let limits = ResponseLimits {
        max_head: 1024,
        max_fields: 10,
    };
    stream
        .begin(&head, BodyLength::Empty, &hop, limits)
        .unwrap();
    let mut response = ResponseHead::with_status(200);
    poll_fn(|cx| stream.poll_head(cx, &mut response)).await
}

/// It is looked every 30 s whether a byte has come since; a target that is asked has 10 s to answer.
#[tokio::test(start_paused = true)]
async fn a_target_that_falls_silent_is_given_up() {
    let test = async {
        let site = site(Manner::FallsSilent).await;
        let mut stream = site.connect().await;
        let before = Instant::now();
        assert_eq!(ask(&mut stream).await, Err(ReadError::Closed));
        let waited = before.elapsed().as_secs();
        assert!((40..=71).contains(&waited), "{waited} s");
        assert!(!stream.is_refused(), "it may have been executed");
        assert!(site.take().is_none(), "nothing more goes there");
        site.connect().await;
        assert_eq!(site.open.get(), 2, "another connection was opened");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_answers_pings_may_think_as_long_as_it_likes() {
    let test = async {
        let site = site(Manner::AnswersPings).await;
        let mut stream = site.connect().await;
        let waited = timeout(Duration::from_secs(3600), ask(&mut stream)).await;
        assert!(waited.is_err(), "{waited:?}");
        assert!(site.take().is_some());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_does_not_answer_is_not_used_again() {
    let test = async {
        let site = site(Manner::FallsSilent).await;
        let mut stream = site.connect().await;
        assert!(
            timeout(Duration::from_secs(1), ask(&mut stream))
                .await
                .is_err()
        );
        drop(stream);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(site.take().is_none(), "it has to answer first");
        site.connect().await;
        assert_eq!(site.open.get(), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_after_their_time() {
    let test = async {
        let site = site(Manner::Answers).await;
        let mut stream = site.connect().await;
        assert_eq!(ask(&mut stream).await, Ok(HeadKind::Final));
        tokio::time::advance(Duration::from_secs(100)).await;
        site.list.reap();
        assert_eq!(site.open.get(), 1, "it has a stream");
        drop(stream);
        tokio::time::advance(Duration::from_secs(59)).await;
        site.list.reap();
        assert_eq!(site.list.idle(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        site.list.reap();
        assert_eq!(site.list.idle(), 0);
        let closed = timeout(Duration::from_secs(1), async {
            while site.open.get() > 0 {
                tokio::task::yield_now().await;
            }
        });
        closed.await.expect("the target hears of it");
    };
    LocalSet::new().run_until(test).await;
}
