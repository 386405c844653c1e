//! A certificate authority that speaks ACME: Debian's package `pebble`, with a name server for which
//! every host is this one.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Authority, TlsClient, eventually};

/// What the authority is to do.
#[derive(Clone, Default)]
pub struct PebbleOptions {
    /// Where it asks by http-01.
    pub http: u16,
    /// Where it asks by tls-alpn-01.
    pub tls: u16,
    /// How long certificates are valid, in seconds; 0 takes its own.
    pub validity: u64,
    /// How many of a hundred good nonces it refuses.
    pub refused_nonces: u8,
    /// The account that it has given outside of ACME: its name and its key.
    pub external_account: Option<(&'static str, &'static str)>,
    /// Where it listens; 0 takes a free port.
    pub port: u16,
}

pub struct Pebble {
    child: Child,
    addr: SocketAddr,
    management: SocketAddr,
    authority: Authority,
    folder: TempDir,
}

/// `None` if the program is not installed.
#[expect(
    clippy::print_stderr,
    reason = "tells why a test passes without a check"
)]
fn spawn(command: &mut Command) -> Option<Child> {
    match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: there is no pebble, which Debian's package of this name has");
            None
        }
        child => Some(child.unwrap()),
    }
}

impl Pebble {
    /// Starts it with a certificate of its own that `authority` has issued. `None` if it is not
    /// installed, which the project's check takes care of.
    pub async fn start(options: &PebbleOptions) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Pebble's own");
        let own = authority.issue(&["localhost", "127.0.0.1"]);
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("own.crt"), own.cert).unwrap();
        std::fs::write(path("own.key"), own.key).unwrap();
        let port = if options.port == 0 {
            free_port()
        } else {
            options.port
        };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let management = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut config = serde_json::json!({
            "listenAddress": addr.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": path("own.crt"),
            "privateKey": path("own.key"),
            "httpPort": options.http,
            "tlsPort": options.tls,
            "externalAccountBindingRequired": options.external_account.is_some(),
        });
        if options.validity > 0 {
            config["certificateValidityPeriod"] = options.validity.into();
        }
        if let Some((name, key)) = options.external_account {
            config["externalAccountMACKeys"] = serde_json::json!({ name: key });
        }
        let config = serde_json::json!({ "pebble": config });
        std::fs::write(path("pebble.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new("pebble");
        command
            .args(["-config", path("pebble.json").to_str().unwrap()])
            .args(["-dnsserver", &name_server().to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", options.refused_nonces.to_string())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null());
        let child = spawn(&mut command)?;
        let pebble = Self {
            child,
            addr,
            management,
            authority,
            folder,
        };
        for addr in [addr, management] {
            eventually("pebble listens", || async move {
                let connected = TcpStream::connect(addr).await;
                connected.map(drop).map_err(|error| error.to_string())
            })
            .await;
        }
        Some(pebble)
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.addr.port())
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The authority by which its own server is known.
    pub fn own_authority(&self) -> &str {
        &self.authority.pem
    }

    /// A client that trusts the certificates it has issued.
    pub async fn client(&self) -> TlsClient {
        let own = TlsClient::new(&self.authority, rustls::ALL_VERSIONS, None);
        let own = own.with_alpn(&[b"http/1.1"]);
        let root = own
            .http(self.management, "localhost")
            .await
            .get("/roots/0")
            .await;
        TlsClient::trusting(root.text(), rustls::ALL_VERSIONS, None)
    }

    /// How many certificates it has issued, by its log.
    pub fn issued(&self) -> usize {
        let log = std::fs::read_to_string(self.log_file()).unwrap();
        log.matches("Issued certificate serial").count()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Ends it.
    pub fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::print_stdout, reason = "shown with the panic that it explains")]
impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
            println!("pebble's log:\n{log}");
        }
    }
}

/// The kernel gives the same port to no other for a while.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A name server that says of every host that it is here, and of every host of `gone.example` that
/// it does not exist. Lives as long as the process.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            // The client may have closed its socket.
            let _ = socket.send_to(&reply(&query[..length]), from);
        }
    });
    addr
}

/// RFC 1035 section 4.1: the header and the question of the query, then the record.
fn reply(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap_or(0);
    let end = 12 + name + 5;
    let is_gone = query[12..].windows(5).any(|bytes| bytes == b"\x04gone");
    let asks_for_a = query[end - 4..end - 2] == [0, 1];
    let answers = u8::from(asks_for_a && !is_gone);
    let mut reply = query[..end].to_vec();
    // An answer, perhaps that there is no such name: one question, so many records.
    reply[2..4].copy_from_slice(&[0x84, if is_gone { 3 } else { 0 }]);
    reply[4..12].copy_from_slice(&[0, 1, 0, answers, 0, 0, 0, 0]);
    if answers > 0 {
        // The name of the question, type A, class IN, one second, four bytes.
        reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    reply
}
