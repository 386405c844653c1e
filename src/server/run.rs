//! The life of the daemon: signals and file changes in, reloads and an end out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::signals::Signals;
use super::upgrade::{Event, Inherited, TakeOverError, Upgrades};
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

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be run.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// There was no Weir to take the place of.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
}

/// After a change of the file, how long it must stay quiet before it is read: editors
/// write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// What the daemon knows of the program it is.
#[derive(Debug)]
pub struct Program<'a, L> {
    /// The configuration file; watched for changes.
    pub file: &'a Path,
    /// Reads and checks it, and has told the operator what is wrong when it returns `None`.
    pub load: L,
    /// Called by every thread about once a second.
    pub tidy: fn(),
    /// Whether to take the place of the Weir that runs.
    pub upgrade: bool,
    /// The program anew, taking this one's place.
    pub successor: fn() -> Command,
    /// What ends the replicas with this process, see [`crate::replicas::guard`].
    pub guardian: fn() -> Command,
}

/// Runs Weir until a signal ends it, or another Weir takes its place.
///
/// Fails only when the first configuration cannot be run.
pub async fn run<L>(config: Config, mut program: Program<'_, L>) -> Result<Outcome, StartError>
where
    L: FnMut() -> Option<Config>,
{
    let mut signals = Signals::new().map_err(ApplyError::Signals)?;
    // Before the start, which may take seconds: a change meanwhile must not be missed.
    let (watcher, mut changes) = watch(program.file);
    let mut upgrades = Upgrades::default();
    let inherited = if program.upgrade {
        upgrades.take_over(config.upgrade_socket.as_deref())?
    } else {
        Inherited::default()
    };
    let mut stopping = false;
    let stopped_early = async {
        signals.stop.next().await;
        stopping = true;
    };
    let path = config.upgrade_socket.clone();
    let mut server = Server::start_unless(
        config,
        inherited,
        stopped_early,
        program.tidy,
        Some(program.guardian),
    )
    .await?;
    if !stopping {
        announce(&server);
        upgrades.serving(path.as_deref());
    }
    while !stopping {
        tokio::select! {
            () = signals.stop.next() => stopping = true,
            _ = signals.hangup.recv() => reload(&mut server, &mut upgrades, (program.load)()).await,
            () = settled(&mut changes) => reload(&mut server, &mut upgrades, (program.load)()).await,
            _ = signals.upgrade.recv() => upgrades.start_successor(program.successor),
            event = upgrades.next() => match event {
                Event::Asked(stream) => upgrades.hand_over(stream, server.estate()),
                Event::Replaced => {
                    server.control.close_admin();
                    stopping = true;
                }
            },
        }
    }
    drop(watcher);
    info!("shutting down; a second signal closes at once");
    let graceful = server.shutdown(signals.stop.next()).await;
    if graceful {
        info!("stopped: every request was finished");
    } else {
        warn!("stopped with requests unfinished");
    }
    upgrades.outlive(&mut signals).await;
    Ok(if graceful {
        Outcome::Graceful
    } else {
        Outcome::Forced
    })
}

async fn reload(server: &mut Server, upgrades: &mut Upgrades, config: Option<Config>) {
    let Some(config) = config else {
        server.metrics.reloaded(false);
        error!("configuration not applied; the previous one stays active");
        return;
    };
    let path = config.upgrade_socket.clone();
    match server.reload(config).await {
        Ok(diff) => {
            info!("configuration loaded: {diff}");
            for contradiction in &diff.contradictions {
                warn!("{contradiction}");
            }
            upgrades.listen(path.as_deref());
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
