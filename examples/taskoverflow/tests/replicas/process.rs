//! A replica as its own process, and a client that asks it one request per connection.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that anything may take here, on a machine that is busy with other tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A running replica; killed when dropped.
pub(crate) struct Replica {
    pub(crate) process: Child,
    pub(crate) line: String,
    pub(crate) address: SocketAddr,
}

impl Replica {
    /// Starts a replica on a free port and waits for its listen line.
    pub(crate) fn start(database: &str, arguments: &[&str]) -> Self {
        Self::starting(database, arguments).started()
    }

    /// Starts a replica on a free port and returns at once.
    pub(crate) fn starting(database: &str, arguments: &[&str]) -> Starting {
        let process = command(&["--port", "0", "--database", database])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Starting(process)
    }

    pub(crate) fn list(&self) -> Vec<Value> {
        let response = self.get("/api/v1/todos");
        assert_eq!(response.status, 200, "{}", response.body);
        response.body.as_array().unwrap().clone()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &str) -> Response {
        self.send(
            method,
            path,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: taskoverflow\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n", body.len()).unwrap();
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // A replica may refuse a body before it has read all of it.
        let _ = stream.write_all(body);
        Response::read(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.process.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn end(mut self) -> ExitStatus {
        eventually("the replica ends", || self.process.try_wait().unwrap())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A replica that may not listen yet.
pub(crate) struct Starting(Child);

impl Starting {
    pub(crate) fn started(self) -> Replica {
        let mut process = self.0;
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .split_whitespace()
            .nth(1)
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("no listen line: {line:?}");
        };
        Replica {
            process,
            line,
            address,
        }
    }
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Response {
    /// Reads to the end of the connection, or to a reset after the response of a refused body.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            panic!("no response ({end:?}): {text:?}");
        };
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text {field:?} in {}", self.body))
    }
}

/// Runs a replica that should not start, to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Polls until there is a value; fails after [`TIMEOUT`].
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < give_up, "{what}: not within {TIMEOUT:?}");
        thread::yield_now();
    }
}

/// The environment of the machine must not choose the database.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskoverflow"));
    command.env_remove("DATABASE_URL").args(arguments);
    command
}
