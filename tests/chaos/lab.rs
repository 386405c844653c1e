//! What one scenario uses on one proxy: a folder, backends, and the proxy itself.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::backend::Backend;
use crate::clients::{Behaviour, Load, Tally};
use crate::proxies::{Kind, Proxy, Spec};

/// Longest wait for a condition.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two evaluations of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until a condition holds; fails after [`WAIT_TIMEOUT`].
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) -> io::Result<()> {
    if holds_within(WAIT_TIMEOUT, holds).await {
        return Ok(());
    }
    Err(io::Error::other(format!("never happened: {what}")))
}

/// Waits until a condition holds, for at most `timeout`; returns whether it does.
pub async fn holds_within(timeout: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !holds().await {
        if begun.elapsed() > timeout {
            return false;
        }
        sleep(POLL_INTERVAL).await;
    }
    true
}

/// A loopback address that no other socket gets: the other proxies do not support port 0.
///
/// The port is outside the range from which the kernel gives ports to outgoing connections
/// and to listeners at port 0, and no port is returned twice.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 10_000..30_000;
    let count = PORTS.end - PORTS.start;
    // Other processes of this program begin at another port.
    let first = (std::process::id() % u32::from(count / 500)) as u16 * 500;
    let ports = (0..count).map(|_| {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        PORTS.start + (first + offset) % count
    });
    ports
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|addr| TcpListener::bind(addr).is_ok())
        .expect("a free port")
}

/// One scenario on one proxy.
pub struct Lab {
    folder: TempDir,
    pub kind: Kind,
    pub backends: Vec<Backend>,
    pub spec: Spec,
    proxy: Option<Proxy>,
    /// How often a scenario is repeated, by `--rounds`.
    pub rounds: usize,
}

/// The results of a scenario.
pub struct Findings {
    pub tally: Tally,
    /// POSTs that targets executed more than once.
    pub twice: usize,
    /// POSTs answered with 200 that no target executed.
    pub lost: usize,
    /// Requests sent to another target; only Weir reports it.
    pub retried: Option<u64>,
    /// Requests in flight, sockets and the like that stay after the end; for Weir alone.
    pub left: Vec<String>,
}

impl Lab {
    pub fn new(kind: Kind, rounds: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("weir-chaos-").tempdir();
        Self {
            folder: folder.expect("a temporary folder"),
            kind,
            backends: Vec::new(),
            spec: Spec::default(),
            proxy: None,
            rounds,
        }
    }

    /// Ends the proxy and its backends.
    pub fn end(&mut self) {
        self.proxy = None;
        self.backends.clear();
    }

    /// See [`Proxy::sockets_left`].
    pub async fn sockets_left(&self) -> Option<String> {
        self.proxy.as_ref()?.sockets_left().await
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// A file in the folder.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        std::fs::write(self.folder.path().join(name), text)
    }

    /// Starts `count` more backends, without a change of the proxy's configuration.
    pub async fn add_backends(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let backend = Backend::start(free_address(), &self.journal()).await?;
            self.backends.push(backend);
        }
        Ok(())
    }

    /// Makes all backends that run targets of the next configuration.
    pub fn target_all(&mut self) {
        self.spec.targets = self.backends.iter().map(|backend| backend.addr).collect();
    }

    /// Starts four backends and a proxy in front of them, as most scenarios begin.
    pub async fn start(&mut self) -> io::Result<()> {
        self.add_backends(4).await?;
        self.target_all();
        self.start_proxy().await
    }

    pub async fn start_proxy(&mut self) -> io::Result<()> {
        self.proxy = Some(Proxy::start(self.kind, &self.spec, self.folder.path()).await?);
        Ok(())
    }

    pub fn proxy(&mut self) -> &mut Proxy {
        self.proxy.as_mut().expect("it was started")
    }

    /// Reloads the proxy with the current targets, and waits until they are in force.
    pub async fn reload(&mut self) -> io::Result<()> {
        let spec = self.spec.clone();
        self.proxy().reload(&spec).await
    }

    pub fn load(&mut self, behaviour: Behaviour) -> Load {
        Load::start(self.proxy().addr(), behaviour)
    }

    /// Ends the load and collects the results.
    pub async fn conclude(&mut self, load: Load) -> io::Result<Findings> {
        let tally = load.end().await;
        let journal = std::fs::read_to_string(self.journal()).unwrap_or_default();
        let mut executed: HashMap<&str, usize> = HashMap::new();
        for id in journal.lines() {
            *executed.entry(id).or_default() += 1;
        }
        let proxy = self.proxy();
        Ok(Findings {
            twice: executed.values().filter(|count| **count > 1).count(),
            lost: tally
                .posted
                .iter()
                .filter(|id| !executed.contains_key(id.as_str()))
                .count(),
            retried: proxy.retried().await,
            left: proxy.leftovers().await,
            tally,
        })
    }
}
