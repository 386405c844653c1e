//! A target that runs in threads of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Answers each request with its name. A thread ends with its connection, the accepting one with
/// the test program.
pub struct Target {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicUsize,
    checks: AtomicUsize,
    is_unhealthy: AtomicBool,
    /// Requests for `/held` wait for the gate.
    gate: Mutex<bool>,
    opened: Condvar,
}

impl Target {
    /// Answers 200 with its name; 503 at `/health` while it is unhealthy; `/held` only after
    /// [`Self::open`].
    pub fn named(name: &'static str) -> Self {
        Self::on(name, TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Listens on a socket that is bound.
    pub fn listening(name: &'static str, socket: TcpListener) -> Self {
        rustix::net::listen(&socket, 128).unwrap();
        Self::on(name, socket)
    }

    fn on(name: &'static str, listener: TcpListener) -> Self {
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let counts = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counts = Arc::clone(&counts);
                thread::spawn(move || {
                    // Fails if the client closes early.
                    let _ = counts.serve(stream, name);
                });
            }
        });
        Self { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The number of requests, without health checks.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The number of health checks.
    pub fn checks(&self) -> usize {
        self.shared.checks.load(Ordering::SeqCst)
    }

    pub fn fail_health(&self, is_unhealthy: bool) {
        self.shared
            .is_unhealthy
            .store(is_unhealthy, Ordering::SeqCst);
    }

    /// Answers the requests for `/held`.
    pub fn open(&self) {
        *self.shared.gate.lock().unwrap() = true;
        self.shared.opened.notify_all();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.open();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, name: &str) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let (status, body) = self.answer(&head, name);
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.get_mut().write_all(answer.as_bytes())?;
        }
    }

    fn answer<'a>(&self, head: &str, name: &'a str) -> (&'static str, &'a str) {
        let path = head.split(' ').nth(1).unwrap();
        if path == "/health" {
            self.checks.fetch_add(1, Ordering::SeqCst);
            return if self.is_unhealthy.load(Ordering::SeqCst) {
                ("503 Service Unavailable", "unhealthy")
            } else {
                ("200 OK", "healthy")
            };
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        if path == "/held" {
            let gate = self.gate.lock().unwrap();
            drop(self.opened.wait_while(gate, |open| !*open).unwrap());
        }
        ("200 OK", name)
    }
}
