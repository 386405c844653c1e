//! Weir, nginx and `HAProxy`, configured for the same job.

use std::cell::Cell;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::http;
use crate::lab::{free_address, holds_within, until};

mod config;

/// A proxy program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Weir,
    Nginx,
    Haproxy,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Weir, Self::Nginx, Self::Haproxy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// Whether it can be started here.
    pub fn is_installed(self) -> bool {
        self.program().is_some()
    }

    fn program(self) -> Option<PathBuf> {
        if self == Self::Weir {
            return Some(env!("CARGO_BIN_EXE_weir").into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        folders
            .map(|folder| folder.join(self.name()))
            .find(|program| program.is_file())
    }
}

/// Most health checks that run at a time.
const MAX_CHECKS: usize = 8;

/// The configuration of a proxy, independent of its language.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub targets: Vec<SocketAddr>,
    /// Instead of `targets`: a name, and the port behind it.
    pub name: Option<Name>,
    /// Concurrent requests that a target may have.
    pub limit: Option<usize>,
    /// Requests that may wait for capacity.
    pub queue: usize,
    pub sticky: bool,
    /// A part of the target group's name, so that each number is another group.
    pub group: usize,
    /// Listens on all addresses instead of loopback.
    pub wide: bool,
    /// The output of the log. All requests are logged unless it is a file.
    pub log: LogPlace,
    /// Groups with their targets in a file, each named by a rule; Weir alone.
    pub file_groups: usize,
    /// Runs as an account that may start no more processes once it serves; Weir alone.
    pub limited: bool,
}

/// The file behind standard output and standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogPlace {
    /// A file, with failures only.
    #[default]
    File,
    /// A pipe that is not read.
    Stalled,
    /// A pipe that is closed on the other side.
    Gone,
    /// A full disk.
    Full,
}

/// Targets behind a DNS name.
#[derive(Clone, Debug)]
pub struct Name {
    pub host: String,
    pub port: u16,
    /// A name server at port 53.
    pub server: std::net::Ipv4Addr,
}

/// A proxy that runs. Ended when dropped.
pub struct Proxy {
    kind: Kind,
    folder: PathBuf,
    addr: SocketAddr,
    /// The address of Weir's admin listener.
    admin: SocketAddr,
    child: Child,
    /// The process that handles signals: the child, until another has taken over.
    master: u32,
    /// Open sockets before the first client connected.
    sockets: usize,
    /// The reading end of a pipe that is not read.
    _unread: Option<io::PipeReader>,
}

impl Proxy {
    pub async fn start(kind: Kind, spec: &Spec, folder: &Path) -> io::Result<Self> {
        let program = kind.program().ok_or(io::ErrorKind::NotFound)?;
        let (addr, admin) = (free_address(), free_address());
        let file = folder.join("proxy.conf");
        let text = config::render(kind, spec, folder, addr, admin);
        std::fs::write(&file, text)?;
        let mut command = wrapped(kind, &program, spec, folder)?;
        match kind {
            Kind::Weir => command.arg("run").arg("--config").arg(&file),
            Kind::Nginx => command.arg("-c").arg(&file).arg("-p").arg(folder),
            // Master and workers, as its packages run it: reloads need the master.
            Kind::Haproxy => command.arg("-W").arg("-db").arg("-f").arg(&file),
        };
        let unread = log_to(spec.log, folder, &mut command)?;
        let child = command.stdin(Stdio::null()).spawn()?;
        // Closes the copy of the pipe's writing end.
        drop(command);
        let mut proxy = Self {
            kind,
            folder: folder.to_owned(),
            addr,
            admin,
            master: child.id(),
            sockets: 0,
            _unread: unread,
            child,
        };
        let answers = until("the proxy answers", async || {
            let reply = http::get(addr, "/work").await;
            reply.is_ok_and(|reply| reply.status == 200)
        });
        if answers.await.is_err() {
            let text = format!("{} does not answer:\n{}", kind.name(), proxy.log());
            return Err(io::Error::other(text));
        }
        if kind == Kind::Nginx {
            // A daemon: in the foreground it would refuse to be upgraded.
            proxy.master = proxy.nginx_pid().ok_or(io::ErrorKind::NotFound)?;
        }
        proxy.sockets = proxy.open_sockets();
        if spec.limited {
            proxy.allow_no_more_processes()?;
        }
        Ok(proxy)
    }

