//! Bodies are streamed: the memory of the process does not grow with them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::runtime;

use crate::process::support::eventually;
use crate::scenario::support::H2Target;

/// The size of the body in each direction. `WEIR_TEST_STREAM_MIB` changes it.
const MIB: u64 = 2048;

/// How much the memory of the process may grow meanwhile.
const GROWTH_KIB: u64 = 8 * 1024;

/// How long the transfer of a body may make no progress.
const STALL: Duration = Duration::from_secs(20);

const CHUNK: usize = 256 * 1024;

fn length() -> u64 {
    let configured = std::env::var("WEIR_TEST_STREAM_MIB").ok();
    let mib = configured.map_or(MIB, |text| text.parse().unwrap());
    mib << 20
}

/// A target that answers with the length of the body; `/download` gets one of so many bytes.
fn target(length: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream, length));
        }
    });
    addr
}

fn serve(stream: TcpStream, length: u64) {
    let mut reader = BufReader::with_capacity(CHUNK, stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some((line, expected)) = read_head(&mut reader) {
        let received = discard(&mut reader, expected);
        if line.starts_with("GET /download ") {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            pour(&mut stream, length);
        } else {
            let body = received.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    }
}

/// Reads a head: its first line, and its content length.
fn read_head(reader: &mut impl BufRead) -> Option<(String, u64)> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.to_ascii_lowercase();
        if line.trim().is_empty() {
            return Some((first, length));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
}

fn discard(reader: &mut impl Read, length: u64) -> u64 {
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap()
}

fn pour(stream: &mut TcpStream, length: u64) {
    let chunk = vec![b'x'; CHUNK];
    let mut left = length;
    while left > 0 {
        let part = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..part]).unwrap();
        left -= part as u64;
    }
}

/// A running `weir`; killed when dropped.
struct Weir {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Weir {
    fn start(target: SocketAddr, protocol: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        // Bound and closed again: the log is not read here, so the port must be known.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let text = format!(
            "[[listener]]\nbind = \"{addr}\"\nforward = \"app\"\n\
             [target_group.app]\ntargets = [\"{target}\"]\nhealth = false\nprotocol = \"{protocol}\"\n"
        );
        fs::write(&file, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let weir = Self {
            child,
            addr,
            _folder: folder,
        };
        weir.until_it_listens();
        weir
    }

    fn until_it_listens(&self) {
        eventually("weir listens", || {
            TcpStream::connect(self.addr).map_err(|error| error.to_string())
        });
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(STALL)).unwrap();
        stream.set_write_timeout(Some(STALL)).unwrap();
        stream
    }

    /// A line of `/proc/PID/status`, in KiB.
    fn status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn upload(stream: &TcpStream, length: u64) -> String {
    let mut writer = stream.try_clone().unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    writer.write_all(head.as_bytes()).unwrap();
    pour(&mut writer, length);
    let mut reader = BufReader::new(stream);
    let (line, expected) = read_head(&mut reader).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    let mut body = String::new();
    reader.take(expected).read_to_string(&mut body).unwrap();
    body
}

fn download(stream: &TcpStream) -> u64 {
    let mut writer = stream.try_clone().unwrap();
    writer
        .write_all(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut reader = BufReader::with_capacity(CHUNK, stream);
    let (line, expected) = read_head(&mut reader).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    discard(&mut reader, expected)
}

/// Sends and fetches a body; returns by how much the peak of the memory has grown, in KiB.
fn growth(weir: &Weir, length: u64) -> u64 {
    let stream = weir.connect();
    // From here on buffers and the allocator's pages exist.
    assert_eq!(upload(&stream, 1 << 20), (1 << 20).to_string());
    let before = weir.status("VmHWM:");
    assert_eq!(upload(&stream, length), length.to_string());
    assert_eq!(download(&stream), length);
    // The peak, not the memory at the end. The kernel counts in batches, so that a later value may
    // be a little lower.
    weir.status("VmHWM:").saturating_sub(before)
}

#[test]
fn bodies_of_gigabytes_do_not_grow_the_memory() {
    let weir = Weir::start(target(length()), "http1");
    let grown = growth(&weir, length());
    assert!(grown < GROWTH_KIB, "by {grown} KiB");
}

/// Windows have room for a part of the body on each side.
#[test]
fn a_gigabyte_to_a_target_of_http_2_and_back_grows_the_memory_by_little() {
    let length = length() / 2;
    let weir = Weir::start(http2_target(length), "http2");
    let grown = growth(&weir, length);
    assert!(grown < 2 * GROWTH_KIB, "by {grown} KiB");
}

/// The same as [`target`], in HTTP/2.
fn http2_target(length: u64) -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let serve = move |request, respond| serve_http2(request, respond, length);
            let target = H2Target::with(h2::server::Builder::new(), serve).await;
            sender.send(target.addr()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

async fn serve_http2(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, length: u64) {
    let is_download = request.uri().path() == "/download";
    let mut body = request.into_body();
    let mut received = 0;
    while let Some(data) = body.data().await {
        let count = data.unwrap().len();
        body.flow_control().release_capacity(count).unwrap();
        received += count;
    }
    let text = received.to_string();
    let expected = if is_download {
        length
    } else {
        text.len() as u64
    };
    let head = Response::builder().header("content-length", expected);
    let mut stream = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    if !is_download {
        return stream.send_data(text.into(), true).unwrap();
    }
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let mut left = length;
    while left > 0 {
        stream.reserve_capacity(CHUNK.min(left as usize));
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let part = capacity.unwrap().unwrap().min(CHUNK).min(left as usize);
        left -= part as u64;
        stream.send_data(chunk.slice(..part), left == 0).unwrap();
    }
}
