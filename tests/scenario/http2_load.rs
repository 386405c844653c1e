//! HTTP/2 on both sides under load, while certificates, targets and connections change: not a measure
//! of speed, but that no request is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::client::Builder;
use h2::server;
use http::Response;
use tokio::task::{JoinHandle, JoinSet};

use crate::scenario::support::{
    H2, H2Target, Lb, Rig, Site, TlsClient, answer_h2, eventually, get, read_body, serve_h2,
};

/// Requests on one connection of a client; then it opens another.
const PER_CONNECTION: usize = 20;

/// Clients that ask without a pause, each on connections of its own.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `open` makes a connection.
    fn start<F>(open: impl Fn() -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = H2> + Send + 'static,
    {
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..6).map(|_| {
            let (open, is_over, answered) = (open.clone(), is_over.clone(), answered.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let mut client = open().await;
                    for _ in 0..PER_CONNECTION {
                        let reply = client.ask(get("/")).await;
                        assert_eq!((reply.status, reply.reset), (200, None), "{reply:?}");
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        });
        Self {
            clients: clients.collect(),
            is_over,
            answered,
        }
    }

    fn plain(addr: SocketAddr) -> Self {
        Self::start(move || H2::open(addr))
    }

    /// Waits until so many more requests were answered.
    async fn goes_on(&self, count: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + count;
        eventually(&format!("{wanted} answers"), async || {
            let now = self.answered.load(Ordering::SeqCst);
            let is_alive = self.clients.iter().all(|client| !client.is_finished());
            assert!(is_alive, "a request was lost");
            (now >= wanted).then_some(()).ok_or(now.to_string())
        })
        .await;
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_request_is_lost_while_a_certificate_is_replaced() {
    let (site, target) = (Site::new(), H2Target::answering("well").await);
    site.certify("site", &["site.example"]);
    let group = "protocol = \"http2\"";
    let file = site.configure(&["site"], target.addr(), ("", "", "", group));
    let mut lb = Lb::start_file(&file).await;
    let (addr, client) = (lb.addr(), Arc::new(site.client().with_alpn(&[b"h2"])));
    let load = Load::start(move || {
        let client = Arc::clone(&client);
        async move { open(&client, addr).await }
    });
    for _ in 0..5 {
        load.goes_on(100).await;
        site.certify("site", &["site.example"]);
        lb.reload_file(&file).await;
    }
    load.goes_on(100).await;
    load.end().await;
}

async fn open(client: &TlsClient, addr: SocketAddr) -> H2 {
    let stream = client.connect(addr, "site.example").await.unwrap();
    H2::over(stream, &Builder::new()).await
}

/// Each of its connections says GOAWAY with a request on it, and answers it.
async fn restless() -> H2Target {
    H2Target::scripted(server::Builder::new(), |_, mut connection| async move {
        let (mut tasks, mut count) = (JoinSet::new(), 0);
        while let Some(Ok((request, respond))) = connection.accept().await {
            count += 1;
            if count == 30 {
                connection.graceful_shutdown();
            }
            tasks.spawn(async move {
                read_body(request.into_body()).await;
                answer_h2(respond, Response::new(()), "well");
            });
        }
    })
    .await
}

/// Its connections break off, each with its thirtieth request.
async fn fragile() -> H2Target {
    H2Target::scripted(server::Builder::new(), |_, connection| async move {
        let count = Arc::new(AtomicUsize::new(0));
        let (broken, breaks) = tokio::sync::oneshot::channel::<()>();
        let broken = Arc::new(std::sync::Mutex::new(Some(broken)));
        let serving = serve_h2(connection, move |_, respond| {
            let (count, broken) = (Arc::clone(&count), Arc::clone(&broken));
            async move {
                if count.fetch_add(1, Ordering::SeqCst) == 29 {
                    drop(broken.lock().unwrap().take());
                    std::future::pending::<()>().await;
                }
                answer_h2(respond, Response::new(()), "well");
            }
        });
        tokio::select! {
            () = serving => {}
            _ = breaks => {}
        }
    })
    .await
}

const GROUP: &str = "protocol = \"http2\"\nretry = { budget = \"100%\" }";

#[tokio::test]
async fn no_request_is_lost_while_targets_say_goaway_or_break_off() {
    let (restless, fragile) = (restless().await, fragile().await);
    let well = H2Target::answering("well").await;
    let targets = [restless.addr(), fragile.addr(), well.addr()];
    let rig = Rig::with(&targets, "", GROUP).await;
    let load = Load::plain(rig.addr());
    load.goes_on(3000).await;
    load.end().await;
    for target in [&restless, &fragile] {
        assert!(target.connections() > 10, "{}", target.connections());
    }
}

#[tokio::test]
async fn no_request_is_lost_while_targets_are_replaced_and_die() {
    let (first, second) = (
        H2Target::answering("a").await,
        H2Target::answering("b").await,
    );
    let mut rig = Rig::with(&[first.addr()], "", GROUP).await;
    let load = Load::plain(rig.addr());
    for _ in 0..5 {
        for target in [&second, &first] {
            load.goes_on(100).await;
            let changed = rig.changed(&[target.addr()], "", GROUP);
            rig.lb.reload(&changed).await.unwrap();
        }
    }
    let both = rig.changed(&[first.addr(), second.addr()], "", GROUP);
    rig.lb.reload(&both).await.unwrap();
    load.goes_on(100).await;
    drop(second);
    load.goes_on(300).await;
    load.end().await;
}
