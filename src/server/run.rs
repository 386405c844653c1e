//! The life of the daemon: signals and file changes in, reloads and an end out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{ApplyError, Server};
use crate::config::Config;

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every request was finished.
    Graceful,
    /// Some were dropped: the deadline passed, or a second signal came.
    Forced,
}

/// After a change of the file, how long it must stay quiet before it is read: editors
/// write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Runs Weir until a signal ends it. `load` reads and checks the configuration, and has
/// told the operator what is wrong when it returns `None`. `file` is watched for changes.
/// `tidy` is called by every thread about once a second.
///
/// Fails only when the first configuration cannot be run.
pub async fn run(
    config: Config,
    file: &Path,
    mut load: impl FnMut() -> Option<Config>,
    tidy: fn(),
) -> Result<Outcome, ApplyError> {
    let mut signals = StopSignals::new().map_err(ApplyError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ApplyError::Signals)?;
    // Before the start, which may take seconds: a change meanwhile must not be missed.
    let (watcher, mut changes) = watch(file);
    let mut stopping = false;
    let stopped_early = async {
        signals.stop().await;
        stopping = true;
    };
    let mut server = Server::start_unless(config, stopped_early, tidy).await?;
    if !stopping {
        announce(&server);
    }
    while !stopping {
        tokio::select! {
            () = signals.stop() => stopping = true,
            _ = hangup.recv() => reload(&mut server, load()).await,
            () = settled(&mut changes) => reload(&mut server, load()).await,
        }
    }
    drop(watcher);
    info!("shutting down; a second signal closes at once");
    if server.shutdown(signals.stop()).await {
        info!("stopped: every request was finished");
        Ok(Outcome::Graceful)
    } else {
        warn!("stopped with requests unfinished");
        Ok(Outcome::Forced)
    }
}

async fn reload(server: &mut Server, config: Option<Config>) {
    let Some(config) = config else {
        server.metrics.reloaded(false);
        error!("configuration not applied; the previous one stays active");
        return;
    };
    match server.reload(config).await {
        Ok(diff) => {
            info!("configuration loaded: {diff}");
            for contradiction in &diff.contradictions {
                warn!("{contradiction}");
            }
        }
        Err(error) => {
            error!("configuration not applied; the previous one stays active: {error}");
        }
    }
}

/// A few lines for whoever started it.
fn announce(server: &Server) {
    for (id, addr) in server.addresses() {
        let name = if *id.0 == addr.to_string() {
            String::new()
        } else {
            format!(" ({id})")
        };
        info!("listening on http://{addr}{name}");
    }
    let snapshot = server.reader().load_full();
    for (group, config) in snapshot.groups().iter().zip(&snapshot.config.target_groups) {
        let healthy = group.targets.iter();
        let healthy = healthy.filter(|t| t.target.is_healthy()).count();
        let health = match config.health {
            Some(_) => format!("{healthy} healthy"),
            None => "not checked".to_owned(),
        };
        let plural = if group.targets.len() == 1 { "" } else { "s" };
        info!(
            "target group {}: {} target{plural}, {health}, {}",
            group.id,
            group.targets.len(),
            config.algorithm.name(),
        );
    }
    if let Some(addr) = server.admin_address() {
        info!("admin on http://{addr}");
    }
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Resolves at the next signal that asks for an end. Cancel-safe.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Watches the folder of the file: editors and orchestrators replace a file rather
/// than write into it.
fn watch(file: &Path) -> (Option<RecommendedWatcher>, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let path: PathBuf = file.to_owned();
    let name = path.file_name().map(ToOwned::to_owned);
    let handler = move |event: notify::Result<notify::Event>| {
        // A symbolic link may point at a folder that is swapped as a whole (Kubernetes
        // does that with `..data`), so a change of any entry beginning with two dots counts.
        let concerns = |event: &notify::Event| {
            event.paths.iter().any(|path| {
                let entry = path.file_name();
                entry == name.as_deref()
                    || entry.is_some_and(|e| e.as_encoded_bytes().starts_with(b".."))
            })
        };
        if event.is_ok_and(|event| !event.kind.is_access() && concerns(&event)) {
            // One waiting notice is enough.
            let _ = sender.try_send(());
        }
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => (Some(watcher), receiver),
        Err(error) => {
            warn!(%error, "cannot watch the configuration file; SIGHUP still reloads it");
            (None, receiver)
        }
    }
}

/// Resolves when the file has changed and stayed quiet since. Cancel-safe: a notice
/// that was taken is lost only together with a reload that reads the same file.
async fn settled(changes: &mut mpsc::Receiver<()>) {
    if changes.recv().await.is_none() {
        // Nothing is watched.
        std::future::pending::<()>().await;
    }
    loop {
        tokio::select! {
            more = changes.recv() => if more.is_none() { return },
            () = sleep(SETTLE) => return,
        }
    }
}
