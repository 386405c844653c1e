//! One scenario on one proxy: its folder, its backends, its proxy.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::backend::Backend;
use crate::clients::{Habit, Load, Tally};
use crate::proxies::{Kind, Proxy, Spec};

/// Something that has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until something holds; fails when it does not in half a minute.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) -> io::Result<()> {
    if holds_within(PATIENCE, holds).await {
        return Ok(());
    }
    Err(io::Error::other(format!("waited in vain until {what}")))
}

/// Whether something comes to hold in time.
pub async fn holds_within(patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !holds().await {
        if begun.elapsed() > patience {
            return false;
        }
        sleep(LOOK).await;
    }
    true
}

/// An address of loopback that nothing else gets: peers cannot be told to take any port.
///
/// The port is outside the range from which the kernel gives ports to outgoing connections
/// and to listeners at port 0, and no port is returned twice.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 10_000..30_000;
    let count = PORTS.end - PORTS.start;
    // Runs beside this one begin elsewhere.
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
    /// How often a scenario repeats what it does; more in the long mode.
    pub rounds: usize,
}

/// What a scenario found.
pub struct Findings {
    pub tally: Tally,
    /// POSTs that targets executed more than once.
    pub twice: usize,
    /// POSTs that clients were told had succeeded, and no target executed.
    pub lost: usize,
    /// Requests sent to another target; known of Weir alone.
    pub retried: Option<u64>,
    /// What is left behind; known of Weir alone.
    pub left: Vec<String>,
}

impl Lab {
    pub fn new(kind: Kind, rounds: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("weir-chaos-").tempdir();
        Self {
            folder: folder.expect("a place for files"),
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

    /// Starts so many more backends; the proxy is not told.
    pub async fn add_backends(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let backend = Backend::start(free_address(), &self.journal()).await?;
            self.backends.push(backend);
        }
        Ok(())
    }

    /// Makes the backends that run the proxy's targets.
    pub fn target_all(&mut self) {
        self.spec.targets = self.backends.iter().map(|backend| backend.addr).collect();
    }

    /// The common beginning: four backends behind a proxy.
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

    /// Gives the proxy the targets as they are now, and waits until it has taken them in.
    pub async fn reload(&mut self) -> io::Result<()> {
        let spec = self.spec.clone();
        self.proxy().reload(&spec).await
    }

    pub fn load(&mut self, habit: Habit) -> Load {
        Load::start(self.proxy().addr(), habit)
    }

    /// Ends the load and looks at what is left.
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
            left: proxy.left_behind().await,
            tally,
        })
    }
}
