//! A target in a process of its own, which can be killed, stopped and cut off.
//!
//! It answers `/work` after a few milliseconds and `/health` by its state, writes the id of
//! every POST into a journal before it answers, and changes its state by `/control`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::http::{self, Message};

/// How long `/work` takes: long enough that requests are in flight when something happens.
const WORK: Duration = Duration::from_millis(5);

/// Idle timeout of a backend that closes idle connections only when it ends.
const FOREVER: Duration = Duration::from_secs(3600);

/// The process of a backend. Killed when dropped.
pub struct Backend {
    child: Child,
    pub addr: SocketAddr,
}

impl Backend {
    /// Starts one that listens on `addr` and waits until it does.
    pub async fn start(addr: SocketAddr, journal: &Path) -> io::Result<Self> {
        Self::start_in(None, addr, journal).await
    }

    /// The same inside a network namespace.
    pub async fn start_in(
        namespace: Option<&str>,
        addr: SocketAddr,
        journal: &Path,
    ) -> io::Result<Self> {
        let this = std::env::current_exe()?;
        let mut command = match namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(this);
                command
            }
            None => Command::new(this),
        };
        command.arg("backend").arg(addr.to_string()).arg(journal);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut backend = Self { child, addr };
        crate::lab::until("a backend listens", async || {
            TcpStream::connect(addr).await.is_ok()
        })
        .await?;
        // If it cannot listen it ends, and another process answers at the address.
        if let Some(status) = backend.child.try_wait()? {
            return Err(io::Error::other(format!("the backend at {addr}: {status}")));
        }
        Ok(backend)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a pid");
        // Fails only when it has ended already.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Kills it: every connection is reset or closed by the kernel.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Terminates it: it accepts no new connections and finishes its requests.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// `health=bad`, `answer=500`, `idle=1000` (milliseconds) and so on.
    pub async fn control(&self, what: &str) {
        let reply = http::get(self.addr, &format!("/control?{what}")).await;
        assert_eq!(reply.expect("a backend answers").status, 200);
    }

    /// The most requests it ever had at a time.
    pub async fn max_concurrency(&self) -> usize {
        let reply = http::get(self.addr, "/most")
            .await
            .expect("a backend answers");
        reply.body.parse().expect("a number")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The state of a backend process.
struct State {
    name: String,
    journal: RefCell<File>,
    healthy: Cell<bool>,
    /// The status that it answers with instead of working.
    answer: Cell<Option<u16>>,
    idle: Cell<Duration>,
    ending: Cell<bool>,
    busy: Cell<usize>,
    most: Cell<usize>,
    /// Told each time a request has been worked on.
    finished: Notify,
}

/// Runs a backend process until it is terminated.
pub async fn run(addr: SocketAddr, journal: PathBuf) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    let journal = File::options().create(true).append(true).open(journal)?;
    let state = Rc::new(State {
        name: addr.to_string(),
        journal: RefCell::new(journal),
        healthy: Cell::new(true),
        answer: Cell::default(),
        idle: Cell::new(FOREVER),
        ending: Cell::default(),
        busy: Cell::default(),
        most: Cell::default(),
        finished: Notify::new(),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let state = Rc::clone(&state);
                tokio::task::spawn_local(async move {
                    // An error means that the other side broke the connection.
                    let _ = state.serve(stream).await;
                });
            }
            _ = terminate.recv() => break,
        }
    }
    drop(listener);
    state.ending.set(true);
    while state.busy.get() > 0 {
        state.finished.notified().await;
    }
    Ok(())
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        while !self.ending.get() {
            let request = timeout(self.idle.get(), http::read(&mut stream, &mut buffer)).await;
            let Ok(Some(request)) = request.unwrap_or(Ok(None)) else {
                break;
            };
            let (status, body) = self.answer(&request).await?;
            let close = if self.ending.get() {
                "connection: close\r\n"
            } else {
                ""
            };
            let reply = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{close}\r\n{body}",
                body.len()
            );
            stream.write_all(reply.as_bytes()).await?;
        }
        stream.shutdown().await?;
        // A close with unread bytes would be a reset.
        while timeout(WORK, stream.read(&mut [0; 64]))
            .await
            .is_ok_and(|read| read.is_ok_and(|n| n > 0))
        {}
        Ok(())
    }

    async fn answer(&self, request: &Message) -> io::Result<(u16, String)> {
        let (path, query) = request
            .path()
            .split_once('?')
            .unwrap_or((request.path(), ""));
        Ok(match path {
            "/health" => (if self.healthy.get() { 200 } else { 500 }, String::new()),
            "/control" => {
                query.split('&').for_each(|pair| self.apply(pair));
                (200, String::new())
            }
            "/most" => (200, self.most.get().to_string()),
            _ => match self.answer.get() {
                Some(status) => (status, String::new()),
                None => (200, self.work(request).await?),
            },
        })
    }

    async fn work(&self, request: &Message) -> io::Result<String> {
        self.busy.update(|busy| busy + 1);
        self.most.set(self.most.get().max(self.busy.get()));
        if let Some(id) = request.header("x-id") {
            // One write: lines of several processes do not mix, and a kill cannot lose it.
            self.journal
                .borrow_mut()
                .write_all(format!("{id}\n").as_bytes())?;
        }
        sleep(WORK).await;
        self.busy.update(|busy| busy - 1);
        self.finished.notify_one();
        Ok(self.name.clone())
    }

    fn apply(&self, pair: &str) {
        match pair.split_once('=') {
            Some(("health", word)) => self.healthy.set(word == "good"),
            Some(("answer", status)) => self.answer.set(status.parse().ok()),
            Some(("idle", millis)) => {
                let millis = millis.parse().expect("milliseconds");
                self.idle.set(Duration::from_millis(millis));
            }
            _ => panic!("unknown control: {pair}"),
        }
    }
}
