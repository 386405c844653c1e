//! The life of the daemon: signals and file changes in, reloads and an end out.

use std::path::PathBuf;
use std::process::Command;

use tracing::{error, info, warn};

use super::signals::Signals;
use super::source::Source;
use super::upgrade::{Event, Inherited, TakeOverError, Upgrades};
use super::{ApplyError, Server};
use crate::config::{self, Config, LoadError, Parsed};
use crate::files::Versions;

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

/// What the daemon knows of the program it is.
#[derive(Debug)]
pub struct Program<T> {
    /// The configuration file, read again when it or one of `files` changes.
    pub file: PathBuf,
    /// What the first configuration was read from.
    pub files: Versions,
    /// Takes what was read, and has told the operator what is wrong when it returns `None`.
    pub take: T,
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
pub async fn run<T>(config: Config, mut program: Program<T>) -> Result<Outcome, StartError>
where
    T: FnMut(Result<Parsed, LoadError>) -> Option<Config>,
{
    let mut signals = Signals::new().map_err(ApplyError::Signals)?;
    let file = program.file;
    let mut source = Source::new(move || config::load_watched(&file), program.files);
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
            _ = signals.hangup.recv() => source.ask(),
            read = source.next() => {
                reload(&mut server, &mut upgrades, (program.take)(read)).await;
            }
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
    drop(source);
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