    fn allow_no_more_processes(&self) -> io::Result<()> {
        // Under the same account, which may lower its limit.
        let mut command = as_unprivileged(Command::new("prlimit"));
        let pid = self.master.to_string();
        let status = command.args(["--pid", &pid, "--nproc=1:1"]).status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other("prlimit does not lower the limit"))
    }

    /// Whether Weir answers a liveness probe in time.
    pub async fn is_live(&self, timeout: Duration) -> bool {
        let reply = tokio::time::timeout(timeout, http::get(self.admin, "/livez")).await;
        reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == 200))
    }

    /// The address of Weir's admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("proxy.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn nginx_pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.folder.join("nginx.pid")).ok()?;
        text.trim().parse().ok()
    }

    fn signal(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a pid");
        // Fails only when it has ended already.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Reloads with another configuration. Weir has a metric for the result; of the others a new
    /// worker process is waited for.
    pub async fn reload(&mut self, spec: &Spec) -> io::Result<()> {
        let text = config::render(self.kind, spec, &self.folder, self.addr, self.admin);
        let next = self.folder.join("proxy.conf.next");
        std::fs::write(&next, text)?;
        std::fs::rename(next, self.folder.join("proxy.conf"))?;
        match self.kind {
            Kind::Weir => {
                let reloads = "weir_reloads_total{outcome=\"accepted\"}";
                let before = self.metric(reloads).await;
                Self::signal(self.master, Signal::HUP);
                until("weir has reloaded", async || {
                    self.metric(reloads).await > before
                })
                .await
            }
            Kind::Nginx => self.new_worker(Signal::HUP).await,
            Kind::Haproxy => self.new_worker(Signal::USR2).await,
        }
    }

    /// Signals a master to start new workers, and waits for the first. `HAProxy` ignores a
    /// signal that comes while it still reloads, so it is sent up to ten times.
    async fn new_worker(&self, order: Signal) -> io::Result<()> {
        let before = self.children();
        for _ in 0..10 {
            Self::signal(self.master, order);
            let is_new = |pid: &u32| !before.contains(pid);
            if holds_within(Duration::from_secs(2), async || {
                self.children().iter().any(is_new)
            })
            .await
            {
                return Ok(());
            }
        }
        Err(io::Error::other("no new worker"))
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.master;
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// Weir's `/api/v1/status`.
    pub async fn status(&self) -> Value {
        let reply = http::get(self.admin, "/api/v1/status").await;
        let reply = reply.expect("weir's admin listener answers");
        serde_json::from_str(&reply.body).expect("JSON")
    }

    /// The targets in Weir's status.
    pub async fn targets(&self) -> Vec<Value> {
        let status = self.status().await;
        status["target_groups"][0]["targets"]
            .as_array()
            .expect("a list")
            .clone()
    }

    async fn metric(&self, name: &str) -> u64 {
        let Ok(reply) = http::get(self.admin, "/metrics").await else {
            return 0;
        };
        let values = reply.body.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            // Without labels in `name`, all series of the family.
            let rest = rest.split_once('}').map_or(rest, |(_, value)| value);
            rest.trim().parse::<f64>().ok()
        });
        values.sum::<f64>() as u64
    }

    /// Requests that Weir sent to another target.
    pub async fn retried(&self) -> Option<u64> {
        if self.kind != Kind::Weir {
            return None;
        }
        Some(self.metric("weir_retries_total").await)
    }

    /// Leases of Weir that stay after the last request.
    pub async fn leftovers(&self) -> Vec<String> {
        if self.kind != Kind::Weir {
            return Vec::new();
        }
        let leases = async || -> u64 {
            let targets = self.targets().await;
            targets
                .iter()
                .filter_map(|target| target["in_flight"].as_u64())
                .sum()
        };
        if holds_within(Duration::from_secs(5), async || leases().await == 0).await {
            return Vec::new();
        }
        vec![format!("{} requests in flight", leases().await)]
    }

    fn open_sockets(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.master));
        let links = folder.into_iter().flatten().flatten();
        links
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Sockets that Weir has not closed after its clients have left and its idle connections
    /// have reached their age limit.
    pub async fn sockets_left(&self) -> Option<String> {
        // Health checks may be in progress.
        let most = self.sockets + MAX_CHECKS;
        let closed = holds_within(Duration::from_secs(20), async || {
            self.open_sockets() <= most
        });
        if self.kind != Kind::Weir || closed.await {
            return None;
        }
        let left = self.open_sockets() - self.sockets;
        Some(format!("{left} sockets are left"))
    }

    /// Replaces the process by a new one of the same program.
    pub async fn upgrade(&mut self) -> io::Result<()> {
        match self.kind {
            Kind::Weir => self.upgrade_weir().await,
            Kind::Nginx => self.upgrade_nginx().await,
            // Its master executes the program again.
            Kind::Haproxy => self.new_worker(Signal::USR2).await,
        }
    }

    async fn upgrade_nginx(&mut self) -> io::Result<()> {
        let old = self.master;
        Self::signal(old, Signal::USR2);
        until("a new nginx has written its pid", async || {
            self.nginx_pid().is_some_and(|pid| pid != old)
        })
        .await?;
        self.master = self.nginx_pid().ok_or(io::ErrorKind::NotFound)?;
        Self::signal(old, Signal::QUIT);
        Ok(())
    }

    async fn upgrade_weir(&mut self) -> io::Result<()> {
        let old = self.master;
        Self::signal(old, Signal::USR2);
        let admin = self.admin;
        let pid = async || {
            let reply = http::get(admin, "/api/v1/status").await.ok()?;
            let status: Value = serde_json::from_str(&reply.body).ok()?;
            Some(status["pid"].as_u64()? as u32)
        };
        // Both answer for some time. The first other process id is that of the new one.
        let new = Cell::new(old);
        until("the new weir serves", async || {
            new.set(pid().await.unwrap_or(old));
            new.get() != old
        })
        .await?;
        self.master = new.get();
        // Only after the end of the old one can the new one be upgraded itself.
        until("the old weir has ended", async || !runs(old)).await
    }
}

