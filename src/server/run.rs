//! The life of the daemon: signals and file changes in, reloads and an end out.

use std::path::PathBuf;
use std::process::Command;

use tracing::{error, info, warn};

use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::source::Source;
use super::supervision::Defect;
use super::upgrade::{Event, Inherited, TakeOverError, Upgrades};
use super::{self as server, ApplyError, Server};
use crate::config::{self, Config, LoadError, Parsed};
use crate::files::Versions;
use crate::state::{Diff, Phase};

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every request was finished.
    Graceful,
    /// Some were dropped: the deadline passed, or a second signal came. Or the Weir that was
    /// to be replaced goes on, or a part of this one has panicked.
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
        let path = config.upgrade_socket.as_deref();
        upgrades.take_over(path).await?
    } else {
        Inherited::default()
    };
    let server = Server::begin(config, inherited, program.tidy, Some(program.guardian))?;
    let service = ServiceManager::of_environment();
    let mut daemon = Daemon {
        server,
        upgrades,
        service,
        is_successor: program.upgrade,
    };
    daemon.offer();
    let mut ending = None;
    let ending = loop {
        if let Some(ending) = ending {
            break ending;
        }
        // Whatever ends a switch is an event, after which this is looked at again.
        let takes_reload = !daemon.server.is_switching();
        ending = tokio::select! {
            () = signals.stop.next() => Some(Ending::Asked),
            _ = signals.hangup.recv() => {
                source.ask();
                None
            }
            read = source.next(), if takes_reload => daemon.reload((program.take)(read)),
            _ = signals.upgrade.recv() => daemon.start_successor(program.successor),
            event = daemon.server.next() => daemon.take_in(event),
            event = daemon.upgrades.next() => daemon.obey(event).await,
        };
    };
    drop(source);
    Ok(daemon.end(ending, &mut signals).await)
}

/// Why the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A signal asked for it.
    Asked,
    /// Another process serves.
    Replaced,
    /// The process that was to be replaced goes on.
    Refused,
    /// A part of it has panicked that cannot be started again.
    Broken,
}

/// What runs, and what is told of it.
struct Daemon {
    server: Server,
    upgrades: Upgrades,
    service: ServiceManager,
    /// Whether it was started to take the place of another.
    is_successor: bool,
}

impl Daemon {
    /// Lets another process ask for the sockets, unless that is still asked of the process
    /// before this one.
    fn offer(&mut self) {
        let path = self.server.config.upgrade_socket.as_deref();
        self.upgrades.move_to(path);
    }

    fn take_in(&mut self, event: server::Event) -> Option<Ending> {
        match event {
            server::Event::Started => None,
            server::Event::Serving => {
                self.serving();
                None
            }
            server::Event::Reloaded(outcome) => {
                self.reloaded(outcome);
                None
            }
            server::Event::Broken(defect) => Some(self.give_up(&defect)),
        }
    }

    fn serving(&mut self) {
        announce(&self.server);
        let path = self.server.config.upgrade_socket.as_deref();
        self.upgrades.serving(path, self.server.live());
        if !self.is_successor {
            self.service.ready(self.status(), self.server.live().pulse);
        }
    }

    fn reload(&mut self, config: Option<Config>) -> Option<Ending> {
        if self.is_known_to_serve() {
            self.service.reloading();
        }
        let Some(config) = config else {
            self.server.metrics.reloaded(false);
            error!("configuration not applied; the previous one stays active");
            self.reload_is_over();
            return None;
        };
        if let Err(error) = self.server.begin_reload(config) {
            self.reloaded(Err(error));
        }
        None
    }

    fn reloaded(&mut self, outcome: Result<Diff, ApplyError>) {
        match outcome {
            Ok(diff) => {
                info!("configuration loaded: {diff}");
                for contradiction in &diff.contradictions {
                    warn!("{contradiction}");
                }
                self.offer();
            }
            Err(error) => {
                error!("configuration not applied; the previous one stays active: {error}");
            }
        }
        self.reload_is_over();
    }

    fn reload_is_over(&self) {
        if self.is_known_to_serve() {
            self.service.reloaded(self.status());
        }
    }

    /// Whether this process has told the service manager that it is ready.
    fn is_known_to_serve(&self) -> bool {
        let phase = self.server.lifecycle.phase();
        phase == Phase::Serving && !self.upgrades.is_successor()
    }

    fn start_successor(&mut self, command: fn() -> Command) -> Option<Ending> {
        self.upgrades.start_successor(command);
        None
    }

    async fn obey(&mut self, event: Event) -> Option<Ending> {
        match event {
            Event::Asked(asking) => {
                let state = self.server.handover_state();
                self.upgrades.hand_over(asking, state);
                None
            }
            Event::Confirmed => {
                self.upgrades.take_place().await;
                self.server.control.begin_scaling();
                self.service
                    .took_place(self.status(), self.server.live().pulse);
                None
            }
            Event::Replaced => {
                self.server.retire();
                self.service.leave();
                Some(Ending::Replaced)
            }
            Event::Refused => Some(Ending::Refused),
        }
    }

    fn give_up(&mut self, defect: &Defect) -> Ending {
        error!(
            place = defect.place,
            panic = %defect.message,
            "a part of Weir that cannot be started again has panicked; ending, to be started anew"
        );
        self.server.give_up();
        Ending::Broken
    }

    async fn end(mut self, ending: Ending, signals: &mut Signals) -> Outcome {
        self.upgrades.abort();
        if matches!(ending, Ending::Asked | Ending::Broken) && !self.upgrades.is_successor() {
            self.service.stopping();
        }
        info!("shutting down; a second signal closes at once");
        let graceful = self.server.shutdown(signals.stop.next()).await;
        if graceful {
            info!("stopped: every request was finished");
        } else {
            warn!("stopped with requests unfinished");
        }
        self.upgrades.outlive(signals).await;
        match ending {
            Ending::Asked | Ending::Replaced if graceful => Outcome::Graceful,
            Ending::Asked | Ending::Replaced | Ending::Refused | Ending::Broken => Outcome::Forced,
        }
    }

    /// A line for the service manager.
    fn status(&self) -> String {
        let snapshot = self.server.reader().load_full();
        let (listeners, groups) = (snapshot.listeners().count(), snapshot.groups().len());
        format!("serving: listeners: {listeners}, target groups: {groups}")
    }
}

/// A few lines for whoever started it.
fn announce(server: &Server) {
    info!("ready: every listener is open");
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
}