/// Whether a process runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with('Z'))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for pid in self.children() {
            Self::signal(pid, Signal::KILL);
        }
        Self::signal(self.master, Signal::KILL);
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redirects standard output and standard error. Returns the reader of a pipe that must be kept
/// open.
fn log_to(
    place: LogPlace,
    folder: &Path,
    command: &mut Command,
) -> io::Result<Option<io::PipeReader>> {
    match place {
        LogPlace::File => {
            let log = std::fs::File::create(folder.join("proxy.log"))?;
            command.stdout(log.try_clone()?).stderr(log);
            Ok(None)
        }
        LogPlace::Full => {
            let full = std::fs::File::options().write(true).open("/dev/full")?;
            command.stdout(full.try_clone()?).stderr(full);
            Ok(None)
        }
        LogPlace::Stalled | LogPlace::Gone => {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            Ok((place == LogPlace::Stalled).then_some(reader))
        }
    }
}

/// Runs a command under an account without privileges: the limit does not hold for root.
fn as_unprivileged(mut command: Command) -> Command {
    const UNPRIVILEGED: u32 = 65534;
    command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    command
}

/// Makes the folder and a copy of the program accessible to an account without privileges.
fn open_to_all(program: &Path, folder: &Path) -> io::Result<PathBuf> {
    std::fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    let copy = folder.join("weir");
    std::fs::hard_link(program, &copy).or_else(|_| std::fs::copy(program, &copy).map(drop))?;
    Ok(copy)
}

/// The program's command. Weir uses the name server of `/etc/resolv.conf`, so it gets a mount
/// namespace of its own for another one.
fn wrapped(kind: Kind, program: &Path, spec: &Spec, folder: &Path) -> io::Result<Command> {
    if spec.limited {
        return Ok(as_unprivileged(Command::new(open_to_all(program, folder)?)));
    }
    let Some(name) = spec.name.as_ref().filter(|_| kind == Kind::Weir) else {
        return Ok(Command::new(program));
    };
    let resolv = folder.join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {}\n", name.server))?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"")
        .arg(resolv)
        .arg(program);
    Ok(command)
}
